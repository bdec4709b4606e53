"""How a tracker keeps its time beside others: a busy process on one of its cores; a second tracker.

python benchmarks/civil.py --engines-python PATH --output benchmarks/results/NAME.json

Each peer takes its turns twice, alone and beside a process that never sleeps; the ratio of the medians
is the figure.  Then two trackers, with one thread each, on two cores: one after the other, and in two
threads of one process, which is to take half as long.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import command
from command import add_options, run
from goturn.architecture import goturn
from harness import Peer, Worker, measure, percentile, start, take_turn
from machine import confined
from track import ENGINES, make_peers

PEERS = ("cpu", "cpu-int8", "onnxruntime", "torch")


@contextmanager
def busy_process() -> Iterator[None]:
    """A process that never sleeps, on the cores of this one."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure_both(
    peers: Sequence[Peer],
    *,
    threads: int,
    starts: int,
    rounds: int,
    steps: int,
    probe: Callable[[int], dict[str, Any]],
    report: Callable[[str], None],
) -> dict[str, Any]:
    """As :func:`harness.measure`, of the rows that are to be compared with themselves."""
    single = [peer for peer in peers if peer.entry != "TwoTrackers"]
    pairs = [peer for peer in peers if peer.entry == "TwoTrackers"]
    rows = []
    with confined(threads), ExitStack() as stack:
        workers = [stack.enter_context(Worker(peer, threads)) for peer in single]
        for worker, peer in zip(workers, single, strict=True):
            start(worker, peer)
        turns: list[dict[str, list[float]]] = [{"alone": [], "beside": []} for _ in single]
        for index in range(rounds):
            report(f"{threads} thread(s): round {index + 1} of {rounds}")
            for offset in range(len(single)):
                which = (index + offset) % len(single)
                turns[which]["alone"] += take_turn(workers[which], steps)["ms"]
                with busy_process():
                    turns[which]["beside"] += take_turn(workers[which], steps)["ms"]
        ends = [worker.ask("close") for worker in workers]
    for peer, taken, end in zip(single, turns, ends, strict=True):
        alone, beside = (statistics.median(taken[key]) for key in ("alone", "beside"))
        rows.append(
            {
                "peer": peer.name,
                "alone_ms": alone,
                "beside_ms": beside,
                "beside_p90_ms": percentile(taken["beside"], 90),
                "times_alone": beside / alone,
                "versions": end["versions"],
                "steps_ms": taken,
            }
        )
    both = measure(
        pairs, threads=threads, starts=1, rounds=rounds, steps=steps, probe=probe, report=report
    )
    return {**both, "beside_a_busy_process": rows}


def table(runs: Sequence[Mapping[str, Any]], step: str) -> str:
    """Two tables: beside a busy process, and two trackers."""
    lines = [
        f"| threads | peer | median ms a {step}, alone | beside a busy process | p90 | times alone |",
        "|--:|:--|--:|--:|--:|--:|",
    ]
    for one in runs:
        for row in one["beside_a_busy_process"]:
            lines.append(
                f"| {one['threads']} | {row['peer']} | {row['alone_ms']:.1f} | {row['beside_ms']:.1f} "
                f"| {row['beside_p90_ms']:.1f} | {row['times_alone']:.2f} |"
            )
    lines += ["", "| two trackers | median ms | times the first |", "|:--|--:|--:|"]
    for one in runs:
        for row in one["rows"]:
            lines.append(f"| {row['peer']} | {row['median_ms']:.1f} | {row['ratio']:.2f} |")
    return "\n".join(lines)


def rows(names: Sequence[str], engines: str | None, folder: Path) -> list[Peer]:
    """The peers that run alone and beside, then the two trackers."""
    chosen = [name for name in names if engines is not None or name not in ENGINES]
    peers = make_peers(chosen, (4096, 4096, 4096), "", engines or "", folder)
    ours = next(peer for peer in peers if peer.name == "goturn cpu int8")
    for together, name in ((False, "one after the other"), (True, "in two threads")):
        peers.append(
            replace(
                ours,
                name=f"goturn cpu int8, {name}",
                entry="TwoTrackers",
                options={**ours.options, "together": together},
                environment={"GOTURN_NUM_THREADS": "1"},
            )
        )
    return peers


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--engines-python", metavar="PATH", help="interpreter with onnxruntime, onnx and torch"
    )
    add_options(parser, threads=(2,), rounds=8, steps=15)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    return run(
        "civil",
        arguments,
        options,
        lambda folder: rows(PEERS, options.engines_python, folder),
        {"parameters": goturn().parameter_count},
        step="frame",
        measuring=measure_both,
        table=table,
    )


if __name__ == "__main__":
    command.main(main)
