"""Worker processes: runs come out the same with any number of them, and one that dies takes one video."""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import pytest

from datasets import encoded, lines, write
from goturn.data import folder as folder_layout
from goturn.evaluation.experiments import Experiment
from goturn.evaluation.pool import THREADS, Pool, _Process, processors, worker_environment
from goturn.evaluation.running import Failure, check_trackers, read_runs, run_trackers
from goturn.evaluation.scoring import tracker_notes
from goturn.evaluation.store import Store
from goturn.evaluation.trackers import parse_trackers
from goturn.evaluation.worker import Build, Built, Failed, Track

#: A video of each, by the shade of all its frames.
SHADES = {"dark": 50, "middle": 100, "bright": 200}
LENGTH = 8


class Bar:
    """Progress that is looked at afterwards."""

    def __init__(self) -> None:
        self.total: float | None = 0
        self.done = 0.0

    def update(self, n: float = 1) -> None:
        self.done += n


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for name, shade in SHADES.items():
        for number in range(1, LENGTH + 1):
            write(root / name / "img" / f"{number:05d}.png", encoded(64, 48, shade, ".png"))
        write(root / name / "groundtruth.txt", lines([(n, 5, 10, 8) for n in range(LENGTH)]))
    return folder_layout.load(root).videos


#: At most three times, that is.
ONCE = (Experiment("one-pass", 3),)


def tracked(folder, videos, trackers, *, jobs=1, experiments=ONCE):
    """What comes of these trackers, and the bar."""
    specs, bar = parse_trackers(trackers), Bar()
    store = Store(folder, {each.name: each.settings for each in experiments})
    with Pool(jobs) as pool:
        fingerprints = check_trackers(pool, specs)
        assert fingerprints is not None
        outcome = run_trackers(
            pool,
            store,
            videos,
            specs,
            fingerprints=fingerprints,
            experiments=experiments,
            progress=bar,
        )
    return outcome, bar


def bits(outcome) -> dict:
    return {
        key: [(run.trajectory.boxes.tobytes(), run.trajectory.codes.tobytes()) for run in runs]
        for key, runs in outcome.runs.items()
    }


def test_results_of_other_weights_than_those_it_began_with_are_not_kept(tmp_path, videos):
    """A file can be replaced while others are at work: by a training, say."""
    specs = parse_trackers(["scripted_trackers:Drift"])
    store = Store(tmp_path / "runs", {})
    with Pool(1) as pool:
        fingerprints = check_trackers(pool, specs)
        fingerprints["Drift"]["source"] = "what it was before"
        outcome = run_trackers(
            pool,
            store,
            videos[:1],
            specs,
            fingerprints=fingerprints,
            experiments=ONCE,
            progress=Bar(),
        )
    assert (outcome.made, outcome.runs) == (0, {})
    assert "not those that it had" in outcome.failures[0].reason
    assert not list(store.folder.rglob("*.json"))


def test_a_tracker_may_write_to_a_file_that_an_option_names(tmp_path, videos):
    """Its content is part of what results are of; it changes under way, and nothing fails for that."""
    outcome, _ = tracked(
        tmp_path / "runs",
        videos,
        [f"T=scripted_trackers:Drift,log={tmp_path / 'log'}", "identity"],
        jobs=2,
    )
    assert (outcome.failures, len(outcome.runs)) == ([], 6)


def test_kept_results_of_two_makers_are_not_scored_as_one(tmp_path, videos):
    """An evaluation with new weights that was stopped leaves results of the old ones beside its own."""
    tracked(tmp_path, videos, ["T=scripted_trackers:fixed,x=1"])
    store = Store(tmp_path, {})
    assert len(read_runs(store, videos, ["T"], ONCE).runs) == 3
    tracked(tmp_path, videos[1:], ["T=scripted_trackers:fixed,x=2"])
    with pytest.raises(
        ValueError, match=r"of T in .* do not belong together: they differ in spec; run"
    ):
        read_runs(store, videos, ["T"], ONCE)
    assert len(read_runs(store, videos[1:], ["T"], ONCE).runs) == 2


