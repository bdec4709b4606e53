"""Where a training run went wrong: the first layer whose numbers are no numbers any more."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from goturn.network import Network
from goturn.training.step import Batch

#: A mean error per coordinate, in units of 0..10 over the search window, beyond which training has
#: diverged: a hundred search windows away.
MOST_ERROR = 1000.0


class DivergedError(RuntimeError):
    """Training came to numbers that mean nothing; one sentence says where."""


def has_diverged(loss: float, examples: int, kind: str) -> bool:
    """Whether ``loss``, summed over ``examples``, is beyond what any learning gives."""
    most = MOST_ERROR if kind == "l1" else MOST_ERROR**2 / 2
    return not math.isfinite(loss) or loss > most * 4 * examples


def diagnose(network: Network, batch: Batch, learn: str = "all") -> str:
    """A clause that names the first layer that is not finite, or else the largest.

    Args:
        network: that trains.
        batch: of the iteration.
        learn: what of the network does, where features in place of crops are what comes before that.
    """
    largest, where = 0.0, "nowhere"
    for name, array in _numbers(network, batch, learn):
        most = float(np.abs(network.ops.to_numpy(array)).max())
        if not math.isfinite(most):
            return f"the first numbers that are not finite are in {name}"
        if most > largest:
            largest, where = most, name
    return f"the largest numbers, {largest:.1e}, are in {where}"


def _numbers(network: Network, batch: Batch, learn: str) -> Iterator[tuple[str, Any]]:
    """Input, parameters, and every layer's output, in order."""
    for name, given in (("targets", batch.targets), ("searches", batch.searches)):
        yield f"the batch's {name}", given
    for name, parameter in network.parameters.items():
        yield name, parameter
    with np.errstate(all="ignore"):
        how = learn if learn != "fc" else "all"  # all of a tower's outputs, where there are crops
        forward = network.forward(batch.targets, batch.searches, owners=batch.owners, learn=how)
    for tower, outputs in forward.towers.items():
        layers = network.architecture.tower[-(len(outputs) - 1) :]
        for layer, output in zip(layers, outputs[1:], strict=True):
            yield f"the output of {layer.name} ({tower})", output
    for linear, output in zip(network.architecture.head, forward.head[1:], strict=True):
        yield f"the output of {linear.name}", output
