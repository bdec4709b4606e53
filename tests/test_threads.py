"""The CPU engine beside other threads and processes: forks, two trackers at once, a busy neighbour,
and memory over a long run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import goturn
from goturn import _cpu
from goturn.network import Network
from networks import tiny
from test_cpu_engine import run
from test_network import crops, lively

#: A test that must not hang ends with this, seconds, in any process that it starts.
LIMIT = 60

ROOT = Path(__file__).parents[1]
COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")

FORKS = f"""
import os, signal, threading, time
import goturn
_cpu.set_thread_count(4)
network = Network(lively(tiny()), "cpu")
images = crops(3, 35)
want = network.encode_target(images)
frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
tracker = goturn.Tracker(network, ahead=True)
tracker.init(frame, (30, 20, 20, 20))

def forever():
    while not done:
        network.encode_target(images)

done = False
threads = [threading.Thread(target=forever) for _ in range(2)]
for thread in threads:
    thread.start()
failed = 0
for turn in range(60):
    box = tracker.update(frame)  # and a thread that begins with the next one
    time.sleep(0.0001 * (turn % 7))
    child = os.fork()
    if child == 0:
        signal.alarm({LIMIT})
        same = np.array_equal(network.encode_target(images), want)
        _cpu.set_thread_count(2)
        same = same and np.array_equal(network.encode_target(images), want)
        same = same and np.isfinite(tracker.update(frame)).all()
        os._exit(0 if same else 1)
    failed += os.waitpid(child, 0)[1] != 0
done = True
for thread in threads:
    thread.join()
print("failed", failed)
"""


def test_fork_while_other_threads_compute():
    """The child has this thread alone, and finds every lock free and no work left to wait for."""
    done = run(FORKS)
    assert done.stdout.split() == ["failed", "0"], done.stderr


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler: neither CXX nor g++")
def test_an_exception_in_a_piece_of_work_is_the_caller_s(tmp_path):
    """Memory that cannot be had in a worker must not end the process."""
    program = tmp_path / "threads_throw"
    sources = (ROOT / "tests" / "threads_throw.cpp", ROOT / "csrc" / "cpu" / "threads.cpp")
    flags = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'csrc'}", "-pthread")
    plain = {name: text for name, text in os.environ.items() if name != "LD_PRELOAD"}
    for command in ((COMPILER, *flags, *sources, "-o", program), (program,)):
        done = subprocess.run(
            command, env=plain, capture_output=True, text=True, timeout=LIMIT, check=False
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["right"] * 3


@pytest.fixture
def two_threads():
    before = _cpu.thread_count()
    _cpu.set_thread_count(2)
    yield
    _cpu.set_thread_count(before)


def test_the_interpreter_goes_on_while_compiled_code_runs():
    """The GIL is released: another thread counts on meanwhile."""
    network = Network(lively(goturn.architecture.goturn((8,))), "cpu")
    images = crops(16, 227)
    network.encode_target(images[:1])
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        before = counted[0]
        for _ in range(3):  # about half a second of compiled code in three calls
            network.encode_target(images)
        assert counted[0] - before > 10
    finally:
        stop.set()
        thread.join()


@pytest.mark.usefixtures("two_threads")
def test_two_trackers_in_two_threads_give_what_each_gives_alone():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (6, 60, 80, 3), dtype=np.uint8)
    network = Network(lively(tiny()), "cpu")
    starts = [(30, 20, 20, 20), (10, 15, 30, 25), (5, 5, 12, 14)]

    def track(start, ahead):
        tracker = goturn.Tracker(network, ahead=ahead)
        tracker.init(frames[0], start)
        return [tuple(tracker.update(frame)) for _ in range(8) for frame in frames]

    alone = [track(start, False) for start in starts]
    together: dict[int, list] = {}

    def work(index):
        together[index] = track(starts[index], index % 2 == 0)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(starts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert [together[i] for i in range(len(starts))] == alone


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [False, True])
def test_a_long_run_keeps_its_memory(ahead):
    """40,000 updates (8,000 with a thread each): less than 2 MB more than after the first 2,000."""
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    tracker = goturn.Tracker(lively(tiny()), device="cpu", ahead=ahead)
    tracker.init(frame, (30, 20, 20, 20))
    process = psutil.Process()
    for _ in range(2000):
        tracker.update(frame)
    before = process.memory_info().rss
    for _ in range(8_000 if ahead else 40_000):
        tracker.update(frame)
    assert process.memory_info().rss - before < 2e6
