"""The operations on the CPU: compiled code where there is any, NumPy for the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from goturn.architecture import LRN, Conv, TowerLayer
from goturn.box import SearchWindow
from goturn.ops.devices import REBUILD
from goturn.ops.reference import ReferenceOps
from goturn.ops.resample import window_table

try:
    from goturn import _cpu
except ImportError as error:
    raise RuntimeError(
        f"goturn's CPU module cannot be imported ({error}); {REBUILD}, or use device='reference'"
    ) from error


class CpuOps(ReferenceOps):
    """:class:`goturn.ops.interface.Ops` on the CPU; see there for shapes and formulas."""

    name = "cpu"

    def tower(
        self, layers: Sequence[TowerLayer], side: int, parameters: Mapping[str, np.ndarray]
    ) -> Callable[[np.ndarray], np.ndarray] | None:
        described = []
        for layer in layers:
            entry: dict[str, Any] = asdict(layer)
            if isinstance(layer, Conv):
                entry |= {kind: parameters[f"{layer.name}/{kind}"] for kind in ("weight", "bias")}
                entry["kind"] = "conv"
            else:
                entry["kind"] = "lrn" if isinstance(layer, LRN) else "max_pool"
            described.append(entry)
        return _cpu.Tower(described, side)

    def linear(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, relu: bool = False
    ) -> np.ndarray:
        return _cpu.linear(x, weight, bias, relu=relu)

    def crop_resize(
        self,
        frame: np.ndarray,
        windows: Sequence[SearchWindow],
        *,
        size: int,
        mean: tuple[float, float, float],
        colour_order: str = "BGR",
    ) -> np.ndarray:
        return _cpu.crop_resize(
            frame, window_table(windows), size=size, mean=mean, colour_order=colour_order
        )
