"""The weights file that ships: whole, small enough, and what its notes say it is."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import goturn
from goturn import cli
from goturn.adapters import cv2 as cv2_adapter
from goturn.adapters import trackers_ini, trax
from goturn.demo import DemoSource
from goturn.evaluation.trackers import build, parse_tracker
from goturn.ops.compressed import to_int8
from goturn.weights import load

FOLDER = Path(__file__).parents[1] / "weights"


@pytest.fixture(scope="module")
def weights():
    return load(FOLDER / "goturn.h5")


def test_notes_are_of_this_file(weights):
    path, notes = FOLDER / "goturn.h5", (FOLDER / "README.md").read_text()
    figures = json.loads((FOLDER / "figures.json").read_text())
    assert path.stat().st_size == figures["bytes"] <= 24_000_000
    assert weights.digest == figures["digest"]
    assert weights.digest in notes
    assert hashlib.sha256(path.read_bytes()).hexdigest() in notes
    assert "tools/make_weights.py" in weights.origin
    for precision in ("fp32", "int8"):
        row = f"`goturn.h5`, {precision} | {figures[precision]['mean_iou']:.3f} |"
        assert row in notes


def test_the_readme_has_the_policy_that_they_ask_for(weights):
    readme = (FOLDER.parent / "README.md").read_text()
    share, frames = weights.target_policy
    assert f"`--target {share:g},{frames}` and" in readme
    assert f"`Tracker(target_policy=({share:g}, {frames}))` are what they ask for" in readme


def test_the_readme_has_their_figures():
    readme = (FOLDER.parent / "README.md").read_text().replace("\n", " ")
    figures = json.loads((FOLDER / "figures.json").read_text())["int8"]
    assert f"a mean IoU of {figures['mean_iou']:.3f} against" in readme
    assert f"VOT2014 of {figures['overall_error']:.3f} against" in readme


def test_everybody_runs_them_in_int8(weights):
    """What nothing else is said of: trackers, adapters, commands and evaluations."""
    made = (
        goturn.Tracker(device="cpu"),
        goturn.MultiTracker(device="cpu"),
        cv2_adapter.TrackerGOTURN(device="cpu")._tracker,
    )
    assert [tracker.network.precision for tracker in made] == ["int8"] * len(made)
    built = build(parse_tracker("goturn,device=cpu"))
    assert built.tracker.network.precision == "int8"
    for function in (trax.serve, trackers_ini.section):
        assert inspect.signature(function).parameters["precision"].default == "auto"
    assert cli.build_parser().parse_args(["demo"]).precision == "auto"


def test_they_bring_their_calibration(weights):
    confidence = json.loads((FOLDER / "figures.json").read_text())["int8"]["confidence"]
    assert f"**ROC AUC of {confidence['roc_auc']:.3f}**" in (FOLDER / "README.md").read_text()
    lost, wrongly = confidence["called_lost"], confidence["called_lost_wrongly"]
    rates = f"{lost:.0%} of the lost frames and {wrongly:.1%} of the others"
    assert rates in (FOLDER / "README.md").read_text()
    curve = weights.calibration
    assert curve is not None
    assert f"a likeness of {curve.middle:.3f} for one half and {curve.width:.3f}" in (
        FOLDER / "README.md"
    ).read_text().replace("\n", " ")


def test_they_are_what_a_tracker_takes_and_they_track(weights):
    """And know when there is nothing left to track."""
    tracker = goturn.Tracker(device="cpu")
    assert tracker.network.calibration == weights.calibration
    with DemoSource(40) as source:
        frames = list(source)
    tracker.init(frames[0], source.truth[0])
    overlaps = [
        tracker.update(frame).iou(truth)
        for frame, truth in zip(frames[1:], source.truth[1:], strict=True)
    ]
    assert np.mean(overlaps) > 0.6
    assert min(overlaps) > 0.4
    assert tracker.confidence > 0.5
    # The car gone, the confidence goes.
    for _ in range(tracker.target_policy.every + 1):
        tracker.update(np.full_like(frames[0], 90))
    assert tracker.confidence < 0.1


def test_int8_takes_the_stored_integers(weights):
    """Which are not rounded a second time where they are computed with."""
    with h5py.File(FOLDER / "goturn.h5") as file:
        for layer in weights.architecture.head[:-1]:
            name = f"{layer.name}/weight"
            values, scale = to_int8(weights.parameters[name])
            np.testing.assert_array_equal(values, file[name][()])
            np.testing.assert_allclose(scale, file[f"{name}_scale"][()], rtol=2**-22)
