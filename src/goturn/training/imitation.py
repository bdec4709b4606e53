"""Narrower towers: convolutions of fewer channels that learn to give what wider ones give.

Channel pruning, then knowledge distillation: the channels that matter least are left out, and what
remains learns, from any crops and without labels, to make of them what the whole tower makes (Hinton et
al., *Distilling the Knowledge in a Neural Network*, 2015; Romero et al., *FitNets*, 2015).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from goturn.architecture import Architecture, Conv
from goturn.network import Network
from goturn.ops import Array
from goturn.training.step import Batch, Rates, Updates, check_batch
from goturn.weights import random_weights, with_conv_layers


def as_wide(architecture: Architecture, conv: Mapping[str, np.ndarray]) -> Architecture:
    """``architecture``, an :attr:`Architecture.trunk`, with convolutions as wide as those in ``conv``.

    Raises:
        ValueError: one is missing there, or a width that will not do.
    """
    channels = []
    for layer in architecture.convs:
        if f"{layer.name}/weight" not in conv:
            raise ValueError(f"there is no {layer.name} to learn from")
        channels.append(len(conv[f"{layer.name}/weight"]))
    return with_channels(architecture, channels)


def with_channels(architecture: Architecture, channels: Sequence[int]) -> Architecture:
    """``architecture`` with so many channels in its first convolutions."""
    left = iter(channels)
    tower = tuple(
        replace(layer, channels=next(left, layer.channels)) if isinstance(layer, Conv) else layer
        for layer in architecture.tower
    )
    return replace(architecture, tower=tower)


def narrowed(architecture: Architecture, conv: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of the convolutions in ``conv``, the channels that matter most, as many as ``architecture``, an
    :attr:`Architecture.trunk`, has.

    A channel counts for as much as the size of its weights and of those that read it.

    Raises:
        ValueError: ``conv`` are not convolutions of such a tower, or there are more channels than in it,
            or the last convolution has other ones.
    """
    wide = as_wide(architecture, conv).parameter_shapes()
    for name in architecture.parameter_shapes():
        if name.rpartition("/")[0] not in {layer.name for layer in architecture.convs}:
            continue
        if name not in conv or conv[name].shape != wide[name]:
            given = (
                f"has shape {conv[name].shape}, not {wide[name]}" if name in conv else "is missing"
            )
            raise ValueError(f"{name} to learn from {given}")
    parameters: dict[str, np.ndarray] = {}
    convs = architecture.convs
    kept: np.ndarray | None = None  # the channels of the layer before
    for index, layer in enumerate(convs):
        weight, bias = (conv[f"{layer.name}/{kind}"] for kind in ("weight", "bias"))
        if kept is not None:
            weight = _reading(weight, kept, layer.groups)
        if layer.channels > len(weight):
            raise ValueError(
                f"{layer.name} has {len(weight)} channels to learn from, and cannot have "
                f"{layer.channels}"
            )
        if index == len(convs) - 1:
            if layer.channels != len(weight):
                raise ValueError(
                    f"{layer.name} is the last convolution, and must have as many channels as what it "
                    f"learns from, {len(weight)}; got {layer.channels}"
                )
            kept = np.arange(len(weight))
        else:
            reader = convs[index + 1]
            size = np.sqrt((weight.astype(np.float64) ** 2).sum((1, 2, 3)))
            size *= _read_size(conv[f"{reader.name}/weight"], reader.groups)
            kept = _largest(size, layer.channels, math.lcm(layer.groups, reader.groups))
        parameters[f"{layer.name}/weight"] = np.ascontiguousarray(weight[kept], np.float32)
        parameters[f"{layer.name}/bias"] = np.ascontiguousarray(bias[kept], np.float32)
    return parameters


