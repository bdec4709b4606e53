"""Checkpoints: what comes back is what was saved, and the newest stay."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from checkpoints import CONFIG, FILES, assert_same, averaged, made, names, squared, two_saved
from goturn.architecture import goturn
from goturn.training import checkpoint as module
from goturn.training.checkpoint import Checkpoint, Checkpoints, OtherSettingsError
from goturn.weights import WeightsError, load, random_weights
from networks import tiny


@pytest.fixture
def two(tmp_path) -> Checkpoints:
    return two_saved(tmp_path)


# -- what is saved comes back --------------------------------------------------------------------


def test_there_and_back(tmp_path):
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    assert checkpoints.load_latest(CONFIG) == (None, [])
    path = checkpoints.save(made(12_000), CONFIG)
    assert path == tmp_path / "run" / "checkpoints" / "00012000"
    assert names(path) == sorted(FILES)
    found, problems = checkpoints.load_latest(CONFIG)
    assert_same(found, made(12_000))
    assert problems == []
    assert_same(checkpoints.load(path), made(12_000))
    moved = path.rename(tmp_path / "wherever")
    assert_same(checkpoints.load(moved), made(12_000))
    assert load(moved / "weights.h5").digest == made(12_000).weights.digest


@pytest.mark.parametrize(("name", "made_with"), [("averages", averaged), ("squares", squared)])
def test_averages_and_squares_there_and_back(tmp_path, name, made_with):
    """A file of their own, which a checkpoint without them does not have."""
    path = Checkpoints(tmp_path).save(made_with(3), CONFIG)
    assert names(path) == sorted([*FILES, f"{name}.h5"])
    assert_same(Checkpoints(tmp_path).load_latest(CONFIG)[0], made_with(3))
    (path / f"{name}.h5").write_bytes((path / "solver.h5").read_bytes())
    found, problems = Checkpoints(tmp_path).load_latest(CONFIG)
    assert found is None
    assert f"{name}.h5" in problems[0]
    (path / f"{name}.h5").unlink()
    assert f"{name}.h5: missing" in Checkpoints(tmp_path).load_latest(CONFIG)[1][0]


def test_without_velocities_and_in_any_layout(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    first = Checkpoint(0, random_weights(tiny(), 0), {}, {})
    checkpoints.save(first, CONFIG)
    assert_same(checkpoints.load_latest()[0], first)
    value = np.asfortranarray(made(1).velocities["fc6/weight"])
    checkpoints.save(Checkpoint(1, first.weights, {"fc6/weight": value}, {}), CONFIG)
    found = checkpoints.load_latest()[0]
    np.testing.assert_array_equal(found.velocities["fc6/weight"], value)


def test_same_checkpoint_same_bytes(tmp_path):
    paths = [Checkpoints(tmp_path / name).save(made(3), CONFIG) for name in "ab"]
    for name in FILES:
        assert (paths[0] / name).read_bytes() == (paths[1] / name).read_bytes()


def test_extra_is_what_a_reader_gets(tmp_path):
    """Keys that are numbers become texts, which sort in another order: the digest is of the texts."""
    first = made(1)
    extra = {9: 1, 10: (2, 3), "é": 1e22}
    Checkpoints(tmp_path).save(Checkpoint(1, first.weights, {}, extra), CONFIG)
    found, problems = Checkpoints(tmp_path).load_latest()
    assert not problems
    assert found.extra == {"9": 1, "10": [2, 3], "é": 1e22}


@pytest.mark.parametrize("extra", [{"loss": float("nan")}, {"a": np.float32(1)}, {"a": object()}])
def test_extra_that_is_not_json(tmp_path, extra):
    with pytest.raises(ValueError, match="a checkpoint's extra must be JSON"):
        Checkpoints(tmp_path).save(Checkpoint(1, made(1).weights, {}, extra), CONFIG)
    assert names(tmp_path) == []


def test_extra_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_STATE_BYTES", 10_000)
    with pytest.raises(ValueError, match="there is room for 10000"):
        Checkpoints(tmp_path).save(
            Checkpoint(1, made(1).weights, {}, {"a": list(range(5000))}), CONFIG
        )
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("velocities", "sentence"),
    [
        ({"fc6/weigth": np.zeros(3, np.float32)}, "fc6/weigth is superfluous"),
        ({"fc6/bias": np.zeros(3, np.float32)}, r"fc6/bias is float32 \(3,\), expected float32"),
        ({"fc6/bias": np.zeros(16)}, r"fc6/bias is float64 \(16,\), expected float32 \(16,\)"),
        ({"fc6/bias": np.full(16, np.nan, np.float32)}, "NaN or infinity in fc6/bias"),
    ],
)
def test_velocities_that_do_not_fit(two, tmp_path, velocities, sentence):
    with pytest.raises(WeightsError, match=sentence):
        two.save(Checkpoint(30, made(30).weights, velocities, {}), CONFIG)
    assert names(tmp_path) == ["00000010", "00000020"]


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="at least one checkpoint must be kept"):
        Checkpoints(tmp_path, keep=0)
    with pytest.raises(ValueError, match="must be 0 or more; got -1"):
        Checkpoints(tmp_path).save(Checkpoint(-1, made(0).weights, {}, {}), CONFIG)
    with pytest.raises(FileNotFoundError, match="absent: no such checkpoint"):
        Checkpoints(tmp_path).load(tmp_path / "absent")


def test_saving_copies_no_arrays(tmp_path):
    weights = random_weights(goturn(widths=(256,)), 0)
    velocities = dict(weights.parameters)
    largest = max(value.nbytes for value in velocities.values())
    tracemalloc.start()
    try:
        Checkpoints(tmp_path).save(Checkpoint(1, weights, velocities, {}), CONFIG)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20 < largest


# -- settings, pruning, what others left ---------------------------------------------------------


def test_other_settings(two):
    with pytest.raises(OtherSettingsError, match=r"00000020: made with other settings; go on with"):
        two.load_latest("d" * 64)
    assert_same(two.load_latest(None)[0], made(20))


def test_the_newest_stay(tmp_path):
    for keep in (1, 3):
        folder = tmp_path / str(keep)
        for iteration in range(10, 60, 10):
            Checkpoints(folder, keep=keep).save(made(iteration), CONFIG)
        assert names(folder) == [f"{i:08d}" for i in range(60 - 10 * keep, 60, 10)]


def test_later_iterations_stay(tmp_path):
    """A run that went back, because the newest was damaged, removes nothing that it has not passed."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    for iteration in (20, 30):
        Checkpoints(tmp_path, keep=9).save(made(iteration), CONFIG)
    checkpoints.save(made(10), CONFIG)
    assert names(tmp_path) == ["00000010", "00000020", "00000030"]
    checkpoints.save(made(25), CONFIG)
    assert names(tmp_path) == ["00000025", "00000030"]


