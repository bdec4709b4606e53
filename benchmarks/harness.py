"""Times peers against each other: one process each, in turns, in one run.

Nothing here knows what a peer does.  A peer is a class (see ``peers.py``) with

* ``__init__(**options)``: import libraries, read inputs; not timed;
* ``load()``: from files to ready for the first step;
* ``step()``: the operation that is measured;
* ``rest()``, where there is one: what happens between two steps, not timed;
* ``check()``: raise if the peer no longer does the work in question; called after every turn.

The machine's noise (other processes, clock, page placement) drifts over seconds.  Turns of a few steps
round and round let it fall on all peers alike, so ratios of medians hold where times do not.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import Work, busy_seconds, confined, floor_ms, rates

HERE = Path(__file__).resolve().parent

#: Read by the libraries that peers use; each gets the number of threads.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

#: Would make OpenBLAS take kernels for another processor than the one it runs on.
DROPPED_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@dataclass(frozen=True)
class Peer:
    """One row: what to run, under which interpreter, and what its step cannot avoid."""

    name: str
    file: Path
    """Python file that has the class."""
    entry: str
    """Name of the class."""
    work: Work
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the class, as JSON can hold them; ``threads`` is added."""
    files: tuple[Path, ...] = ()
    """What ``load`` reads; brought into the page cache before."""
    interpreter: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables."""


class PeerError(RuntimeError):
    """A peer could not do its work; the message says which and why."""


class Worker:
    """The process of one peer; a context manager that ends it."""

    def __init__(self, peer: Peer, threads: int) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in DROPPED_VARIABLES}
        environment.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
        environment.update(peer.environment)
        options = json.dumps({**peer.options, "threads": threads})
        command = (peer.interpreter, str(HERE / "worker.py"), str(peer.file), peer.entry, options)
        self.name = peer.name
        try:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        except OSError as error:
            raise PeerError(f"{peer.name}: cannot start {peer.interpreter}: {error}") from error

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer to one command.

        Raises:
            PeerError: the peer raised, or its process has ended.
        """
        request = json.dumps({"do": do, **arguments})
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError(f"{self.name}: the process ended with {self._process.wait()} at {do!r}")
        answer: dict[str, Any] = json.loads(line)
        if not answer.pop("ok"):
            raise PeerError(f"{self.name}: {answer['error']}")
        return answer


#: What a worker answered to its first three commands: "opened", "loaded", "first" (step).
Start = dict[str, dict[str, Any]]


def start(worker: Worker, peer: Peer) -> Start:
    """Opens and loads the peer and lets it take its first step."""
    return {
        "opened": worker.ask("open"),
        "loaded": worker.ask("load", files=[str(file) for file in peer.files]),
        "first": worker.ask("turn", warm_up=0, steps=1),
    }


def take_turn(worker: Worker, steps: int) -> dict[str, Any]:
    """A turn's answer, and in "others" how many cores other processes kept busy meanwhile."""
    before = busy_seconds()
    turn = worker.ask("turn", warm_up=1, steps=steps)
    used = busy_seconds() - before - turn["cpu_s"]
    return {**turn, "others": max(0.0, used / turn["wall_s"])}


