"""Runs a backend's operations for :mod:`checks` and compares what they return.

Every op is run twice and must give the same bits, leave its arguments alone, and return float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from goturn.ops import Ops


@dataclass(frozen=True)
class Columns:
    """Columns start..stop of a matrix, handed to a backend as a view with longer rows."""

    matrix: np.ndarray
    start: int
    stop: int

    def view(self, matrix: Any) -> Any:
        return matrix[:, self.start : self.stop]


@dataclass(frozen=True)
class Candidate:
    """The backend under test, run with its side conditions checked."""

    ops: Ops
    title: str

    def run(self, op: str, *arguments: Any, **parameters: Any) -> Any:
        """What ``op`` returns, as NumPy arrays; a tuple where it returns a tuple."""
        first = self._run_once(op, arguments, parameters)
        second = self._run_once(op, arguments, parameters)
        for one, other in zip(_as_tuple(first), _as_tuple(second), strict=True):
            same = one is other is None or np.array_equal(one, other, equal_nan=True)
            assert same, f"{self.title}: {op} gave other bits when run again"
        return first

    def _run_once(self, op: str, arguments: tuple[Any, ...], parameters: dict[str, Any]) -> Any:
        hosts = [item.matrix if isinstance(item, Columns) else item for item in arguments]
        devices = [None if host is None else self.ops.from_numpy(host.copy()) for host in hosts]
        views = [
            item.view(device) if isinstance(item, Columns) else device
            for item, device in zip(arguments, devices, strict=True)
        ]
        result = getattr(self.ops, op)(*views, **parameters)
        for host, device in zip(hosts, devices, strict=True):
            unchanged = host is None or np.array_equal(self.ops.to_numpy(device), host)
            assert unchanged, f"{self.title}: {op} wrote into an argument"
        outputs = tuple(self._fetch(op, output) for output in _as_tuple(result))
        return outputs if isinstance(result, tuple) else outputs[0]

    def _fetch(self, op: str, output: Any) -> Any:
        if output is None or isinstance(output, float):
            return output
        array = self.ops.to_numpy(output)
        dtype = np.uint8 if op == "dropout_mask" else np.float32
        assert array.dtype == dtype, f"{self.title}: {op} returned {array.dtype}"
        return array.copy()

    def compare(self, what: str, got: Any, want: Any, bound: Any = 0.0) -> None:
        """Fails where ``got`` is further than ``bound`` from ``want``; all three of one shape."""
        got64, want64 = np.asarray(got, np.float64), np.asarray(want, np.float64)
        assert got64.shape == want64.shape, (
            f"{self.title}: {what} has shape {got64.shape}, expected {want64.shape}"
        )
        bounds = np.broadcast_to(bound, want64.shape)
        excess = np.abs(got64 - want64) - bounds
        wrong = ~(excess <= 0)  # true for NaN too
        if wrong.any():
            worst = np.unravel_index(np.argmax(np.where(wrong, excess, -np.inf)), wrong.shape)
            raise AssertionError(
                f"{self.title}: {what}: {wrong.sum()} of {wrong.size} values are wrong; at "
                f"{tuple(int(i) for i in worst)} got {got64[worst]:.9g}, expected "
                f"{want64[worst]:.9g} within {bounds[worst]:.3g}"
            )


def _as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)
