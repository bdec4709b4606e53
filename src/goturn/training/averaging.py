"""Averages of the weights over the last iterations, which track better than any single iteration's.

A learning rate that still teaches something makes the weights wander about a good place; their mean is
nearer to it (Polyak and Juditsky's averaging).  Old weights count exponentially less, so that the mean
follows where training goes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

#: Iterations between two weights that are averaged; those in between differ little from them.
EVERY = 10

#: Elements averaged at a time: no temporary array as large as a large weight.
_BLOCK = 1 << 18


class Averages:
    """Exponential averages of the parameters that learn.

    Weights of ``EVERY * k`` iterations ago count ``decay ** (EVERY * k)`` times those of now, and all
    together 1: the first ones are not favoured.

    Args:
        decay: how much less weights count for each iteration since, in [0, 1).
        values: float32, to go on from, by name of the parameter.  They are changed.
    """

    def __init__(self, decay: float, values: Mapping[str, np.ndarray] | None = None) -> None:
        self._decay = decay
        self.values = dict(values or {})
        """float32, by parameter; empty before the first ``EVERY`` iterations are done."""

    @staticmethod
    def due(iteration: int) -> bool:
        """Whether the weights after so many iterations are averaged."""
        return iteration % EVERY == 0

    def add(self, iteration: int, parameters: Mapping[str, np.ndarray]) -> None:
        """Takes in the weights after ``iteration`` iterations, where that is :meth:`due`.

        Args:
            iteration: counted from the run's start.
            parameters: those that learn, float32, by name.
        """
        count = iteration // EVERY
        kept = self._decay**EVERY
        part = np.float32((1 - kept) / (1 - kept**count)) if count > 1 else np.float32(1)
        for name, value in parameters.items():
            if count <= 1 or name not in self.values:
                self.values[name] = np.array(value, np.float32, order="C")
                continue
            mean, new = self.values[name].reshape(-1), value.reshape(-1)
            for start in range(0, mean.size, _BLOCK):
                block = mean[start : start + _BLOCK]
                block += part * (new[start : start + _BLOCK] - block)
