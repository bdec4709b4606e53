"""Trackers that look ahead: the same bits, sooner, and nothing left behind whatever happens between."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

import goturn
from goturn.network import Network
from test_tracker import FRAMES, START, attentive


@pytest.fixture(params=["reference", "cpu"])
def network(request) -> Network:
    return Network(attentive(), request.param)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "goturn-ahead"]


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    for thread in threads():
        thread.join(timeout=10)
        assert not thread.is_alive()


class Watched:
    """A network's calls, counted; a hook before each."""

    def __init__(self, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.before = lambda name: None
        for name in ("encode_target", "project_target", "encode_search", "regress"):
            monkeypatch.setattr(network, name, self.wrap(name, getattr(network, name)))

    def wrap(self, name, function):
        def call(*arguments):
            self.before(name)
            self.calls.append(name)
            return function(*arguments)

        return call


@pytest.mark.parametrize("pause", [0, 0.005])
def test_a_sequence_gives_the_same_bits(network, pause):
    plain, ahead = goturn.Tracker(network), goturn.Tracker(network, ahead=True)
    for tracker in (plain, ahead):
        tracker.init(FRAMES[0], START)
    for frame in FRAMES[1:] * 3:
        time.sleep(pause)
        assert ahead.update(frame) == plain.update(frame)


def test_objects_come_and_go_and_bits_stay(network):
    plain, ahead = goturn.MultiTracker(network), goturn.MultiTracker(network, ahead=True)
    rng = np.random.default_rng(0)
    keys: list[int] = []
    for step in range(40):
        frame = FRAMES[step % len(FRAMES)]
        for tracker in (plain, ahead):
            found = tracker.update(frame)
        assert ahead.boxes == plain.boxes == found
        for _ in range(rng.integers(0, 3)):
            start = (*rng.uniform(5, 60, 2), *rng.uniform(10, 50, 2))
            keys.append(plain.add(frame, start))
            assert ahead.add(frame, start) == keys[-1]
        if keys and rng.random() < 0.4:
            key = keys.pop(rng.integers(len(keys)))
            for tracker in (plain, ahead):
                tracker.remove(key)
        if rng.random() < 0.5:
            time.sleep(0.002)
    assert len(keys) > 3


def test_init_anew(network):
    plain, ahead = goturn.Tracker(network), goturn.Tracker(network, ahead=True)
    for start in (START, (20, 30, 40, 20), (80, 60, 30, 30)):
        for tracker in (plain, ahead):
            tracker.init(FRAMES[0], start)
            tracker.init(FRAMES[1], start)
        assert ahead.box == start
        for frame in FRAMES[2:]:
            assert ahead.update(frame) == plain.update(frame)
    with pytest.raises(ValueError, match="finite"):
        ahead.init(FRAMES[0], (float("nan"), 0, 1, 1))
    assert ahead.update(FRAMES[0]) == plain.update(FRAMES[0])


def test_the_targets_half_is_done_before_the_frame_and_once(network, monkeypatch):
    tracker = goturn.Tracker(network, ahead=True)
    watched = Watched(network, monkeypatch)
    tracker.init(FRAMES[0], START)
    for frame in FRAMES[1:]:
        for thread in threads():
            thread.join()
        assert watched.calls == ["encode_target", "project_target"]
        watched.calls.clear()
        tracker.update(frame)
        for thread in threads():
            thread.join()
        assert watched.calls == ["encode_search", "regress", "encode_target", "project_target"]
        del watched.calls[:2]


def test_asking_at_once_does_no_more_work(network, monkeypatch):
    tracker = goturn.Tracker(network, ahead=True)
    watched = Watched(network, monkeypatch)
    tracker.init(FRAMES[0], START)
    for frame in FRAMES[1:]:
        tracker.update(frame)
    for thread in threads():
        thread.join()
    for name in ("encode_search", "regress"):
        assert watched.calls.count(name) == len(FRAMES) - 1
    for name in ("encode_target", "project_target"):  # the last frame's is still to be used
        assert watched.calls.count(name) == len(FRAMES)


def test_update_waits_for_what_has_begun(network, monkeypatch):
    tracker, plain = goturn.Tracker(network, ahead=True), goturn.Tracker(network)
    plain.init(FRAMES[0], START)
    want = plain.update(FRAMES[1])
    watched = Watched(network, monkeypatch)
    watched.before = lambda name: time.sleep(0.2) if name == "project_target" else None
    tracker.init(FRAMES[0], START)
    assert tracker.update(FRAMES[1]) == want
    *before, last = watched.calls[:4]
    assert sorted(before) == ["encode_search", "encode_target", "project_target"]
    assert last == "regress"


def test_cancelled_work_stops_between_its_steps(network, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    tracker = goturn.MultiTracker(network, ahead=True)
    watched = Watched(network, monkeypatch)

    def hold(name):
        begun.set()
        assert go_on.wait(10)

    watched.before = hold
    key = tracker.add(FRAMES[0], START)
    assert begun.wait(10)
    tracker.remove(key)  # does not wait for the thread
    assert tracker.update(FRAMES[1]) == {}
    go_on.set()
    for thread in threads():
        thread.join()
    assert watched.calls == ["encode_target"]


def test_errors_surface_in_the_next_update_and_the_track_goes_on(network, monkeypatch):
    tracker, plain = goturn.Tracker(network, ahead=True), goturn.Tracker(network)
    plain.init(FRAMES[0], START)
    want = [plain.update(frame) for frame in FRAMES[1:3]]
    watched = Watched(network, monkeypatch)

    def fail(name):
        if name == "project_target" and threading.current_thread().name == "goturn-ahead":
            raise MemoryError("no room")

    watched.before = fail
    tracker.init(FRAMES[0], START)
    for frame, box in zip(FRAMES[1:3], want, strict=True):
        with pytest.raises(MemoryError, match="no room"):
            tracker.update(frame)
        assert tracker.update(frame) == box  # once more, without the thread


def test_a_bad_frame_loses_nothing(network):
    plain, ahead = goturn.Tracker(network), goturn.Tracker(network, ahead=True)
    for tracker in (plain, ahead):
        tracker.init(FRAMES[0], START)
    for frame in FRAMES[1:]:
        with pytest.raises(ValueError, match="empty frame"):
            ahead.update(np.zeros((0, 0, 3), np.uint8))
        assert ahead.update(frame) == plain.update(frame)


def test_callers_buffer_may_be_reused_at_once(network):
    plain, ahead = goturn.Tracker(network), goturn.Tracker(network, ahead=True)
    buffer = FRAMES[0].copy()
    plain.init(FRAMES[0], START)
    ahead.init(buffer, START)
    for frame in FRAMES[1:]:
        buffer[...] = frame
        assert ahead.update(buffer) == plain.update(frame)
        buffer[...] = 77


def test_without_threads_to_be_had_it_works_as_without(network, monkeypatch):
    plain, ahead = goturn.Tracker(network), goturn.Tracker(network, ahead=True)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for tracker in (plain, ahead):
        tracker.init(FRAMES[0], START)
    for frame in FRAMES[1:]:
        assert ahead.update(frame) == plain.update(frame)


def test_many_trackers_in_threads(network):
    def run(start, ahead):
        tracker = goturn.Tracker(network, ahead=ahead)
        tracker.init(FRAMES[0], start)
        return [tracker.update(frame) for frame in FRAMES[1:] * 3]

    starts = [(10 + 9 * i, 8 + 5 * i, 30, 20) for i in range(6)]
    want = [run(start, False) for start in starts]
    found: dict[int, list[goturn.Box]] = {}
    callers = [
        threading.Thread(target=lambda i=i: found.__setitem__(i, run(starts[i], True)))
        for i in range(len(starts))
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert [found[i] for i in range(len(starts))] == want


def test_one_tracker_in_several_threads(network):
    """Calls wait for each other; all that can be said of the boxes is that there are some."""
    tracker = goturn.MultiTracker(network, ahead=True)
    tracker.add(FRAMES[0], START)
    wrong = []

    def run(seed):
        try:
            for i in range(20):
                key = tracker.add(FRAMES[i % 6], (20 + seed, 20, 30, 30))
                if key not in tracker.update(FRAMES[(i + 1) % 6]):
                    wrong.append(key)
                tracker.remove(key)
        except Exception as error:
            wrong.append(error)

    callers = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong
    assert len(tracker) == 1


def test_nothing_outlives_the_tracker(network):
    tracker = goturn.Tracker(network, ahead=True)
    tracker.init(FRAMES[0], START)
    tracker.update(FRAMES[1])
    inner = weakref.ref(tracker._tracker)
    half = weakref.ref(tracker._tracker._pipeline._half)
    del tracker
    gc.collect()
    assert inner() is None
    for thread in threads():
        thread.join()
    gc.collect()
    assert half() is None
    assert threads() == []


SCRIPT = """
import os, signal, sys
import numpy as np
import goturn
from goturn import _cpu
from goturn.architecture import goturn as full
from goturn.network import Network
from test_network import lively
_cpu.set_thread_count(4)
frames = np.random.default_rng(0).integers(0, 256, (4, 240, 320, 3), dtype=np.uint8)
weights = lively(full((256, 64)))
weights.parameters["fc8/weight"] *= 1e-3
weights.parameters["fc8/bias"][:] = [2.5, 2.5, 7.5, 7.5]
network = Network(weights, "cpu")
plain, ahead = goturn.Tracker(network), goturn.Tracker(network, ahead=True)
for tracker in (plain, ahead):
    tracker.init(frames[0], (100, 80, 60, 60))
{body}
print("done")
"""


def run(body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(body=body)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_fork_while_the_thread_is_at_work():
    """The child has no such thread and does the work itself; the parent goes on."""
    done = run(
        """
want = plain.update(frames[1])
assert 1 < want.w < 200
for _ in range(5):
    ahead.init(frames[0], (100, 80, 60, 60))
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        os._exit(0 if ahead.update(frames[1]) == want else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    assert ahead.update(frames[1]) == want
"""
    )
    assert done.stdout.split() == ["done"], done.stderr


def test_the_process_ends_quietly_while_the_thread_is_at_work():
    done = run("ahead.update(frames[1])")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["done"]


def test_update_while_the_interpreter_ends():
    done = run(
        """
import atexit
@atexit.register
def at_the_end():
    for frame in list(frames) * 2:
        assert ahead.update(frame) == plain.update(frame)
    print("same")
"""
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["done", "same"]
