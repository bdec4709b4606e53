"""One iteration of training: forward, loss, backward, and Caffe's momentum update of every parameter.

A step holds the solver's state beside the network.  Devices with a faster way of their own offer it in
the same words (:meth:`goturn.ops.interface.Ops.training_step`); :class:`PlainStep` is any device's.

The loss is a sum over the batch, as in the authors' network: the paper's learning rates belong to that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from goturn.network import Network
from goturn.ops import Array

LOSSES = ("l1", "l2")


@dataclass(frozen=True)
class Rates:
    """What the solver does to one parameter.

    Caffe's: v = momentum v + rate (gradient + decay w); w -= v.  With ``squares``, Adam's, see
    :meth:`goturn.ops.interface.Ops.adam_update`.
    """

    rate: float
    momentum: float = 0.9
    decay: float = 0.0
    squares: float = 0.0
    """How much of Adam's mean of squared gradients stays at each iteration; 0 for Caffe's solver."""
    iteration: int = 1
    """Which this is, from 1; for Adam."""


@dataclass(frozen=True)
class Batch:
    """The examples of one iteration.

    Several examples share a target: the authors draw eleven search windows for each pair of frames.
    A target's crop goes through its tower once, whatever their number.

    In place of crops there may be features, (m, F) or (n, F), that the frozen part of the towers made of
    them before (:meth:`goturn.network.Network.encode_frozen`): see ``features`` of :func:`training_step`.
    """

    targets: Array
    """(m, 3, S, S) float32, mean subtracted: the targets' crops."""
    searches: Array
    """(n, 3, S, S) float32: the search windows' crops."""
    owners: np.ndarray
    """(n,) whole numbers in 0..m-1: which target each search window belongs to."""
    labels: np.ndarray
    """(n, 4) float32: the true box in each search window, x1, y1, x2, y2, 0..10 over the window."""


class TrainingStep(Protocol):
    """What a trainer asks for, once an iteration."""

    values: int
    """Numbers of an example that the loss is a sum over."""

    def run(self, batch: Batch, rates: Mapping[str, Rates], *, dropout_key: int | None) -> float:
        """One iteration; the network's parameters change in place.

        Args:
            batch: the examples.
            rates: of every parameter that learns, by its name ("fc6/weight").
            dropout_key: chooses the dropout masks, 0 <= key < 2^58; None for no dropout.

        Returns:
            The loss before the update, summed over the batch.  Where it is not finite, parameters may be
            spoilt too, or have been left as they were.
        """

    def velocities(self) -> dict[str, np.ndarray]:
        """The solver's momentum, by parameter; copies."""

    def set_velocities(self, velocities: Mapping[str, np.ndarray]) -> None:
        """Goes on from such; those not named are zero."""

    def squares(self) -> dict[str, np.ndarray]:
        """Adam's mean of squared gradients, by parameter; copies.  None of them where it is not used."""

    def set_squares(self, squares: Mapping[str, np.ndarray]) -> None:
        """Goes on from such; those not named are zero."""


class Updates:
    """The solver's state, and its updates, for steps of the network's own operations."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._velocities: dict[str, Array] = {}
        self._squares: dict[str, Array] = {}

    def _update(self, name: str, gradient: Array, rates: Rates) -> None:
        ops, weight = self._network.ops, self._network.parameters[name]
        velocity = self._velocity(name)
        if rates.squares:
            ops.adam_update(
                weight, gradient, velocity, self._state(self._squares, name),
                squares=rates.squares, iteration=rates.iteration, **_keywords(rates),
            )  # fmt: skip
        else:
            ops.sgd_update(weight, gradient, velocity, **_keywords(rates))

    def velocities(self) -> dict[str, np.ndarray]:
        return self._copies(self._velocities)

    def set_velocities(self, velocities: Mapping[str, np.ndarray]) -> None:
        self._velocities = self._own(velocities)

    def squares(self) -> dict[str, np.ndarray]:
        return self._copies(self._squares)

    def set_squares(self, squares: Mapping[str, np.ndarray]) -> None:
        self._squares = self._own(squares)

    def _copies(self, state: Mapping[str, Array]) -> dict[str, np.ndarray]:
        ops = self._network.ops
        return {name: np.array(ops.to_numpy(value)) for name, value in state.items()}

    def _own(self, state: Mapping[str, np.ndarray]) -> dict[str, Array]:
        ops = self._network.ops
        return {name: ops.from_numpy(np.array(value)) for name, value in state.items()}

    def _velocity(self, name: str) -> Array:
        return self._state(self._velocities, name)

    def _state(self, state: dict[str, Array], name: str) -> Array:
        """A parameter's own in ``state``, zeros at first."""
        if name not in state:
            zeros = np.zeros(self._network.parameters[name].shape, self._network.dtype)
            state[name] = self._network.ops.from_numpy(zeros)
        return state[name]