def _largest(size: np.ndarray, count: int, parts: int) -> np.ndarray:
    """Indices of the ``count`` largest, in order; as many of each of ``parts`` stretches."""
    if count % parts or len(size) % parts:
        raise ValueError(f"{count} of {len(size)} channels do not divide into {parts} groups")
    stretches = size.reshape(parts, -1)
    chosen = np.sort(np.argsort(-stretches, axis=1, kind="stable")[:, : count // parts], axis=1)
    starts = np.arange(parts)[:, np.newaxis] * stretches.shape[1]
    indices: np.ndarray = (chosen + starts).ravel()
    return indices


def _read_size(weight: np.ndarray, groups: int) -> np.ndarray:
    """Of each input channel, the size of the weights (out, in / groups, k, k) that read it."""
    of_groups = weight.astype(np.float64).reshape(groups, -1, *weight.shape[1:])
    size: np.ndarray = np.sqrt((of_groups**2).sum((1, 3, 4))).ravel()
    return size


def _reading(weight: np.ndarray, kept: np.ndarray, groups: int) -> np.ndarray:
    """Weights (out, in / groups, k, k) for those input channels alone."""
    inputs = weight.shape[1]
    of_groups = weight.reshape(groups, -1, *weight.shape[1:])
    parts = kept.reshape(groups, -1) - inputs * np.arange(groups)[:, np.newaxis]
    chosen = [of_group[:, part] for of_group, part in zip(of_groups, parts, strict=True)]
    return np.concatenate(chosen)


class ImitationStep(Updates):
    """One iteration of a tower that learns to give another's features; see
    :class:`goturn.training.step.TrainingStep`.

    The loss is the squared error over the squares of what should come out, of the last convolution and of
    what comes behind it, the mean of the two; summed over the examples as other losses are.  Labels do
    not count, and neither do fc layers or a convolution of few channels before them
    (:data:`goturn.architecture.REDUCING_NAME`).

    Args:
        network: with fp32 weights; its convolutions are changed.
        conv: the convolutions that it learns from, by parameter, as
            :func:`goturn.weights.read_conv_layers` gives them.
        learn: "all", or the first convolution that learns.

    Raises:
        ValueError: what learns is no convolution, or gives other features.
    """

    values = 1

    def __init__(self, network: Network, conv: Mapping[str, np.ndarray], *, learn: str) -> None:
        super().__init__(network)
        own = network.architecture.trunk
        if learn == "fc":
            raise ValueError("imitate is for convolutions: learn must be all, or the first of them")
        own.frozen_layers(learn)  # which refuses what is no layer of the trunk
        wide = as_wide(own, conv)
        if own.feature_shape != wide.feature_shape:
            raise ValueError(
                f"the tower gives features {own.feature_shape}, not {wide.feature_shape} as what it "
                "learns from"
            )
        head = (replace(wide.head[-1]),)  # no fc layers to speak of
        blank = random_weights(replace(wide, head=head, match=None), 0)
        self._teacher = Network(with_conv_layers(blank, conv), network.ops)
        self._learn = learn
        self._trunk = own
        #: Layers up to the last convolution.
        self._last = own.tower.index(own.convs[-1]) + 1

    def run(self, batch: Batch, rates: Mapping[str, Rates], *, dropout_key: int | None) -> float:
        check_batch(batch, features=False)
        ops = self._network.ops
        crops = ops.concatenate([batch.targets, batch.searches])
        layers = self._trunk.tower
        outputs = self._network.tower_forward(crops, "target", self._learn, len(layers))
        wanted = [self._teacher.encode_part(crops, "target", self._last)]
        x = wanted[0].reshape(len(crops), *self._trunk.shape_after(self._last))
        for layer in layers[self._last :]:
            x = self._teacher.tower_layer(layer, x, "target")
            wanted.append(x.reshape(len(x), -1))
        count, total = len(batch.labels), 0.0
        # The features, and the last convolution, of which a pool lets only the largest values learn.
        places = {-1: wanted[-1], self._last - 1 - len(layers): wanted[0]}
        gradients_of: dict[int, Array] = {}
        for place, want in places.items():
            given = outputs[place].reshape(len(crops), -1)
            loss, d = ops.l2_loss(ops.contiguous(given), want)
            squares, _ = ops.l2_loss(ops.scale(want, 0.0), want)
            if squares == 0:
                raise ValueError("the tower to learn from gives nothing but zeros")
            if not math.isfinite(squares):
                raise ValueError("the tower to learn from gives what is not finite; is it damaged?")
            total += float(loss) / float(squares) / len(places)
            gradients_of[place] = ops.scale(d, count / (float(squares) * len(places)))
        if not math.isfinite(total):
            return total
        gradients = self._network.tower_backward(outputs, gradients_of, "target", len(layers))
        for name, gradient in gradients.items():
            if name in rates:
                self._update(name, gradient, rates[name])
        return total * count
