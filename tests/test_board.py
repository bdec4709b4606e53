"""TensorBoard's events, read back by its own reader."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from goturn.training.board import Board


def scalars(folder, tag):
    """(step, value) as TensorBoard would show them."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder), purge_orphaned_data=True)
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_there_and_back(tmp_path):
    pytest.importorskip("tensorboard")
    board = Board(tmp_path / "run")
    for step in range(20, 100, 20):
        board.scalar("loss", 1 / 4 + step, step)
        board.scalar("rate", 0.5, step)
        assert scalars(tmp_path / "run", "loss")[-1] == (step, 1 / 4 + step)
    board.close()
    board.close()
    assert scalars(tmp_path / "run", "loss") == [
        (step, 1 / 4 + step) for step in range(20, 100, 20)
    ]
    assert scalars(tmp_path / "run", "rate") == [(step, 0.5) for step in range(20, 100, 20)]


def test_going_on_from_a_checkpoint(tmp_path):
    """Events of iterations that come again are void."""
    pytest.importorskip("tensorboard")
    for begin, end, value in ((20, 200, 1.0), (120, 160, 2.0), (140, 300, 3.0)):
        board = Board(tmp_path, purge_step=begin)
        for step in range(begin, end, 20):
            board.scalar("loss", value, step)
        board.close()
    expected = [
        (step, 1.0 if step < 120 else 2.0 if step < 140 else 3.0) for step in range(20, 300, 20)
    ]
    assert scalars(tmp_path, "loss") == expected


def test_full_disk(tmp_path):
    pytest.importorskip("tensorboard")
    board = Board(tmp_path)
    (path,) = tmp_path.iterdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, before[1]))
    try:
        with pytest.raises(OSError, match="could not write: File too large") as caught:
            board.scalar("loss", 1.0, 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(path)
    board.close()


def test_neither_tensorflow_nor_torch(tmp_path):
    pytest.importorskip("tensorboard")
    code = (
        "import sys\nfrom pathlib import Path\nfrom goturn.training.board import Board\n"
        "board = Board(Path(sys.argv[1]))\nboard.scalar('loss', 1, 1)\nboard.close()\n"
        "assert not {'tensorflow', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("tensorboard.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(RuntimeError, match="pip install tensorboard, or train without"):
        Board(tmp_path / "run")
    assert not (tmp_path / "run").exists()
