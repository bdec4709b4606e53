"""Writes ``golden/training.json``, with PyTorch: ``python tests/write_golden_training.py``.

What is recorded, and what a test may make of it, is in ``test_training_golden``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from goturn.architecture import goturn
from test_training_torch import EPS, FLOOR, NEAR
from torch_goturn import CaffeSolver, TorchGoturn, TorchTraining
from training_case import (
    DECAY,
    STRONG_DECAY,
    UPDATES,
    digest,
    fixed_batch,
    fixed_weights,
    rates_at,
    summary,
)

GOLDEN = Path(__file__).parent / "golden" / "training.json"
BATCH_SEED = 1

#: How far every prediction must stay from its label, in units: where one passes it, L1's gradient turns
#: round, and what rounding does at other kinks would no longer stay small.
CLEAR = 1e-3

NORMS: tuple[Callable[[np.ndarray], float], ...] = (
    lambda x: float(np.linalg.norm(x)),
    lambda x: float(np.abs(x).max()),
)


class OtherSide(TorchGoturn):
    """The network going the other way at every kink to which rounding could bring it.

    How far its gradients are from the network's is what an implementation may be off for going its own
    way at some of them, right as it is.
    """

    def _relu(self, x: torch.Tensor, name: str, kept: torch.Tensor | None = None) -> torch.Tensor:
        near = x.detach().abs() < self._distance(x)
        # What passes though negative is made positive: pooling must see it.
        return x.abs() * ((x > 0) ^ near)

    def _pool(self, x: torch.Tensor, name: str) -> torch.Tensor:
        windows = (
            x.unfold(2, 3, 2).unfold(3, 3, 2).flatten(4)
        )  # whole windows: 227 pixels leave no rest
        first, second = windows.topk(2, dim=4).values.unbind(4)
        return torch.where(first - second < self._distance(x), second, first)

    def _distance(self, x: torch.Tensor) -> torch.Tensor:
        return NEAR * EPS * x.detach().square().mean().sqrt()


def record(
    widths: tuple[int, int, int], owners: tuple[int, ...], *, towers: bool, decay: float
) -> dict[str, Any]:
    architecture = goturn(widths)
    weights, batch = fixed_weights(architecture), fixed_batch(owners, BATCH_SEED)
    start = weights.parameters
    truth, plain, other = (
        TorchTraining(start, architecture.head, dtype, towers=towers, loss="l1")
        for dtype in (torch.float64, torch.float32, torch.float64)
    )
    other.network = OtherSide(start, torch.float64, towers=towers)
    other.solver = CaffeSolver(other.network.parameters)
    losses: list[float] = []
    loss_error = 0.0
    tensors: dict[str, dict[str, Any]] = {}
    for turn in range(UPDATES):
        loss, *others = (each.differentiate(batch, turn) for each in (truth, plain, other))
        size = np.abs(truth.units).sum() + np.abs(batch.labels).sum()
        error = sum(2 * abs(x - loss) for x in others) + FLOOR * EPS * size
        assert np.abs(truth.units - batch.labels).min() > CLEAR, "choose another BATCH_SEED"
        losses.append(loss)
        loss_error = max(loss_error, float(error))
        if turn == 0:
            found = [each.gradients() for each in (truth, plain, other)]
            tensors = {name: {"gradient": entry(*(x[name] for x in found))} for name in found[0]}
            del found  # as large as the networks
        rates = rates_at(turn, start, towers=towers, decay=decay)
        for each in (truth, plain, other):
            each.solver.update(rates)
    print(f"{widths}: losses {losses}, to {loss_error:.2g}")
    for name, kinds in tensors.items():
        was = start[name].astype(np.float64)
        ways = [x.parameters()[name] - was for x in (truth, plain, other)]
        kinds["way"] = entry(*ways, stored=was)
        if name.endswith("bias"):  # started from 1: rounding hides much of the way they went
            velocities = (x.velocities()[name] for x in (truth, plain, other))
            kinds["velocity"] = entry(*velocities)
        print(name, *(f"{kind} to {x['error'][0] / x['norm']:.1e}" for kind, x in kinds.items()))
    return {
        "widths": widths,
        "owners": owners,
        "towers": towers,
        "decay": decay,
        "batch_seed": BATCH_SEED,
        "digest": digest(weights, batch),
        "numpy": np.__version__,
        "losses": losses,
        "loss_error": loss_error,
        "tensors": tensors,
    }


def entry(
    truth: np.ndarray, plain: np.ndarray, other: np.ndarray, stored: np.ndarray | None = None
) -> dict[str, Any]:
    """What is recorded of a tensor, and what its error may be, as a whole and of an element."""
    # The largest of each eighth: those that are next to nothing would say nothing.
    parts = np.array_split(np.abs(truth.reshape(-1)), min(8, truth.size))
    starts = np.cumsum([0, *(part.size for part in parts[:-1])])
    at = [int(start + part.argmax()) for start, part in zip(starts, parts, strict=True)]
    error = []
    for norm in NORMS:
        allowed = 2 * norm(plain - truth) + 2 * norm(other - truth) + FLOOR * EPS * norm(truth)
        if stored is not None:
            allowed += EPS / 2 * norm(stored)
        error.append(rounded(allowed, 4))
    found = {key: rounded(value) for key, value in summary(truth, at).items()}
    return {"at": at, "error": error, **found}


def rounded(value: Any, digits: int = 9) -> Any:
    """Far finer than any bound: the file stays small."""
    if isinstance(value, list):
        return [rounded(x, digits) for x in value]
    return float(f"{value:.{digits}g}")


if __name__ == "__main__":
    golden = {
        "narrow": record((48, 80, 64), (0, 1, 0), towers=True, decay=STRONG_DECAY),
        "full": record((4096, 4096, 4096), (0, 0, 1, 0, 1), towers=False, decay=DECAY),
    }
    GOLDEN.parent.mkdir(exist_ok=True)
    text = json.dumps(golden, separators=(",", ":"))
    GOLDEN.write_text(text.replace('"gradient"', '\n"gradient"') + "\n")  # a line for each tensor
    print(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes")
