"""Saving while the process is killed or the disk is full: the old file stays, whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from goturn.weights import load, random_weights, save, save_caffemodel
from networks import tiny

KILLS = 30

WRITER = """
import sys
from goturn.weights import load, save, random_weights, Weights
from networks import tiny
path = sys.argv[1]
versions = [random_weights(tiny(), seed) for seed in range(4)]
print("ready", flush=True)
while True:
    for weights in versions:
        save(weights, path)
"""


def start(code: str, *arguments: object) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_killed_at_any_moment(tmp_path):
    path = tmp_path / "w.h5"
    known = {random_weights(tiny(), seed).digest for seed in range(4)}
    save(random_weights(tiny(), 0), path)
    waits = random.Random(0)
    interrupted = 0
    for _ in range(KILLS):
        with start(WRITER, path) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(waits.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        assert load(path).digest in known
        left = list(tmp_path.glob("w.h5.tmp.*"))
        interrupted += len(left)
        for temporary in left:
            temporary.unlink()
    assert interrupted > 0, "no kill met a half-written file: the test proves nothing"


FULL_DISK = """
import os, resource, sys
from goturn.weights import random_weights, save, save_caffemodel
from networks import tiny
path, limits = sys.argv[1], [int(limit) for limit in sys.argv[2:]]
write = save if path.endswith("h5") else save_caffemodel
before = len(os.listdir("/proc/self/fd"))
for limit in limits:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    try:
        write(random_weights(tiny(), 1), path)
    except OSError as error:
        assert error.filename == path and "could not write: File too large" in str(error), error
    else:
        sys.exit(f"nothing raised at {limit}")
assert len(os.listdir("/proc/self/fd")) == before, "descriptors leak"
print("every one raised")
"""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc and RLIMIT_FSIZE")
@pytest.mark.parametrize("write", [save, save_caffemodel])
def test_full_disk(tmp_path, write):
    """At every stage of writing: HDF5 by itself dies of some of these, later, of a broken pointer."""
    path = tmp_path / ("w.h5" if write is save else "w.caffemodel")
    weights = random_weights(tiny(), 0)
    write(weights, path)
    size = path.stat().st_size
    limits = [*range(0, size, size // 40), size - 100, size - 1]
    with start(FULL_DISK, path, *limits) as process:
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, output, errors) == (0, "every one raised\n", "")
    assert load(path).digest == weights.digest
    assert not list(tmp_path.glob("*.tmp.*"))


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match=r"could not write: No such file.*absent/w\.h5"):
        save(random_weights(tiny(), 0), tmp_path / "absent" / "w.h5")


def test_an_error_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "w.h5"
    weights = random_weights(tiny(), 0)
    save(weights, path)
    monkeypatch.setattr("goturn.weights.store._write_description", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(random_weights(tiny(), 1), path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.h5"]
    assert load(path).digest == weights.digest


def test_data_reach_the_disk_before_the_name(tmp_path, monkeypatch):
    """fsync of the file, then the rename, then fsync of the folder."""
    events = []
    fsync, replace = os.fsync, os.replace

    def note_sync(descriptor):
        events.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        fsync(descriptor)

    def note_replace(source, target):
        events.append(("replace", Path(target).name))
        replace(source, target)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    save(random_weights(tiny(), 0), tmp_path / "w.h5")
    assert events == [
        ("fsync", f"w.h5.tmp.{os.getpid()}"),
        ("replace", "w.h5"),
        ("fsync", tmp_path.name),
    ]
