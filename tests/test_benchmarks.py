"""The harness of the benchmarks, with stub peers: turns, statistics, results; no time is asserted."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from goturn.architecture import goturn
from networks import tiny

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import civil
import command
import crop
import everything
import harness
import machine
import peers as tracker_peers
import track
import train_step
import worker

STUB = '''
import os
import sys

class Stub:
    """Writes what happens to it into a log that all stubs share."""

    def __init__(self, name, log, threads, fail=""):
        self.name, self.log, self.threads, self.fail = name, log, threads, fail
        print("noise that a library prints")
        self.note("open")

    def note(self, event):
        with open(self.log, "a") as file:
            print(self.name, event, file=file)
        if event == self.fail:
            raise ValueError(f"no {event} today")

    def load(self):
        seen = [os.environ.get(v, "-") for v in ("OMP_NUM_THREADS", "OPENBLAS_CORETYPE", "EXTRA")]
        self.note(" ".join(["load", str(self.threads), *seen, str(len(os.sched_getaffinity(0)))]))

    def step(self):
        self.note("step")

    def check(self):
        self.note("check")
        if self.fail == "die":
            os._exit(3)
'''

WORK = machine.Work(bytes=1_000_000, flops=2_000_000)
PROBE = {
    "read_bytes_per_s": [1e9, 4e9, 2e9],
    "flops_per_s": [1e9, 1e9, 9e9],
    "clock_hz": [1e8, 1e8, 1e8],
    "huge_page_bytes": 256,
    "buffer_bytes": 512,
}


@pytest.fixture
def stubs(tmp_path):
    """Makes stub peers of given names; ``stubs.log()`` is what they did."""
    file, log = tmp_path / "stub.py", tmp_path / "log"
    file.write_text(STUB)

    def make(name: str, **options: str) -> harness.Peer:
        return harness.Peer(
            name,
            file,
            "Stub",
            WORK,
            options={"name": name, "log": str(log), **options},
            files=(file,),
            environment={"EXTRA": "yes"} if name == "b" else {},
        )

    make.log = lambda: log.read_text().splitlines()
    return make


def run(peers, **settings):
    probes = []

    def probe(threads):
        probes.append(threads)
        return PROBE

    settings = {"threads": 1, "starts": 1, "rounds": 3, "steps": 2, **settings}
    result = harness.measure(peers, probe=probe, **settings)
    assert probes == [settings["threads"]] * settings["rounds"]
    return result


def test_peers_take_turns_and_each_round_begins_with_the_next(stubs):
    run([stubs("a"), stubs("b")], starts=2)
    loads = [line for line in stubs.log() if "load" in line]
    assert [line[0] for line in loads] == list("abab")
    after_loading = [line.split() for line in stubs.log()[4 * 4 :]]
    turn = ["step", "step", "step", "check"]  # one warm-up and two timed steps
    expected = [[name, event] for name in "ab" + "ba" + "ab" for event in turn]
    assert after_loading == expected


def test_peers_get_their_threads_and_a_clean_environment(stubs, monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    before = os.sched_getaffinity(0)
    run([stubs("a"), stubs("b")])
    loads = [line for line in stubs.log() if "load" in line]
    assert loads == ["a load 1 1 - - 1", "b load 1 1 - yes 1"]
    assert os.sched_getaffinity(0) == before


def test_more_threads_than_cores_are_refused(stubs):
    with pytest.raises(ValueError, match=r"^100000 cores asked for, \d+ are there; ask for fewer$"):
        run([stubs("a")], threads=100_000)


def test_what_a_row_holds(stubs):
    result = run([stubs("a"), stubs("b")], starts=2)
    assert [row["peer"] for row in result["rows"]] == ["a", "b"]
    for row in result["rows"]:
        assert row["steps"] == 6
        assert [len(turn) for turn in row["turns_ms"]] == [2, 2, 2]
        times = sorted(time for turn in row["turns_ms"] for time in turn)
        assert row["median_ms"] == pytest.approx((times[2] + times[3]) / 2)
        assert (row["min_ms"], row["p90_ms"]) == (times[0], times[5])
        assert len(row["loads_s"]) == len(row["first_steps_ms"]) == 2
        assert row["load_s"] == pytest.approx(sum(row["loads_s"]) / 2)
        assert 1 < row["rss_start_mib"] <= row["rss_peak_mib"]
        assert row["versions"]["python"].startswith("3.")
        # 1 MB at the median 2 GB/s, and 2 MFLOP at the median 1 GFLOP/s
        assert row["floor_ms"] == pytest.approx(0.5 + 2.0)
        assert row["over_floor"] == pytest.approx(row["median_ms"] / 2.5)
    first, second = result["rows"]
    assert first["ratio"] == 1
    assert second["ratio"] == second["median_ms"] / first["median_ms"]
    assert result["machine"]["flops_per_cycle"] == pytest.approx(10)
    assert result["machine"]["huge_page_share"] == 0.5
    assert result["machine"]["read_bytes_per_s"] == {"median": 2e9, "max": 4e9}


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("open", r"^bad: ValueError: no open today$"),
        ("step", r"^bad: ValueError: no step today$"),
        ("check", r"^bad: ValueError: no check today$"),
        ("die", r"^bad: the process ended with 3 at 'turn'$"),
    ],
)
def test_a_failing_peer_ends_the_run_with_its_words(stubs, fail, message):
    with pytest.raises(harness.PeerError, match=message):
        run([stubs("good"), stubs("bad", fail=fail)])


def test_a_missing_interpreter_is_named(stubs):
    peer = harness.Peer("lost", Path("x.py"), "X", WORK, interpreter="/no/such/python")
    with pytest.raises(harness.PeerError, match=r"^lost: cannot start /no/such/python: "):
        run([peer])


def test_percentile_is_the_nearest_rank():
    assert harness.percentile([5, 1, 4, 2, 3], 90) == 5
    assert harness.percentile(list(range(1, 11)), 90) == 9
    assert harness.percentile([7], 1) == 7


def test_the_table_has_a_row_a_peer_and_thread_count(stubs):
    result = run([stubs("a"), stubs("b")])
    head, rule, *rows = harness.markdown([result, {**result, "threads": 2}], "frame").splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (head, rule, *rows)]
    assert {len(row) for row in cells} == {14}
    assert [row[:2] for row in cells[2:]] == [["1", "a"], ["1", "b"], ["2", "a"], ["2", "b"]]
    assert cells[0][5] == "x a"
    assert cells[2][5:7] == ["1.00", "2.5"]


# -- track.py -------------------------------------------------------------------------------------


def test_work_is_counted_from_the_architecture():
    """Multiply-adds of the paper's network, by hand: two towers, then fc6..fc8."""
    tower = 105_415_200 + 223_948_800 + 149_520_384 + 112_140_288 + 74_760_192
    head = 18432 * 4096 + 2 * 4096**2 + 4 * 4096
    assert track.work(goturn()) == machine.Work(bytes=4 * 111_414_660, flops=2 * (2 * tower + head))