def measure(
    peers: Sequence[Peer],
    *,
    threads: int,
    starts: int,
    rounds: int,
    steps: int,
    probe: Callable[[int], dict[str, Any]],
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Runs the peers in turns, on as many cores as threads, and summarises.

    Each peer is loaded and takes its first step ``starts`` times, each time in a new process; the last
    one stays.  Every round then measures the machine and gives each peer a turn of one warm-up and
    ``steps`` timed steps, and begins with the next peer, so that none always follows the same one.

    Returns:
        ``threads``, ``machine`` (what :func:`machine.rates` makes of the probes), ``rows`` (one a
        peer, in their order) and ``probes``, the raw figures.

    Raises:
        PeerError: from the first peer that fails.
        ValueError: more threads than cores.
    """
    with confined(threads), ExitStack() as stack:
        begun: list[list[Start]] = [[] for _ in peers]
        workers: list[Worker] = []
        for attempt in range(starts):
            for peer, past in zip(peers, begun, strict=True):
                report(f"{threads} thread(s): start {attempt + 1} of {starts}, {peer.name}")
                with ExitStack() as passing:
                    last = attempt == starts - 1
                    worker = (stack if last else passing).enter_context(Worker(peer, threads))
                    past.append(start(worker, peer))
                    if last:
                        workers.append(worker)

        turns: list[list[dict[str, Any]]] = [[] for _ in peers]
        probes = []
        for index in range(rounds):
            report(f"{threads} thread(s): round {index + 1} of {rounds}")
            probes.append(probe(threads))
            for offset in range(len(peers)):
                which = (index + offset) % len(peers)
                turns[which].append(take_turn(workers[which], steps))
        ends = [worker.ask("close") for worker in workers]

    measured = rates(probes, threads)
    rows = [
        summarise(peer, past, turn, end, measured)
        for peer, past, turn, end in zip(peers, begun, turns, ends, strict=True)
    ]
    for row in rows:
        row["ratio"] = row["median_ms"] / rows[0]["median_ms"]
    return {"threads": threads, "machine": measured, "rows": rows, "probes": probes}


def summarise(
    peer: Peer,
    starts: Sequence[Start],
    turns: Sequence[Mapping[str, Any]],
    end: Mapping[str, Any],
    measured: dict[str, Any],
) -> dict[str, Any]:
    """A row: its figures, then what they were made of."""
    times = [value for turn in turns for value in turn["ms"]]
    median, floor = statistics.median(times), floor_ms(peer.work, measured)
    loads = [start["loaded"]["wall_s"] for start in starts]
    firsts = [start["first"]["ms"][0] for start in starts]
    kept = starts[-1]
    return {
        "peer": peer.name,
        "median_ms": median,
        "min_ms": min(times),
        "p90_ms": percentile(times, 90),
        "steps": len(times),
        "floor_ms": floor,
        "over_floor": median / floor,
        "load_s": statistics.median(loads),
        "load_cores_used": kept["loaded"]["cpu_s"] / kept["loaded"]["wall_s"],
        "first_step_ms": statistics.median(firsts),
        "rss_start_mib": kept["opened"]["rss_mib"],
        "rss_loaded_mib": kept["loaded"]["rss_mib"],
        "rss_first_step_mib": kept["first"]["rss_mib"],
        "rss_peak_mib": end["peak_mib"],
        "cores_used": statistics.median(turn["cpu_s"] / turn["wall_s"] for turn in turns),
        "cores_used_by_others": statistics.median(turn["others"] for turn in turns),
        "cores_used_by_others_max": max(turn["others"] for turn in turns),
        "work": {"bytes": peer.work.bytes, "flops": peer.work.flops},
        "versions": end["versions"],
        "interpreter": Path(peer.interpreter).name,
        "loads_s": loads,
        "first_steps_ms": firsts,
        "turns_ms": [turn["ms"] for turn in turns],
    }


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest of ``values`` that ``percent`` of them do not exceed (nearest rank)."""
    rank = -(-len(values) * percent // 100)
    return sorted(values)[max(rank, 1) - 1]


def digits(value: float) -> str:
    """Milliseconds for a table: three digits of short times."""
    return f"{value:.3f}" if value < 1 else f"{value:.1f}"


def markdown(runs: Sequence[Mapping[str, Any]], step: str) -> str:
    """The results as a table for a document; ``step`` says what was timed."""
    first = runs[0]["rows"][0]["peer"]
    lines = [
        f"| threads | peer | median ms | min | p90 | x {first} | floor ms | x floor | load s "
        f"| first {step} ms | MiB loaded | MiB after first | MiB peak | {step}s |",
        "|--:|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for run in runs:
        for row in run["rows"]:
            lines.append(
                f"| {run['threads']} | {row['peer']} | {digits(row['median_ms'])} "
                f"| {digits(row['min_ms'])} | {digits(row['p90_ms'])} | {row['ratio']:.2f} "
                f"| {digits(row['floor_ms'])} "
                f"| {row['over_floor']:.2f} | {row['load_s']:.2f} | {row['first_step_ms']:.0f} "
                f"| {row['rss_loaded_mib']:.0f} | {row['rss_first_step_mib']:.0f} "
                f"| {row['rss_peak_mib']:.0f} | {row['steps']} |"
            )
    return "\n".join(lines)


def machine_lines(runs: Sequence[Mapping[str, Any]]) -> str:
    """A line a thread count: what the floors were computed from, and how quiet the machine was."""
    lines = []
    for run in runs:
        measured = run["machine"]
        others = max(row["cores_used_by_others_max"] for row in run["rows"])
        lines.append(
            f"{run['threads']} thread(s): reads {measured['read_bytes_per_s']['median'] / 1e9:.1f} "
            f"GB/s, fp32 FMA {measured['flops_per_s']['median'] / 1e9:.0f} GFLOP/s "
            f"({measured['flops_per_cycle']:.1f} FLOP a cycle and core of "
            f"{measured['flops_per_cycle_in_theory']} in theory); "
            f"other processes used at most {others:.2f} cores during a turn."
        )
    return "\n".join(lines)


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Writes a result as JSON that reads and compares well: a line a figure, or a list of them."""
    text = json.dumps(result, indent=1)
    lists = re.sub(r"\[[^][{}\"]*\]", lambda found: " ".join(found.group().split()), text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(lists + "\n", encoding="utf-8")
