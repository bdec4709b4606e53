"""Checkpoints to try things on: every bit follows from the iteration."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np

from goturn.training.checkpoint import Checkpoint, Checkpoints
from goturn.weights import random_weights
from networks import tiny

CONFIG = "c" * 64
FILES = ["weights.h5", "solver.h5", "state.json"]
EXTRA = {"losses": [0.1 + 0.2, 1e-300, 3.0], "text": "ä", "nested": {"b": [1, None], "a": True}}


@functools.cache
def made(iteration: int) -> Checkpoint:
    """The checkpoint of an iteration; as in most runs, the towers do not learn."""
    weights = random_weights(tiny(), iteration % 7)
    random = np.random.default_rng(iteration)
    velocities = {
        name: random.standard_normal(value.shape, np.float32)
        for name, value in weights.parameters.items()
        if name.startswith("fc")
    }
    velocities["fc6/weight"].flat[:3] = [-0.0, 1e-45, -3e38]
    return Checkpoint(iteration, weights, velocities, {**EXTRA, "iteration": iteration})


def averaged(iteration: int) -> Checkpoint:
    """The same with averages, of the parameters that have a velocity."""
    plain = made(iteration)
    averages = {name: value / 3 for name, value in plain.velocities.items()}
    return replace(plain, averages=averages)


def squared(iteration: int) -> Checkpoint:
    """The same with Adam's squares, of the parameters that have a velocity."""
    plain = made(iteration)
    squares = {name: np.abs(value) / 7 for name, value in plain.velocities.items()}
    return replace(plain, squares=squares)


def two_saved(folder: Path) -> Checkpoints:
    """The checkpoints of iterations 10 and 20, in ``folder``."""
    checkpoints = Checkpoints(folder)
    for iteration in (10, 20):
        checkpoints.save(made(iteration), CONFIG)
    return checkpoints


def assert_same(found: Checkpoint | None, expected: Checkpoint) -> None:
    assert found is not None
    assert (found.iteration, found.extra) == (expected.iteration, expected.extra)
    assert found.weights.digest == expected.weights.digest
    for arrays, wanted in (
        (found.velocities, expected.velocities),
        (found.averages, expected.averages),
        (found.squares, expected.squares),
    ):
        assert arrays.keys() == wanted.keys()
        for name, value in wanted.items():
            assert arrays[name].dtype == np.float32
            np.testing.assert_array_equal(arrays[name].view("u4"), value.view("u4"), name)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())