def test_modules_of_the_current_folder_are_not_taken_for_pythons(tmp_path, videos, monkeypatch):
    (tmp_path / "queue.py").write_text("raise RuntimeError('this is not the one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in sys.path if entry])
    with Pool(1) as pool:
        assert check_trackers(pool, parse_trackers(["identity"])) is not None


def test_jobs_change_nothing_and_what_is_done_is_not_repeated(tmp_path, videos):
    trackers = ["scripted_trackers:Drift", "identity", "scripted_trackers:Random"]
    experiments = (
        Experiment("one-pass", 3),
        Experiment("baseline", 4, deterministic=3, overlap="exact"),
        Experiment("region_noise", 2, deterministic=3, overlap="exact"),
    )
    alone, bar = tracked(tmp_path / "1", videos, trackers, experiments=experiments)
    assert (alone.kept, alone.failures, alone.complete) == (0, [], True)
    assert bar.done == bar.total == alone.made * LENGTH
    counts = {key[:2]: len(runs) for key, runs in alone.runs.items()}
    assert counts == {
        ("one-pass", "Drift"): 3,
        ("one-pass", "identity"): 1,
        ("one-pass", "Random"): 3,
        ("baseline", "Drift"): 3,  # whose first three are equal
        ("baseline", "identity"): 3,
        ("baseline", "Random"): 4,
        ("region_noise", "Drift"): 2,
        ("region_noise", "identity"): 2,
        ("region_noise", "Random"): 2,
    }
    assert alone.made == 3 * sum(counts.values())
    several, _ = tracked(tmp_path / "2", videos, trackers[:2], jobs=2, experiments=experiments)
    same = {key: value for key, value in bits(alone).items() if key[1] != "Random"}
    assert bits(several) == same
    assert {run.jobs for runs in several.runs.values() for run in runs} == {2}
    one, two = (
        sorted(
            p.relative_to(tmp_path / n)
            for p in (tmp_path / n).rglob("*.json")
            if "Random" not in p.parts
        )
        for n in "12"
    )
    assert one == two

    # Again: nothing is done, of the one that is never the same neither.
    again, bar = tracked(tmp_path / "1", videos, trackers, experiments=experiments)
    assert (again.made, again.kept, bar.total) == (0, alone.made, 0)
    assert bits(again) == bits(alone)
    # A damaged one is.
    (tmp_path / "1" / "baseline" / "Drift" / "dark_002.json").write_text("{")
    mended, _ = tracked(tmp_path / "1", videos, trackers, experiments=experiments)
    assert mended.made == 1
    assert bits(mended) == bits(alone)
    kept = read_runs(
        Store(tmp_path / "1", {each.name: each.settings for each in experiments}),
        videos,
        ["Drift", "nobody"],
        experiments,
    )
    assert bits(kept) == {key: value for key, value in bits(alone).items() if key[1] == "Drift"}
    assert len(kept.failures) == 9
    assert (
        str(kept.failures[0])
        == "nobody on bright: no result of one-pass is kept that fits the video"
    )


def test_a_tracker_that_ends_its_process_loses_one_video(tmp_path, videos):
    outcome, bar = tracked(
        tmp_path, videos, ["scripted_trackers:Crash", "scripted_trackers:Drift"], jobs=2
    )
    assert outcome.failures == [
        Failure("Crash", "dark", "its process was ended by signal 11 (SIGSEGV)")
    ]
    assert sorted(key[1:] for key in outcome.runs) == [
        ("Crash", "bright"),
        ("Crash", "middle"),
        *(("Drift", name) for name in sorted(SHADES)),
    ]
    assert bar.done == bar.total
    boxes = outcome.runs["one-pass", "Crash", "bright"][0].trajectory.boxes
    assert boxes[:, 0].tolist() == [2.0 * n for n in range(LENGTH)]


def test_a_tracker_that_raises_prints_and_draws(tmp_path, videos, capfd):
    outcome, _ = tracked(tmp_path, videos, ["scripted_trackers:Untidy"])
    (sentence,) = tracker_notes({key[1:]: runs for key, runs in outcome.runs.items()})
    assert sentence.startswith(
        "Untidy failed in 18 of the 72 frames of 9 runs, which count as frames without a box"
    )
    assert "frame 3: KeyError: 'lost'" in sentence
    run = outcome.runs["one-pass", "Untidy", "dark"][2]  # the frames were as they were before
    assert np.isnan(run.trajectory.boxes[:, 0]).tolist() == [n in (3, 6) for n in range(LENGTH)]
    said = capfd.readouterr()
    assert said.out == ""  # that is for the table
    assert "not to be found among the results" in said.err


def test_a_frame_that_cannot_be_read(tmp_path, videos):
    frame = videos[0].frames[4]
    whole = frame.read_bytes()
    frame.write_bytes(whole[:50])
    try:
        outcome, _ = tracked(tmp_path, videos, ["identity"])
    finally:
        frame.write_bytes(whole)
    (failure,) = outcome.failures
    assert failure.video == videos[0].name
    assert "00005.png: not a whole image" in failure.reason
    assert len(outcome.runs) == 2
    again, _ = tracked(tmp_path, videos, ["identity"])
    assert (again.kept, again.made, again.failures) == (2, 1, [])


def test_a_tracker_that_does_not_come_back_is_ended(tmp_path, videos):
    specs, experiment = parse_trackers(["scripted_trackers:Drift,sleep=600"]), ONCE[0]
    with Pool(1) as pool:
        fingerprints = check_trackers(pool, specs)
        pool._patience = 0.3  # not before: how long a process takes to start is not known
        outcome = run_trackers(
            pool,
            Store(tmp_path, {}),
            videos[:1],
            specs,
            fingerprints=fingerprints,
            experiments=[experiment],
            progress=Bar(),
        )
    assert [failure.reason for failure in outcome.failures] == [
        "no frame was done in 0.3 seconds; its process was ended"
    ]


def test_trackers_are_checked_before_all(videos):
    specs = parse_trackers(["identity", "scripted_trackers:NoUpdate"])
    with Pool(1) as pool, pytest.raises(ValueError, match="NoUpdate has no method 'update'"):
        check_trackers(pool, specs)


class _Checks:
    """A hundred questions, noting who answers."""

    def __init__(self) -> None:
        self.left, self.answers = 100, []

    def question(self):
        self.left -= 1
        return Build(parse_trackers(["identity"])[0]) if self.left >= 0 else None

    def take(self, answer):
        self.answers.append(answer)


def test_stopping_gives_up_what_is_in_hand():
    work = _Checks()
    with Pool(1) as pool:
        assert pool.do([work], stop=lambda: len(work.answers) >= 3) is False
        (process, _) = next(iter(pool._busy.values()))
    assert all(isinstance(answer, Built) for answer in work.answers)
    assert 3 <= len(work.answers) < 100
    assert process._process.returncode == -9  # at once, and waited for


def test_a_worker_that_died_between_two_questions():
    first, second = _Checks(), _Checks()
    first.left = 1
    with Pool(1) as pool:
        assert pool.do([first])
        (process,) = pool._idle
        process._process.kill()
        process._process.wait()
        assert pool.do([second])
    (lost,) = second.answers
    assert isinstance(lost, Failed)
    assert lost.reason == "its process was ended by signal 9 (SIGKILL)"


def test_workers_end_with_their_parent(tmp_path, videos):
    """In the middle of a run, too: nobody waits for it any more."""
    log = tmp_path / "log"
    (spec,) = parse_trackers([f"scripted_trackers:Drift,sleep=600,log={log}"])
    process = _Process(1)
    process.connection.send(Track(spec, videos[0], ONCE[0], 0))
    while not log.exists():
        time.sleep(0.01)
    process.connection.close()
    assert process._process.wait(10) == 0


def test_threads_are_shared(monkeypatch):
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    assert THREADS[0] not in worker_environment(1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert processors() == 8
    assert {worker_environment(3)[name] for name in THREADS} == {"2"}
    assert worker_environment(50)[THREADS[0]] == "1"
    monkeypatch.setenv(THREADS[0], "5")
    assert worker_environment(3)[THREADS[0]] == "5"


def test_none_is_no_number_of_jobs():
    with pytest.raises(ValueError, match="jobs must be a number from 1 on; got 0"):
        Pool(0)
