"""Rows of a benchmark: one operation of ours against PyTorch's ways to do the same, in turns, checked.

A row is a dictionary that JSON can hold.  What fails is a row or a peer with the error's text in
"failed": the others go on.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gpu.costs import Cost, floor_us
from gpu.device import Device, Launch

#: Relative errors beyond which a result is another function's, by arithmetic; far above rounding.
LIMITS = {"fp32": 1e-4, "tf32": 5e-3, "bf16": 3e-2, "fp16": 5e-3, "int8": 5e-2}

#: Untimed rounds before the timed ones.
WARM_UP = 3

#: Of a row that was not begun.
NO_TIME = "no time left"


@dataclass
class Subject:
    """One way to do it, ready to run."""

    launch: Launch
    """Does it ``Case.calls`` times."""
    result: Callable[[], np.ndarray] | None = None
    """What it computes, in the form of ``Case.want``."""
    keep: Any = None
    """What must live as long, and nothing else here holds."""


@dataclass
class Case:
    """A row to be measured."""

    name: str
    ours: Callable[[], Subject]
    """Prepares it."""
    peers: Mapping[str, Callable[[], Subject]] = field(default_factory=dict)
    costs: Sequence[Cost] = ()
    want: Callable[[], np.ndarray] | None = None
    """The right result, float64."""
    limit: float = LIMITS["fp32"]
    """Of the relative error."""
    calls: int = 1
    """Done by one launch."""
    on_host: bool = False
    """Timed by the host's clock, from call to return; else by events, launches of many calls."""
    rounds: int = 30
    asked_us: float | None = None
    asked_ratio: float | None = None
    note: str = ""


def measure(device: Device, case: Case, ceilings: Mapping[str, float]) -> dict[str, Any]:
    """Prepares, checks and times a case."""
    row: dict[str, Any] = {"name": case.name, "timed": "host" if case.on_host else "device"}
    if case.note:
        row["note"] = case.note
    want = None
    try:
        want = None if case.want is None else case.want()
    except Exception as error:
        row["unchecked"] = _text(error)
    subjects: dict[str, Subject] = {}
    outcomes: dict[str, dict[str, Any]] = {}
    for name, prepare in {"ours": case.ours, **case.peers}.items():
        outcomes[name] = {}
        try:
            subject = prepare()
            subject.launch()
            device.wait_all()
            if want is not None and subject.result is not None:
                off = relative_error(subject.result(), want)
                outcomes[name]["error"] = off
                if not off <= case.limit:
                    outcomes[name]["failed"] = f"relative error {off:.3g}, over {case.limit:.3g}"
                    if name != "ours":  # another function's time says nothing
                        continue
            subjects[name] = subject
        except Exception as error:
            outcomes[name]["failed"] = _text(error)
    times = take_turns(device, case, subjects, outcomes)
    for name, values in times.items():
        outcomes[name].update(summary(values))
    row.update(outcomes.pop("ours"))
    if case.costs:
        row["bytes"] = sum(cost.bytes for cost in case.costs)
        row["flops"] = sum(cost.flops for cost in case.costs)
        row["floor_us"] = floor_us(case.costs, ceilings)
    row["peers"] = outcomes
    row["asked_us"], row["asked_ratio"] = case.asked_us, case.asked_ratio
    return compare(row)


def take_turns(
    device: Device,
    case: Case,
    subjects: Mapping[str, Subject],
    outcomes: Mapping[str, dict[str, Any]],
) -> dict[str, list[float]]:
    """Microseconds a call; each round begins with the next subject.  One that raises drops out."""
    clock = device.host_us if case.on_host else device.device_us
    times: dict[str, list[float]] = {name: [] for name in subjects}
    left = list(subjects)
    for index in range(-WARM_UP, case.rounds):
        order = left[index % len(left) :] + left[: index % len(left)] if left else []
        for name in order:
            try:
                value = clock(subjects[name].launch) / case.calls
            except Exception as error:
                outcomes[name]["failed"] = _text(error)
                left.remove(name)
                del times[name]
                continue
            if index >= 0:
                times[name].append(value)
    return times


def compare(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its ratios: to the floor, and to the fastest peer that did the same."""
    ours = row.get("us")
    timed = {name: peer["us"] for name, peer in row["peers"].items() if "us" in peer}
    if timed:
        row["best_peer"] = min(timed, key=lambda name: timed[name])
        row["best_peer_us"] = timed[row["best_peer"]]
    if ours:
        if row.get("floor_us"):
            row["over_floor"] = ours / row["floor_us"]
        if timed:
            row["ratio"] = row["best_peer_us"] / ours
    return row


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median and spread."""
    ordered = sorted(values)
    return {
        "us": statistics.median(ordered),
        "us_p10": ordered[len(ordered) // 10],
        "us_p90": ordered[len(ordered) * 9 // 10],
        "us_min": ordered[0],
        "samples": len(ordered),
    }


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    """||got - want|| / ||want||; NaN for arrays of different shapes."""
    if got.shape != want.shape:
        return float("nan")
    exact = want.astype(np.float64)
    return float(np.linalg.norm(got - exact) / max(np.linalg.norm(exact), 1e-300))


class Rows:
    """Where rows go as they are done: a file of JSON lines, so that what was measured stays.

    Args:
        path: the file.
        section: what the rows belong to.
        seconds: after which no further case is begun.
    """

    def __init__(self, path: Path, section: str, seconds: float) -> None:
        self._file, self._section = path, section
        self._end = time.monotonic() + seconds

    def run(self, device: Device, case: Case, ceilings: Mapping[str, float]) -> None:
        """Measures a case, or says that there was no time."""
        start = time.monotonic()
        if start > self._end:
            self.add({"name": case.name, "failed": NO_TIME, "peers": {}})
            return
        row = measure(device, case, ceilings)
        row["seconds"] = round(time.monotonic() - start, 2)
        self.add(row)
        device.release()

    def end(self) -> None:
        """Says that there are no more: whatever becomes of the process, nothing is lost."""
        done_file(self._file, self._section).touch()

    def guarded(self, name: str, function: Callable[[], None]) -> None:
        """Calls ``function``; what it raises is a row of that name."""
        try:
            function()
        except Exception as error:
            self.add({"name": name, "failed": _text(error), "peers": {}})

    def add(self, row: dict[str, Any]) -> None:
        row = {"section": self._section, **row}
        with open(self._file, "a", encoding="utf-8") as file:
            print(json.dumps(row), file=file)
        print(f"{self._section}: {line(row)}", file=sys.stderr, flush=True)


def done_file(rows: Path, section: str) -> Path:
    """What is there when a section has written all its rows."""
    return rows.with_name(f"{section}.done")


def line(row: Mapping[str, Any]) -> str:
    """A row in a few words."""
    if "us" not in row:
        return f"{row['name']}: {row.get('failed', 'not measured')}"
    parts = [f"{row['name']}: {row['us']:.2f} us"]
    if row.get("over_floor"):
        parts.append(f"{row['over_floor']:.2f} x floor")
    if row.get("ratio"):
        parts.append(f"{row['best_peer']} {row['ratio']:.2f} x ours")
    if "failed" in row:
        parts.append(row["failed"])
    parts += [f"({name}: {p['failed']})" for name, p in row["peers"].items() if "failed" in p]
    return ", ".join(parts)


def _text(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:200]
