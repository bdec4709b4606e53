"""metrics.csv and timing.csv: their bytes, and what becomes of torn, full and foreign ones."""

from __future__ import annotations

import os
import resource
from contextlib import contextmanager
from dataclasses import astuple

import numpy as np
import pytest

from goturn.training.metrics import Metrics, Row, Timing, TimingRow, read_rows

HEADER = "iteration,loss,rate,validation_iou\n"
ROWS = [
    Row(20, 0.1 + 0.2, 1e-5, None),
    Row(40, 1e-300, 1.0000000000000002e-06, 0.5),
    Row(60, 7.0, 1e-6, 2 / 3),
    Row(80, 123456789.125, 1e-6, 2 / 3),
    Row(100, 0.0, 0.0, 0.25),
]
TEXT = (
    HEADER
    + "20,0.30000000000000004,1e-05,\n"
    + "40,1e-300,1.0000000000000002e-06,0.5\n"
    + "60,7.0,1e-06,0.6666666666666666\n"
    + "80,123456789.125,1e-06,0.6666666666666666\n"
    + "100,0.0,0.0,0.25\n"
)


@pytest.fixture
def path(tmp_path):
    """Of a file with ``TEXT`` in it."""
    (tmp_path / "metrics.csv").write_text(TEXT)
    return tmp_path / "metrics.csv"


@contextmanager
def largest_file(size: int):
    """Files can grow no larger than this, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_bytes(tmp_path):
    path = tmp_path / "metrics.csv"
    metrics = Metrics.open(path, upto=0)
    assert (path.read_text(), metrics.rows, metrics.best()) == (HEADER, [], None)
    for number, row in enumerate(ROWS, 1):
        metrics.append(row)
        assert path.read_text() == "".join(TEXT.splitlines(keepends=True)[: number + 1])
    metrics.sync()
    assert metrics.rows == ROWS == read_rows(path)
    assert os.listdir(tmp_path) == ["metrics.csv"]


def test_numpy_numbers_are_written_as_numbers(tmp_path):
    metrics = Metrics.open(tmp_path / "metrics.csv", upto=0)
    metrics.append(Row(np.int64(20), np.float64(0.1), np.float32(0.5), np.float64(0.25)))
    assert (tmp_path / "metrics.csv").read_text() == HEADER + "20,0.1,0.5,0.25\n"


@pytest.mark.parametrize("upto", [0, 19, 20, 59, 60, 99, 100, 1000])
def test_going_on_after_an_iteration(path, upto):
    metrics = Metrics.open(path, upto=upto)
    assert metrics.rows == [row for row in ROWS if row.iteration <= upto]
    assert path.read_text() == "".join(TEXT.splitlines(keepends=True)[: len(metrics.rows) + 1])
    for row in ROWS[len(metrics.rows) :]:
        metrics.append(row)
    assert path.read_text() == TEXT


def test_a_file_that_needs_no_change_is_left_alone(path):
    before = path.stat()
    Metrics.open(path, upto=100)
    read_rows(path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_torn_anywhere(path):
    """Of a file cut at any byte the whole lines count, and the rest comes again."""
    for size in range(len(TEXT)):
        path.write_text(TEXT[:size])
        whole = max(TEXT[:size].count("\n") - 1, 0)
        assert read_rows(path) == ROWS[:whole]
        metrics = Metrics.open(path, upto=1000)
        assert metrics.rows == ROWS[:whole]
        for row in ROWS[whole:]:
            metrics.append(row)
        assert path.read_text() == TEXT


def test_what_a_power_failure_may_leave_after_the_last_sync(path):
    """Of what follows the checkpoint nothing is read but the first row."""
    path.write_bytes(TEXT.encode().replace(b"\n100,", b"\n\x00\xff\n9,") + b"\x00" * 100)
    with pytest.raises(ValueError, match="line 6: expected 4 cells; got 1"):
        Metrics.open(path, upto=80)
    assert Metrics.open(path, upto=60).rows == ROWS[:3]


def test_full_disk(path):
    metrics = Metrics.open(path, upto=60)
    before = path.read_bytes()
    for size in range(len(before), len(before) + 30):
        with largest_file(size), pytest.raises(OSError, match="could not write") as caught:
            metrics.append(ROWS[3])
        assert caught.value.filename == str(path)
        assert metrics.rows == ROWS[:3]
        assert path.read_bytes() == before
    for row in ROWS[3:]:
        metrics.append(row)
    assert path.read_text() == TEXT


def test_a_torn_line_is_repaired_by_the_next_append(path):
    """Where not even the file's old length could be restored."""
    metrics = Metrics.open(path, upto=80)
    with path.open("a") as file:
        file.write("100,0.0000000")
    metrics.append(ROWS[4])
    assert path.read_text() == TEXT


