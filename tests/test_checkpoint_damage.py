"""Damaged and hostile checkpoints: each is passed over, with a sentence, for the one before."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from checkpoints import CONFIG, FILES, assert_same, made, names, squared, two_saved
from goturn.training import checkpoint as module
from goturn.training.checkpoint import Checkpoint, Checkpoints
from goturn.weights import Weights, random_weights
from networks import tiny


@pytest.fixture
def two(tmp_path) -> Checkpoints:
    return two_saved(tmp_path)


def assert_falls_back(checkpoints: Checkpoints, *parts: str) -> None:
    found, problems = checkpoints.load_latest(CONFIG)
    assert_same(found, made(10))
    (sentence,) = problems
    assert sentence.startswith("a checkpoint that is not whole was passed over: ")
    for part in parts:
        assert part in sentence


@pytest.mark.parametrize("name", FILES)
def test_flipped_bytes(two, tmp_path, name):
    """Each is noticed, or changes no value (padding of HDF5, spaces of JSON)."""
    path = tmp_path / "00000020" / name
    data = path.read_bytes()
    random = np.random.default_rng(0)
    noticed = 0
    positions = random.choice(len(data), min(len(data), 80), replace=False)
    for position in positions:
        damaged = bytearray(data)
        damaged[position] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        found, problems = two.load_latest(CONFIG)
        assert_same(found, made(10 if problems else 20))
        noticed += len(problems)
    assert noticed > len(positions) / 4
    path.write_bytes(data)
    assert_same(two.load_latest(CONFIG)[0], made(20))


@pytest.mark.parametrize("name", FILES)
def test_truncated_missing_or_not_a_file(two, tmp_path, name):
    path = tmp_path / "00000020" / name
    data = path.read_bytes()
    for size in (0, 1, len(data) // 2, len(data) - 2):
        path.write_bytes(data[:size])
        assert_falls_back(two, str(path))
    path.unlink()
    assert_falls_back(two, f"{path}: missing, or not a regular file")
    path.mkdir()
    assert_falls_back(two, f"{path}: missing, or not a regular file")
    path.rmdir()
    os.mkfifo(path)
    assert_falls_back(two, f"{path}: missing, or not a regular file")


def test_damaged_squares(tmp_path):
    """As with the other files: noticed, or of no value."""
    checkpoints = Checkpoints(tmp_path)
    for iteration in (10, 20):
        checkpoints.save(squared(iteration), CONFIG)
    path = tmp_path / "00000020" / "squares.h5"
    data = path.read_bytes()
    random = np.random.default_rng(0)
    noticed = 0
    positions = random.choice(len(data), 12, replace=False)
    for position in positions:
        damaged = bytearray(data)
        damaged[position] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        found, problems = checkpoints.load_latest(CONFIG)
        assert_same(found, squared(10 if problems else 20))
        noticed += len(problems)
    assert noticed > len(positions) / 4
    for content in (b"", data[: len(data) // 2], data[:-2]):
        path.write_bytes(content)
        found, (sentence,) = checkpoints.load_latest(CONFIG)
        assert_same(found, squared(10))
        assert str(path) in sentence
    path.write_bytes(data)
    change_state(path.parent, squares=3)
    found, (sentence,) = checkpoints.load_latest(CONFIG)
    assert_same(found, squared(10))
    assert "squares is missing, or not as we write it" in sentence


def test_a_file_in_place_of_a_checkpoint(two, tmp_path):
    (tmp_path / "00000030").write_text("not a folder")
    found, problems = two.load_latest(CONFIG)
    assert_same(found, made(20))
    assert len(problems) == 1
    with pytest.raises(OSError, match="could not write: Not a directory") as caught:
        two.save(made(30), CONFIG)
    assert caught.value.filename == str(tmp_path / "00000030")
    assert names(tmp_path) == ["00000010", "00000020", "00000030"]


@pytest.mark.parametrize("name", ["weights.h5", "solver.h5"])
def test_a_file_of_another_checkpoint(two, tmp_path, name):
    shutil.copy(tmp_path / "00000010" / name, tmp_path / "00000020" / name)
    assert_falls_back(two, str(tmp_path / "00000020" / name), "(altered)")


def test_a_checkpoint_under_another_name(two, tmp_path):
    shutil.copytree(tmp_path / "00000010", tmp_path / "00000030")
    found, problems = two.load_latest(CONFIG)
    assert_same(found, made(20))
    assert problems[0].endswith("00000030: the state.json in it is of iteration 10")


def test_all_damaged(two, tmp_path):
    for path in tmp_path.glob("*/solver.h5"):
        path.write_bytes(b"")
    found, problems = two.load_latest(CONFIG)
    assert found is None
    assert [re.search("000000.0", sentence)[0] for sentence in problems] == ["00000020", "00000010"]


def change_state(path: Path, **changes: object) -> None:
    """Another state with a right digest, as somebody might make who means to do harm."""
    state = json.loads((path / "state.json").read_text()) | changes
    del state["digest"]
    state["digest"] = module._digest(state)
    (path / "state.json").write_text(json.dumps(state))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": "other"}, "expected 'goturn checkpoint' version 1"),
        ({"format_version": 2}, "expected 'goturn checkpoint' version 1"),
        ({"iteration": "20"}, "iteration is missing, or not as we write it"),
        ({"iteration": True}, "iteration is missing, or not as we write it"),
        ({"extra": []}, "extra is missing, or not as we write it"),
        ({"config": None}, "config is missing, or not as we write it"),
        ({"weights": 3}, "weights is missing, or not as we write it"),
        ({"iteration": 10**30}, f"is of iteration {10**30}"),
        ({"solver": "0" * 64}, "a tensor's SHA-256 is not the checkpoint's"),
    ],
)
def test_states_made_to_do_harm(two, tmp_path, changes, sentence):
    change_state(tmp_path / "00000020", **changes)
    assert_falls_back(two, sentence)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[]", "3", '{"a": NaN}', "{" + '"a":' * 9, "9" * 100_000, "\ufeff{}", "\x00", "ÿ"],
    ids=["deep", "list", "number", "nan", "unfinished", "digits", "mark", "nul", "latin"],
)  # fmt: skip
def test_texts_made_to_do_harm(two, tmp_path, text):
    (tmp_path / "00000020" / "state.json").write_bytes(text.encode("latin-1", "replace"))
    assert_falls_back(two, "state.json: altered or damaged")


def test_a_large_state_is_not_read(two, tmp_path):
    with (tmp_path / "00000020" / "state.json").open("r+b") as file:
        file.truncate(1 << 40)
    assert_falls_back(two, "state.json: altered or damaged (too large)")


def test_velocities_of_another_network(two, tmp_path):
    """The digests are right, the names are not those of the weights."""
    other = Weights(tiny(hidden=3), random_weights(tiny(hidden=3), 0).parameters)
    velocities = {"fc7b/bias": np.zeros_like(other.parameters["fc7b/bias"])}
    path = Checkpoints(tmp_path / "other").save(Checkpoint(20, other, velocities, {}), CONFIG)
    shutil.copy(path / "solver.h5", tmp_path / "00000020" / "solver.h5")
    state = json.loads((path / "state.json").read_text())
    change_state(tmp_path / "00000020", solver=state["solver"])
    assert_falls_back(two, f"{tmp_path}/00000020/solver.h5: fc7b/bias is superfluous")