class PlainStep(Updates):
    """A step of the network's own forward and backward, one operation after the other.

    Args:
        network: with fp32 weights; its parameters are changed.
        loss: "l1" (the paper's) or "l2".
        learn: which layers do: "fc", "all", or a convolution and everything behind it.

    Raises:
        ValueError: a loss that there is not, or a network that cannot be trained, or not so.
    """

    values = 4

    def __init__(self, network: Network, *, loss: str = "l1", learn: str = "fc") -> None:
        check_step(network, loss, learn)
        super().__init__(network)
        self._learn = learn
        self._loss = getattr(network.ops, f"{loss}_loss")

    def run(self, batch: Batch, rates: Mapping[str, Rates], *, dropout_key: int | None) -> float:
        network, ops = self._network, self._network.ops
        check_batch(batch)
        forward = network.forward(
            batch.targets,
            batch.searches,
            owners=batch.owners,
            dropout_key=dropout_key,
            learn=self._learn,
        )
        labels = ops.from_numpy(np.asarray(batch.labels, network.dtype))
        loss, d_units = self._loss(forward.units, labels)
        if not math.isfinite(loss):
            return float(loss)
        updated = set()

        def update(name: str, dy: Array, x: Array) -> None:
            """A linear weight's update, without a gradient as large as it."""
            if name in rates:
                weight = network.parameters[name]
                how = _keywords(rates[name])
                ops.linear_sgd_update(dy, x, weight, self._velocity(name), **how)
            updated.add(name)

        needs_gradients = any(each.squares for each in rates.values())  # Adam squares them
        gradients = network.backward(
            forward,
            d_units,
            towers=self._learn != "fc",
            update=None if needs_gradients else update,
        )
        for name, gradient in gradients.items():
            if name in rates and name not in updated:
                self._update(name, gradient, rates[name])
        return float(loss)


def training_step(
    network: Network,
    *,
    loss: str = "l1",
    learn: str = "fc",
    features: bool = False,
    adam: bool = False,
) -> TrainingStep:
    """The device's own step for ``network`` where it has one, else the plain one.

    With ``features`` batches may hold features in place of crops, and with ``adam`` rates may be Adam's:
    devices' own steps take neither, nor do they train a part of the towers.
    Make a new one after other weights were put into the network: a step may keep what it made of
    convolutions that do not learn.
    """
    check_step(network, loss, learn)
    own: TrainingStep | None = None
    if not (features or adam) and learn in ("fc", "all"):
        own = network.ops.training_step(
            network.architecture, network.parameters, loss=loss, towers=learn == "all"
        )
    return PlainStep(network, loss=loss, learn=learn) if own is None else own


def check_step(network: Network, loss: str, learn: str) -> None:
    """That ``network`` can be trained with ``loss``, and its layers as ``learn`` says."""
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}; got {loss!r}")
    if network.precision != "fp32":
        raise ValueError(
            f"a network with {network.precision} weights cannot be trained; train one with "
            "precision='fp32' and convert its weights afterwards"
        )
    network.architecture.frozen_layers(learn)  # which refuses what is no layer


def check_batch(batch: Batch, *, features: bool = True) -> None:
    """That the arrays of ``batch`` belong together; without ``features``, that they are crops.

    Raises:
        ValueError: they do not.
    """
    for name, crops in (("targets", batch.targets), ("searches", batch.searches)):
        shape = tuple(crops.shape)
        if features and len(shape) == 2:
            continue
        if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            or_features = " or features (n, F)" if features else ""
            raise ValueError(f"{name} must be (n, 3, S, S){or_features}; got shape {shape}")
    owners, labels = np.asarray(batch.owners), np.asarray(batch.labels)
    count, targets = len(batch.searches), len(batch.targets)
    if owners.shape != (count,) or not np.issubdtype(owners.dtype, np.integer):
        raise ValueError(
            f"owners must be {count} whole numbers, one for each search window; got "
            f"{owners.dtype} of shape {owners.shape}"
        )
    if count == 0 or owners.min() < 0 or owners.max() >= targets:
        raise ValueError(f"owners must name targets, 0 to {targets - 1}, and be at least one")
    if labels.shape != (count, 4) or not np.isfinite(labels).all():
        raise ValueError(f"labels must be ({count}, 4) finite numbers; got shape {labels.shape}")


def _keywords(rates: Rates) -> dict[str, Any]:
    return {"rate": rates.rate, "momentum": rates.momentum, "decay": rates.decay}