def test_the_same_iteration_again(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(made(10), CONFIG)
    again = Checkpoint(10, made(11).weights, made(12).velocities, {"again": 1})
    checkpoints.save(again, CONFIG)
    assert names(tmp_path) == ["00000010"]
    assert_same(checkpoints.load_latest(CONFIG)[0], again)


def test_more_than_eight_digits(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for iteration in (99_999_999, 100_000_000):
        checkpoints.save(made(iteration), CONFIG)
    assert checkpoints.load_latest()[0].iteration == 100_000_000


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_killed_processes_left(two, tmp_path):
    """Of ours and of processes that are gone, whatever they were doing; nobody else's."""
    dead = dead_process()
    left = [
        *(f".00000020.tmp.{process}.5" for process in (dead, os.getpid())),
        *(f".00000030.tmp.{process}.5" for process in (dead, os.getpid())),
        f".00000010.old.{dead}.5",
        f".00000010.tmp.{10**30}.0",
    ]
    stay = [
        f".00000030.tmp.{os.getppid()}.5",
        "notes",
        ".hidden",
        ".00000030.tmp.x.5",
        "0000030.tmp",
    ]
    for name in [*left, *stay]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.h5").write_bytes(b"half of it")
    two.save(made(30), CONFIG)
    assert names(tmp_path) == sorted(["00000020", "00000030", *stay])


def test_room_is_made_before_it_is_needed(two, tmp_path, monkeypatch):
    """What a killed process left may be what fills the disk."""
    left = tmp_path / f".00000030.tmp.{dead_process()}.0"
    left.mkdir()

    def write(*_):
        assert not left.exists()
        raise OSError(28, "No space left on device", "some/file")

    monkeypatch.setattr(module, "save", write)
    with pytest.raises(OSError, match="could not write: No space left on device") as caught:
        two.save(made(30), CONFIG)
    assert caught.value.filename == str(tmp_path / "00000030")
    assert names(tmp_path) == ["00000010", "00000020"]


def test_what_cannot_be_removed_is_no_error(two, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path, ignore_errors: None)
        two.save(made(30), CONFIG)
        left = [name for name in names(tmp_path) if name.startswith(".")]
        assert [name.split(".")[1:3] for name in left] == [["00000010", "tmp"]]
    two.save(made(40), CONFIG)
    assert names(tmp_path) == ["00000030", "00000040"]
