"""What the commands of this folder share: their options, and what becomes of a result."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import Peer, machine_lines, markdown, measure, write_result
from machine import FLAGS, Probe, commit, describe, now


def whole_numbers(text: str) -> tuple[int, ...]:
    """The numbers in ``text``, which separates them by commas."""
    numbers = tuple(int(part) for part in text.split(","))
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be whole numbers of at least 1")
    return numbers


def command_line(script: str, arguments: Sequence[str]) -> str:
    """The command as it can be given elsewhere: absolute paths by their last part alone."""
    return shlex.join(
        ["python", f"benchmarks/{script}"]
        + [Path(a).name if Path(a).is_absolute() else a for a in arguments]
    )


def add_options(
    parser: argparse.ArgumentParser, *, threads: tuple[int, ...], rounds: int, steps: int
) -> None:
    """How much is measured, and where the result goes."""
    parser.add_argument(
        "--threads", type=whole_numbers, default=threads, metavar="N,...", help="cores"
    )
    parser.add_argument("--rounds", type=int, default=rounds, metavar="N")
    parser.add_argument(
        "--starts", type=int, default=3, metavar="N", help="times each peer is loaded anew"
    )
    parser.add_argument("--steps", type=int, default=steps, metavar="N", help="timed steps a turn")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="where the result goes")


def run(
    name: str,
    arguments: Sequence[str],
    options: argparse.Namespace,
    make_peers: Callable[[Path], list[Peer]],
    facts: Mapping[str, Any],
    *,
    step: str,
    measuring: Callable[..., dict[str, Any]] = measure,
    table: Callable[[Sequence[Mapping[str, Any]], str], str] = markdown,
) -> int:
    """Measures and reports: benchmarks/``name``.py's whole work.

    Args:
        make_peers: the rows; files that they need go to the folder it is given.
        facts: what else the result should say.
        step: what a step is, for the table.
    """
    started = now()
    with tempfile.TemporaryDirectory() as folder:
        print("writing weights, compiling the probe", file=sys.stderr)
        peers = make_peers(Path(folder))
        probe = Probe(Path(folder))
        runs = [
            measuring(
                peers,
                threads=threads,
                starts=options.starts,
                rounds=options.rounds,
                steps=options.steps,
                probe=probe,
                report=lambda line: print(line, file=sys.stderr),
            )
            for threads in options.threads
        ]
    result = {
        "benchmark": name,
        "command": command_line(f"{name}.py", arguments),
        **commit(),
        "started": started,
        "ended": now(),
        "machine": describe(),
        "probe_flags": FLAGS,
        **facts,
        "runs": runs,
    }
    if options.output is not None:
        write_result(options.output, result)
        print(f"written: {options.output}", file=sys.stderr)
    print(machine_lines(runs), end="\n\n")
    print(table(runs, step))
    return 0


def main(run_command: Callable[[Sequence[str]], int]) -> None:
    """Runs a command with the process's arguments, and exits."""
    try:
        sys.exit(run_command(sys.argv[1:]))
    except (RuntimeError, ValueError) as failure:
        sys.exit(f"error: {failure}")