def test_a_file_that_somebody_removed_is_made_again(path):
    metrics = Metrics.open(path, upto=80)
    path.unlink()
    metrics.append(ROWS[4])
    assert path.read_text() == TEXT


def test_best_is_the_earliest_of_equals(path):
    metrics = Metrics.open(path, upto=1000)
    assert metrics.best() == ROWS[2]
    metrics.append(Row(120, 1.0, 0.0, 0.7))
    assert metrics.best().iteration == 120
    assert Metrics.open(path, upto=20).best() is None


def test_no_overlap_at_all_is_a_best_too(tmp_path):
    metrics = Metrics.open(tmp_path / "m.csv", upto=0)
    metrics.append(Row(20, 1.0, 0.0, 0.0))
    assert metrics.best() == Row(20, 1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "step,loss\n1,2\n",
            "line 1: expected 'iteration,loss,rate,validation_iou'; got 'step,loss'",
        ),
        ("\n", "line 1: expected 'iteration"),
        (HEADER + "20,1.0,1e-5\n", "line 2: expected 4 cells; got 3"),
        (TEXT + "\n", "line 7: expected 4 cells; got 1"),
        (HEADER + "20,1.0,1e-5,,\n", "line 2: expected 4 cells; got 5"),
        (HEADER + "20,x,1e-5,\n", "line 2: could not convert string to float: 'x'"),
        (HEADER + "2.5,1,1e-5,\n", "line 2: invalid literal for int"),
        (HEADER + "20,nan,1e-5,\n", "line 2: loss must be a finite number, 0 or more; got nan"),
        (HEADER + "20,inf,1e-5,\n", "line 2: loss must be a finite number, 0 or more; got inf"),
        (HEADER + "20,1,-1,\n", "line 2: rate must be a finite number, 0 or more; got -1.0"),
        (
            HEADER + "20,1,1,1.5\n",
            r"line 2: validation_iou must be a finite number, in 0..1; got 1.5",
        ),
        (HEADER + "-20,1,1,\n", "line 2: iteration must be a finite number, 0 or more; got -20"),
        (HEADER + "20,1,1,\n20,1,1,\n", "line 3: iteration 20 follows 20"),
        (HEADER + "20,1,1,\n10,1,1,\n", "line 3: iteration 10 follows 20"),
        (HEADER + "9" * 5000 + ",1,1,\n", "line 2: "),
        (HEADER + "x" * 5000 + ",1,1,\n", "line 2: "),
    ],
)
def test_files_that_are_not_ours(tmp_path, text, sentence):
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    for read in (read_rows, lambda path: Metrics.open(path, upto=100)):
        with pytest.raises(ValueError, match=sentence) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert len(str(caught.value)) < len(str(path)) + 300
    assert path.read_text() == text


def test_a_pipe_a_folder_and_a_huge_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(ValueError, match=f"{name}: not a regular file"):
            Metrics.open(tmp_path / name, upto=0)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="huge: more than 67108864 bytes"):
        Metrics.open(tmp_path / "huge", upto=0)
    with pytest.raises(FileNotFoundError, match="absent: no such file"):
        read_rows(tmp_path / "absent")


def test_rows_that_cannot_be(path):
    metrics = Metrics.open(path, upto=100)
    for iteration in (100, 99):
        with pytest.raises(
            ValueError, match=f"a row of iteration {iteration} cannot follow one of 100"
        ):
            metrics.append(Row(iteration, 1.0, 1.0, None))
    with pytest.raises(ValueError, match="loss must be a finite number"):
        Row(1, float("nan"), 1.0, None)
    assert path.read_text() == TEXT


def test_timing(tmp_path):
    path = tmp_path / "timing.csv"
    rows = [TimingRow(20, 1.5, 1000.25, 0.01), TimingRow(40, 2.5, 900.0, 0.0)]
    Timing.open(path).append(rows[0])
    with path.open("a") as file:
        file.write("40,2.")
    timing = Timing.open(path)
    for row in (rows[1], rows[0]):  # after a crash, iterations come again
        timing.append(row)
    lines = [",".join(map(str, astuple(row))) for row in (rows[0], rows[1], rows[0])]
    header = "iteration,seconds,examples_per_second,waiting_share"
    assert path.read_text().splitlines() == [header, *lines]
    with largest_file(path.stat().st_size + 3), pytest.raises(OSError, match=r"could not write.*"):
        timing.append(rows[1])
    path.write_text("a,b\n")
    with pytest.raises(ValueError, match="line 1: expected 'iteration,seconds"):
        Timing.open(path)