def test_the_benchmarked_tracker_stays_where_it_is(tmp_path, monkeypatch):
    """Otherwise its crops, and so its times, would depend on where it wandered."""
    monkeypatch.setattr(track, "goturn", lambda widths: tiny())
    (peer,) = track.make_peers(["cpu"], (16,), "", "", tmp_path)
    made = tracker_peers.Goturn(**peer.options, threads=1)
    made.load()
    for _ in range(10):
        made.step()
        made.check()
    assert made._box == pytest.approx(track.BOX, abs=0.05)
    made._box = (0.0, 0.0, 80.0, 80.0)
    with pytest.raises(RuntimeError, match="a lost tracker crops other windows"):
        made.check()


def test_one_command_gives_a_result_file_and_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(track, "goturn", lambda widths: tiny())
    monkeypatch.setattr(command, "Probe", lambda folder: lambda threads: PROBE)
    output = tmp_path / "results" / "try.json"
    arguments = [
        "--peers",
        "cpu",
        "--threads",
        "1",
        "--starts",
        "1",
        "--rounds",
        "2",
        "--steps",
        "1",
    ]
    assert track.main([*arguments, "--output", str(output)]) == 0

    result = json.loads(output.read_text())
    assert (
        result["command"] == f"python benchmarks/track.py {' '.join(arguments)} --output try.json"
    )
    assert {"commit", "dirty", "started", "ended", "machine", "frame", "parameters"} <= set(result)
    assert result["machine"]["cores"] >= 1
    assert len(result["started"]["load_average"]) == 3
    ((row,),) = [run["rows"] for run in result["runs"]]
    assert row["peer"] == "goturn cpu"
    assert set(row["versions"]) >= {"python", "goturn", "numpy", "blas"}
    assert row["versions"]["numpy"] == np.__version__
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("| 1 | goturn cpu |")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--peers", "cpu,gpu"], "unknown peers gpu; there are reference, cpu, cpu-bf16"),
        (["--peers", "opencv"], "give at least one peer"),
        (["--rounds", "0"], "give at least one peer, one start, one round and one step"),
        (["--threads", "0"], "whole numbers of at least 1"),
        (["--widths", "many"], "--widths"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_info:
        track.parse(arguments)
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def small(monkeypatch, *arguments: str) -> list[str]:
    """Arguments for a short run without the probe's minute."""
    monkeypatch.setattr(command, "Probe", lambda folder: lambda threads: PROBE)
    return [*arguments, "--threads", "1", "--starts", "1", "--rounds", "1", "--steps", "2"]


def test_crops_against_opencv(monkeypatch, capsys):
    assert crop.main(small(monkeypatch)) == 0
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert [line.split(" | ")[1] for line in lines] == [
        "goturn cpu",
        "cv2.copyMakeBorder + resize",
        "cv2 resize + planes",
    ]


def test_a_training_step(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_step, "goturn", lambda widths: tiny())
    output = tmp_path / "try.json"
    assert train_step.main(small(monkeypatch, "--batch", "3", "--output", str(output))) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("| 1 | goturn cpu |")
    assert json.loads(output.read_text())["batch"] == 3


def test_the_work_of_a_training_step():
    """All weights forward and for their gradients, all but fc6's for dx; 16 bytes a weight to update."""
    architecture = goturn()
    fcs = [(18432, 4096), (4096, 4096), (4096, 4096), (4096, 4)]
    sizes = [a * b for a, b in fcs]
    macs = track.work(architecture).flops // 2 - sum(sizes) + 3 * sum(sizes) - sizes[0]
    work = train_step.work(architecture, 50)
    assert work.flops == 2 * 50 * macs
    convs = (
        architecture.parameter_count
        - sum(sizes)
        - sum(a for name, (a, *rest) in architecture.parameter_shapes().items() if not rest)
    )
    assert work.bytes == 4 * (convs + sum(sizes) + sum(sizes[1:]) + 4 * sum(sizes))


def test_beside_a_busy_process(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(track, "goturn", lambda widths: tiny())
    output = tmp_path / "try.json"
    assert civil.main(small(monkeypatch, "--output", str(output))) == 0
    (run,) = json.loads(output.read_text())["runs"]
    assert [row["peer"] for row in run["beside_a_busy_process"]] == [
        "goturn cpu",
        "goturn cpu int8",
    ]
    assert all(row["times_alone"] > 0 for row in run["beside_a_busy_process"])
    names = [row["peer"] for row in run["rows"]]
    assert names == [f"goturn cpu int8, {how}" for how in ("one after the other", "in two threads")]
    assert "| goturn cpu int8, in two threads |" in capsys.readouterr().out


def test_many_objects_are_one_row(tmp_path, monkeypatch):
    monkeypatch.setattr(track, "goturn", lambda widths: tiny())
    (peer,) = track.make_peers(["cpu-16"], (16,), "", "", tmp_path)
    assert peer.work.bytes == track.work(tiny()).bytes
    assert peer.work.flops == 16 * track.work(tiny()).flops
    commands = worker.Commands(str(peer.file), peer.entry, {**peer.options, "threads": 1})
    commands.open()
    commands.load([])
    assert len(commands.turn(warm_up=0, steps=1)["ms"]) == 1
    assert len(commands._peer._tracker) == 16


def test_one_command_names_every_other():
    given = ["--opencv4-python", "a", "--engines-python", "b", "--output", "c", "--name", "d"]
    lines = everything.commands(everything.parse(given))
    modules = {"track.py": track, "crop.py": crop, "train_step.py": train_step, "civil.py": civil}
    assert {line[0] for line in lines} == set(modules)
    for name, *arguments in lines:
        assert modules[name].parse(arguments).output.parent.name == "c"


def test_reduced_weights_are_counted_as_the_bytes_they_take():
    reduced = 18432 * 4096 + 2 * 4096**2
    whole = track.work(goturn())
    assert track.work(goturn(), "bf16") == machine.Work(whole.bytes - 2 * reduced, whole.flops)
    assert track.work(goturn(), "int8") == machine.Work(whole.bytes - 3 * reduced, whole.flops)


def test_a_row_with_ahead_waits_for_each_frame(tmp_path, monkeypatch):
    """The time between frames, in which it works, is not counted."""
    monkeypatch.setattr(track, "goturn", lambda widths: tiny())
    plain, ahead = track.make_peers(["cpu-int8", "cpu-int8-ahead"], (16,), "", "", tmp_path)
    assert plain.options["tracker"] == {"device": "cpu", "precision": "int8"}
    assert "pause_ms" not in plain.options
    commands = worker.Commands(str(ahead.file), ahead.entry, {**ahead.options, "threads": 1})
    commands.open()
    commands.load([])
    turn = commands.turn(warm_up=0, steps=2)
    assert turn["wall_s"] >= 2 * track.PAUSE_MS / 1e3
    assert sum(turn["ms"]) < 2 * track.PAUSE_MS
