"""Saving while the process is killed or the disk is full: the old file stays, whole."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from goturn.weights import load, random_weights, save, save_caffemodel
from networks import tiny

KILLS = 12

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


@pytest.mark.parametrize("write", [save, save_caffemodel])
def test_threads_that_save_to_one_path(tmp_path, write):
    """Two threads, 15 saves each, while a third loads: every file it meets is whole."""
    path = tmp_path / ("w.h5" if write is save else "w.caffemodel")
    versions = [random_weights(tiny(), seed) for seed in range(2)]
    known = {weights.digest for weights in versions}
    write(versions[0], path)
    done = threading.Event()

    def save_often(weights):
        for _ in range(15):
            write(weights, path)

    def load_always():
        count = 0
        while not done.is_set() or not count:
            assert load(path).digest in known
            count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        reader = pool.submit(load_always)
        writers = [pool.submit(save_often, weights) for weights in versions]
        try:
            for writer in writers:
                writer.result()
        finally:
            done.set()
        assert reader.result() > 0
    assert load(path).digest in known
    assert not list(tmp_path.glob("*.tmp.*"))


def test_a_temporary_file_left_behind_is_not_touched(tmp_path, monkeypatch):
    """A name that is taken, by a killed process or by another machine's, is passed over."""
    left = [tmp_path / f"w.h5.tmp.{os.getpid()}.{number}" for number in range(3)]
    for path in left[:2]:
        path.write_text("of somebody else")
    monkeypatch.setattr("goturn.weights.atomic._numbers", itertools.count())
    save(random_weights(tiny(), 0), tmp_path / "w.h5")
    assert load(tmp_path / "w.h5").digest == random_weights(tiny(), 0).digest
    assert [path.exists() for path in left] == [True, True, False]
    assert {path.read_text() for path in left[:2]} == {"of somebody else"}


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_permissions_are_the_umasks(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        save(random_weights(tiny(), 0), tmp_path / "w.h5")
        save_caffemodel(random_weights(tiny(), 0), tmp_path / "w.caffemodel")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"w.h5": mode, "w.caffemodel": mode, "w.prototxt": mode}


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


@pytest.mark.parametrize("failing", ["prototxt", "_write_net"])
def test_an_error_while_exporting_leaves_the_old_pair(tmp_path, monkeypatch, failing):
    path = tmp_path / "w.caffemodel"
    save_caffemodel(random_weights(tiny(hidden=2), 0), path)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    monkeypatch.setattr(f"goturn.weights.caffe_writer.{failing}", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_caffemodel(random_weights(tiny(hidden=3), 1), path)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["w.prototxt", "w.caffemodel"])
def test_the_file_that_could_not_be_written_is_named(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(OSError, match=r"could not write: Is a directory") as caught:
        save_caffemodel(random_weights(tiny(), 0), tmp_path / "w.caffemodel")
    assert caught.value.filename == str(tmp_path / name)
    assert not list(tmp_path.glob("*.tmp.*"))


@pytest.mark.parametrize("write", [save, save_caffemodel])
def test_data_reach_the_disk_before_the_name(tmp_path, monkeypatch, write):
    """fsync of the files, then the renames one after the other, then fsync of the folder."""
    events = []
    fsync, replace = os.fsync, os.replace

    def note_sync(descriptor):
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        events.append(("fsync", name.partition(".tmp.")[0]))
        fsync(descriptor)

    def note_replace(source, target):
        events.append(("replace", Path(target).name))
        replace(source, target)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    # A text without weights, where a crash comes in between, misleads nobody.
    names = ["w.h5"] if write is save else ["w.prototxt", "w.caffemodel"]
    write(random_weights(tiny(), 0), tmp_path / names[-1])
    assert events == [
        *(("fsync", name) for name in names),
        *(("replace", name) for name in names),
        ("fsync", tmp_path.name),
    ]
