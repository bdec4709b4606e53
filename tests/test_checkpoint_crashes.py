"""Checkpoints while the process is killed or the disk is full: one that is whole is there, always."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from checkpoints import CONFIG, FILES, assert_same, made, names
from goturn.training.checkpoint import Checkpoint, Checkpoints


def run(code: str, *arguments: object) -> None:
    """Runs a program of the tests' functions; it says so itself if it comes to its end."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OPENBLAS_NUM_THREADS": "1",  # it forks
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert (done.returncode, done.stdout) == (0, "all well\n"), done.stderr


KILLS = """
import itertools, os, random, signal, sys, time
from pathlib import Path
from goturn.training.checkpoint import Checkpoints
from checkpoints import CONFIG, assert_same, made

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
checkpoints = Checkpoints(folder)
waits = random.Random(0)
checkpoints.save(made(0), CONFIG)
newest = met = 0
for _ in range(kills):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        for iteration in itertools.count(newest + 1):
            checkpoint = made(iteration)
            os.write(writing, b"s")
            checkpoints.save(checkpoint, CONFIG)
            os.write(writing, b".")
    os.close(writing)
    time.sleep(waits.uniform(0, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    told = b""
    while data := os.read(reading, 1000):
        told += data
    os.close(reading)
    met += told.endswith(b"s")
    found, problems = checkpoints.load_latest(CONFIG)
    assert not problems, problems
    # What save returned from is there; what it was about to finish may be.
    low = newest + told.count(b".")
    assert low <= found.iteration <= low + told.endswith(b"s"), (low, told, found.iteration)
    assert_same(found, made(found.iteration))
    newest = found.iteration
assert met > kills // 2, "few kills met a save: the test proves little"
checkpoints.save(made(newest + 1), CONFIG)
assert len(list(folder.iterdir())) == 2
print("all well")
"""


@pytest.mark.parametrize("kills", [40, pytest.param(80, marks=pytest.mark.slow)])
def test_killed_at_any_moment(tmp_path, kills):
    run(KILLS, tmp_path, kills)


CRASHES = """
import os, sys
from pathlib import Path
from goturn.training.checkpoint import Checkpoint, Checkpoints
from checkpoints import CONFIG, assert_same, made

def crash_at(step):
    # The process is gone before its step-th call that changes something on the disk.
    steps = iter(range(step))
    for name in ("mkdir", "rename", "replace", "fsync", "unlink", "rmdir"):
        def call(*arguments, whole=getattr(os, name), **options):
            next(steps, None) is None and os._exit(9)
            return whole(*arguments, **options)
        setattr(os, name, call)

folder, again = Path(sys.argv[1]), sys.argv[2] == "again"
for step in range(1000):
    checkpoints = Checkpoints(folder / str(step), keep=1)
    checkpoints.save(made(10), CONFIG)
    new = made(10 if again else 20)
    new = Checkpoint(new.iteration, new.weights, new.velocities, {"new": True})
    child = os.fork()
    if child == 0:
        crash_at(step)
        checkpoints.save(new, CONFIG)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found, problems = checkpoints.load_latest(CONFIG)
    assert not problems, problems
    assert_same(found, new if "new" in found.extra else made(10))
    if code == 0:
        break
    assert code == 9
    checkpoints.save(made(30), CONFIG)
    assert [path.name for path in (folder / str(step)).iterdir()] == ["00000030"]
assert step > 15 and "new" in found.extra
print("all well")
"""


@pytest.mark.parametrize("iteration", ["next", "again"])
def test_a_crash_at_every_step(tmp_path, iteration):
    """With one checkpoint kept, and so none to go back to."""
    run(CRASHES, tmp_path, iteration)


FULL_DISK = """
import os, resource, sys
from pathlib import Path
from goturn.training.checkpoint import Checkpoints
from checkpoints import CONFIG, FILES, assert_same, made, names

folder = Path(sys.argv[1])
checkpoints = Checkpoints(folder)
path = checkpoints.save(made(10), CONFIG)
largest = max((path / name).stat().st_size for name in FILES)
new = made(20)
before = len(os.listdir("/proc/self/fd"))
for limit in [*range(0, largest, largest // 40), largest - 1]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    try:
        checkpoints.save(new, CONFIG)
    except OSError as error:
        assert error.filename == str(folder / "00000020"), error
        assert "could not write: File too large" in str(error), error
    else:
        sys.exit(f"nothing raised at {limit}")
    assert names(folder) == ["00000010"]
assert len(os.listdir("/proc/self/fd")) == before, "descriptors leak"
assert_same(checkpoints.load_latest(CONFIG)[0], made(10))
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
checkpoints.save(new, CONFIG)
assert_same(checkpoints.load_latest(CONFIG)[0], new)
print("all well")
"""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc and RLIMIT_FSIZE")
def test_full_disk(tmp_path):
    run(FULL_DISK, tmp_path)


def failing(call, calls, step):
    """``call``, but the step-th of all ``calls`` of such raises."""

    def instead(*arguments):
        if next(calls) == step:
            raise OSError(28, "No space left on device")
        return call(*arguments)

    return instead


@pytest.mark.parametrize("same", [False, True])
def test_an_error_at_every_step(tmp_path, monkeypatch, same):
    """Whichever call fails: the old one or the new one is there, and nothing else."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(made(10), CONFIG)
    new = made(10 if same else 20)
    new = Checkpoint(new.iteration, new.weights, new.velocities, {"new": True})

    for step in itertools.count():
        calls = itertools.count()
        with monkeypatch.context() as patch:
            for name in ("mkdir", "rename", "replace", "fsync"):
                patch.setattr(os, name, failing(getattr(os, name), calls, step))
            error = None
            try:
                checkpoints.save(new, CONFIG)
            except OSError as caught:
                error = caught
        found, problems = checkpoints.load_latest(CONFIG)
        assert not problems
        assert_same(found, new if "new" in found.extra else made(10))
        if error:
            assert error.filename == str(tmp_path / f"{new.iteration:08d}")
        elif next(calls) <= step:
            break
        for path in list(tmp_path.iterdir()):
            shutil.rmtree(path)
        checkpoints.save(made(10), CONFIG)
    assert step > 8
    assert names(tmp_path) == [f"{new.iteration:08d}"]


def test_data_reach_the_disk_before_the_name(tmp_path, monkeypatch):
    """fsync of the files and of their folder, then the rename, then fsync of the folder above."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(made(20), CONFIG)
    events = []
    fsync, rename = os.fsync, os.rename

    def note_sync(descriptor):
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        events.append(("fsync", re.sub(r"\.tmp\.[0-9.]*", "", name)))
        fsync(descriptor)

    def note_rename(source, target):
        events.append(("rename", Path(target).name))
        rename(source, target)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    checkpoints.save(made(30), CONFIG)
    synced = [name for kind, name in events[: events.index(("rename", "00000030"))]]
    assert set(FILES) <= set(synced)
    assert synced[-2:] == ["state.json", ".00000030"]
    after = events[events.index(("rename", "00000030")) + 1 :]
    assert after[0] == ("fsync", tmp_path.name)
    assert [kind for kind, _ in after[1:]] == ["rename"]  # of an old one that goes
