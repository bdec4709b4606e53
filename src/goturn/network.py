"""The network: parameters on a device, forward in four steps, and backward.

The steps are apart so that a tracker can run the target's half before the next frame arrives::

    features = network.encode_target(crops)         # conv1..pool5 of the previous frame's crops
    part = network.project_target(features)         # its half of fc6, bias included
    features = network.encode_search(crops)         # conv1..pool5 of the current frame's crops
    units = network.regress(part, features)         # fc6..fc8: (n, 4), 0..10 over the search window

Where fc6 also reads a match of the two, a target's part has its features behind its half of fc6, and the
match is computed with the search's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from goturn.architecture import LRN, Architecture, Conv, Linear, MaxPool, TowerLayer
from goturn.box import UNITS
from goturn.confidence import DEFAULT, Calibration
from goturn.ops import Array, Ops, get_ops
from goturn.ops.compressed import is_int8
from goturn.ops.interface import FULL_PRECISIONS, CompressedWeight, layer_key
from goturn.target_policy import PAPER, TargetPolicy
from goturn.weights import Weights

#: Crops that go through a tower at once; bounds the memory of large batches.
CHUNK = 16


@dataclass
class ForwardPass:
    """What :meth:`Network.forward` computed and :meth:`Network.backward` needs."""

    units: Array
    """The prediction, (n, 4), 0..10 over the search window."""
    towers: dict[str, list[Array]]
    """For "target" and "search": the input of the first layer that learns (the tower's, where all do) and
    the output of each layer from there on, in order; empty where the towers were frozen."""
    head: list[Array]
    """The first fc layer's input (n, :attr:`Architecture.fc_inputs`) and each fc layer's output, in
    order."""
    masks: dict[str, Array] = field(default_factory=dict)
    """The dropout mask of each fc layer that had one."""
    owners: np.ndarray | None = None
    """Which target each search window belongs to; None where they come in pairs."""


def has_int8(weights: Weights) -> bool:
    """Whether the weights of all fc layers but the last are int8 numbers: none would be rounded."""
    names = _reduced(weights.architecture)
    return bool(names) and all(is_int8(weights.parameters[name]) for name in names)


def _reduced(architecture: Architecture) -> list[str]:
    """The weights that a precision is of: the last layer's few stay, where rounding shows in boxes."""
    return [f"{layer.name}/weight" for layer in architecture.head[:-1]]


class Network:
    """GOTURN's two towers and fc layers, with their parameters on a device.

    Args:
        weights: architecture and parameters; not copied where the device is in host memory.
        device: see :func:`goturn.ops.get_ops`; or operations of one's own.
        precision: "fp32", or what else the device offers (``ops.precisions``): "bf16", "fp16" and
            "int8" are those of the weights of all fc layers but the last, which are nearly all of the
            memory that an update reads: converted copies, for inference alone.  What convolutions are
            computed in is the device's (README); "tf32" is that of products alone.  "auto" is "int8" on a
            CPU for fc weights that are int8 already, as in the file that ships, and else "fp32".
        dtype: np.float32, or np.float64 on the ``reference`` device (for tests of gradients).

    Raises:
        ValueError: an unknown device, precision or dtype.
        RuntimeError: a device that is not there.
    """

    def __init__(
        self,
        weights: Weights,
        device: str | Ops = "auto",
        *,
        precision: str = "fp32",
        dtype: type[np.floating] = np.float32,
    ) -> None:
        self.ops = _ops_of(device)
        if precision == "auto":
            precision = "int8" if self.ops.name == "cpu" and has_int8(weights) else "fp32"
        if precision not in self.ops.precisions:
            raise ValueError(
                f"precision must be auto or one of {', '.join(self.ops.precisions)} on "
                f"{self.ops.name}; got {precision!r}"
            )
        if dtype is not np.float32 and not (dtype is np.float64 and self.ops.name == "reference"):
            raise ValueError(f"{dtype} is not offered on {self.ops.name}; use np.float32")
        self.dtype = dtype
        self.precision = precision
        self.architecture: Architecture = weights.architecture
        self.calibration: Calibration = weights.calibration or DEFAULT
        self.target_policy: TargetPolicy = weights.target_policy or PAPER
        reduced = _reduced(weights.architecture)
        self.parameters: dict[str, Array | CompressedWeight] = {
            name: self.ops.from_numpy(value.astype(dtype, copy=False))
            if precision in FULL_PRECISIONS or name not in reduced
            else self.ops.compress(self.ops.from_numpy(value), precision)
            for name, value in weights.parameters.items()
        }
        # fc8's own units and the 0..10 that we speak differ in OpenCV's model only.
        self._to_units = UNITS / self.architecture.preprocessing.output_scale
        self._first, *self._rest = self.architecture.head
        self.compile()

    # -- inference, in four steps ----------------------------------------------------------------

    def encode_target(self, crops: Array) -> Array:
        """Target crops (n, 3, S, S), mean subtracted -> features (n, C*H*W) of the target tower."""
        return self._encode(crops, "target")

    def project_target(self, features: Array) -> Array:
        """Target features (n, C*H*W) -> what :meth:`regress` takes of them, (n, part_width): their half
        of the first fc layer, bias included; where there is a match, the features themselves behind it.
        """
        weight, bias = self._linear_parameters(self._first)
        half = self.ops.linear(features, _columns(weight, 0, self.architecture.features), bias)
        if self.architecture.match is None:
            return half
        return self.ops.concatenate([half, self.ops.contiguous(features)], axis=1)

    def encode_search(self, crops: Array) -> Array:
        """Search crops (n, 3, S, S), mean subtracted -> features (n, C*H*W) of the search tower."""
        return self._encode(crops, "search")

    def regress(self, target_part: Array, search_features: Array) -> Array:
        """What the two sides say -> boxes (n, 4): x1, y1, x2, y2, 0..10 over the search window.

        Args:
            target_part: (n, part_width), of :meth:`project_target`.
            search_features: (n, C*H*W).
        """
        weight, _ = self._linear_parameters(self._first)
        half, x = target_part, search_features
        if self.architecture.match is not None:
            width = self._first.features
            half = self.ops.contiguous(target_part[:, :width])
            matched = self._match(self.ops.contiguous(target_part[:, width:]), search_features)
            x = self.ops.concatenate([search_features, matched], axis=1)
        rest = _columns(weight, self.architecture.features, weight.shape[1])
        x = self.ops.linear(x, rest, half, relu=self._first.relu)
        for layer in self._rest:
            x = self.ops.linear(x, *self._linear_parameters(layer), relu=layer.relu)
        return self._scaled(x)

    def compile(self) -> None:
        """Prepares the towers' weights for inference; call it again after changing ``parameters``."""
        target = self._compiled("target")
        search = target if self.architecture.shared_towers else self._compiled("search")
        self._towers = {"target": target, "search": search}
        self._frozen: dict[tuple[str, int], Callable[[Array], Array] | None] = {}

    def _compiled(self, tower: str, layers: int | None = None) -> Callable[[Array], Array] | None:
        """A tower's first ``layers`` layers (all) as the device's one call, where it has that."""
        first = self.architecture.tower[:layers]
        parameters = {
            f"{layer.name}/{kind}": self.parameters[f"{self._conv_name(layer, tower)}/{kind}"]
            for layer in first
            if isinstance(layer, Conv)
            for kind in ("weight", "bias")
        }
        side = self.architecture.preprocessing.input_size
        return self.ops.tower(first, side, parameters, self.precision)

    def _encode(self, crops: Array, tower: str) -> Array:
        return self._through(crops, tower, self.architecture.tower, self._towers[tower])

    def _through(
        self,
        crops: Array,
        tower: str,
        layers: tuple[TowerLayer, ...],
        compiled: Callable[[Array], Array] | None,
    ) -> Array:
        self._check_crops(crops)
        if compiled is not None:
            return compiled(crops)
        features = []
        for start in range(0, len(crops), CHUNK):
            x = crops[start : start + CHUNK]
            for layer in layers:
                x = self.tower_layer(layer, x, tower)
            features.append(x.reshape(len(x), -1))
        return features[0] if len(features) == 1 else self.ops.concatenate(features)

    def activations(self, targets: Array, searches: Array) -> dict[str, Array]:
        """Every layer's output, for looking at: "conv1".. of the target tower, "conv1_p".. of the
        search tower, the match where there is one, then the fc layers; after the ReLU where there is
        one, fc8 as it is.
        """
        forward = self.forward(targets, searches)
        named = {}
        for tower, suffix in (("target", ""), ("search", "_p")):
            for layer, output in zip(
                self.architecture.tower, forward.towers[tower][1:], strict=True
            ):
                named[layer.name + suffix] = output
        if self.architecture.match is not None:
            matched = forward.head[0][:, 2 * self.architecture.features :]
            named[self.architecture.match.name] = self.ops.contiguous(matched)
        for linear, output in zip(self.architecture.head, forward.head[1:], strict=True):
            named[linear.name] = output
        return named

    # -- training --------------------------------------------------------------------------------

    def encode_frozen(self, crops: Array, tower: str, learn: str) -> Array:
        """Crops (n, 3, S, S) through the part of a tower that does not learn, as in inference.

        Args:
            crops: mean subtracted.
            tower: "target" or "search".
            learn: "fc", or the first convolution that learns; not "all", nor a tower's first layer.

        Returns:
            (n, F), of which :meth:`forward` with the same ``learn`` takes any number of rows; for "fc"
            the tower's features.
        """
        count = self.architecture.frozen_layers(learn)
        if count == 0:
            raise ValueError(f"no layer of a tower is frozen where {learn} learns")
        return self.encode_part(crops, tower, count)

    def encode_part(self, crops: Array, tower: str, count: int) -> Array:
        """Crops (n, 3, S, S), mean subtracted, through a tower's first ``count`` layers: (n, C*H*W)."""
        if count == len(self.architecture.tower):
            return self._encode(crops, tower)
        key = ("target" if self.architecture.shared_towers else tower, count)
        if key not in self._frozen:
            self._frozen[key] = self._compiled(tower, count)
        return self._through(crops, tower, self.architecture.tower[:count], self._frozen[key])

    def forward(
        self,
        targets: Array,
        searches: Array,
        *,
        owners: np.ndarray | None = None,
        dropout_key: int | None = None,
        learn: str = "all",
    ) -> ForwardPass:
        """All of it at once, keeping what :meth:`backward` needs.

        Args:
            targets: (m, 3, S, S), mean subtracted; or features already: (m, C*H*W), whose tower is then
                not run, nor trained, or with a convolution for ``learn`` what :meth:`encode_frozen`
                gives, (m, F).
            searches: (n, ...), as ``targets``.
            owners: (n,) whole numbers, which target each search window belongs to; None where they
                come in pairs, m = n.  A target goes through its tower once in any case.
            dropout_key: chooses the dropout masks (one key an iteration); None for no dropout.
            learn: what will be trained: "all", "fc", or a convolution and everything behind it.  Layers
                before it run as in inference, and their outputs, most of the memory, are not kept;
                ``backward`` stops there, and after "fc" takes ``towers=False`` alone.

        Raises:
            ValueError: dropout, which is for training, with fc weights in another precision than fp32.
        """
        if dropout_key is not None:
            self._check_trainable()
        towers: dict[str, list[Array]] = {}
        features = []
        for tower, given in (("target", targets), ("search", searches)):
            outputs = self._tower_outputs(given, tower, learn)
            if len(outputs) > 1:
                towers[tower] = outputs
            features.append(outputs[-1].reshape(len(outputs[-1]), -1))
        if owners is not None:
            features[0] = self.ops.take_rows(features[0], owners)
        if self.architecture.match is not None:
            features.append(self._match(features[0], features[1]))
        x = self.ops.concatenate(features, axis=1)
        head, masks = [x], {}
        for index, linear in enumerate(self.architecture.head):
            x = self.ops.linear(x, *self._linear_parameters(linear), relu=linear.relu)
            if dropout_key is not None and linear.dropout > 0:
                mask = self.ops.dropout_mask(
                    x.shape, ratio=linear.dropout, key=layer_key(dropout_key, index)
                )
                x = self.ops.dropout(x, mask, ratio=linear.dropout)
                masks[linear.name] = mask
            head.append(x)
        return ForwardPass(self._scaled(x), towers, head, masks, owners)

    def _tower_outputs(
        self, given: Array, tower: str, learn: str, end: int | None = None
    ) -> list[Array]:
        """The input of the first layer that learns, and the outputs from there on, up to the tower's
        first ``end`` layers (all); what was given, or came of it, alone where none does.
        """
        layers = self.architecture.tower
        first = self.architecture.frozen_layers(learn)
        if given.ndim == 2:
            first = first or len(layers)  # what is given in place of crops are a tower's features
            x = given
            self._check_features(x, first)
        elif first:
            x = self.encode_frozen(given, tower, learn)
        else:
            self._check_crops(given)
            x = given
        if first < len(layers):
            x = x.reshape(len(x), *self.architecture.shape_after(first))
        outputs = [x]
        for layer in layers[first:end]:
            outputs.append(self.tower_layer(layer, outputs[-1], tower))
        return outputs

    def backward(
        self,
        forward: ForwardPass,
        d_units: Array,
        *,
        towers: bool = True,
        update: Callable[[str, Array, Array], None] | None = None,
    ) -> dict[str, Array]:
        """Gradients of every parameter, by name.

        Args:
            forward: what :meth:`forward` gave.
            d_units: gradient of the loss with respect to ``forward.units``, (n, 4).
            towers: False leaves the convolutions out (frozen, as in the paper's training); else those
                that ``forward`` was told to learn have gradients.
            update: ``update(name, dy, x)`` is called for each fc weight once nothing needs it any
                more, with what :meth:`Ops.linear_sgd_update` takes; its gradient is then not formed.

        Raises:
            ValueError: fc weights in another precision than fp32; towers after a frozen forward.
        """
        self._check_trainable()
        if towers and not forward.towers:
            raise ValueError(
                "the forward pass kept nothing of its frozen towers; pass towers=False, or run "
                "forward with learn='all'"
            )
        gradients: dict[str, Array] = {}
        dy = self._scaled(d_units)
        for index in reversed(range(len(self.architecture.head))):
            linear = self.architecture.head[index]
            if linear.name in forward.masks:
                dy = self.ops.dropout(dy, forward.masks[linear.name], ratio=linear.dropout)
            if linear.relu:
                dy = self.ops.relu_backward(dy, forward.head[index + 1])
            weight, _ = self._linear_parameters(linear)
            x, name = forward.head[index], f"{linear.name}/weight"
            dx, d_weight, d_bias = self.ops.linear_backward(
                dy, x, weight, need_dx=index > 0 or towers, need_dweight=update is None
            )
            if update is None:
                gradients[name] = d_weight
            else:
                update(name, dy, x)
            gradients[f"{linear.name}/bias"] = d_bias
            dy = dx
        if towers:
            d_targets, d_searches = self._features_backward(dy, forward.head[0])
            if "target" in forward.towers:  # else its features were given
                outputs = forward.towers["target"]
                if forward.owners is not None:
                    d_targets = self.ops.sum_rows(d_targets, forward.owners, len(outputs[0]))
                self._tower_backward(outputs, d_targets, "target", gradients)
            if "search" in forward.towers:
                self._tower_backward(forward.towers["search"], d_searches, "search", gradients)
        return gradients

    def _features_backward(self, dy: Array, x: Array) -> tuple[Array, Array]:
        """Gradients of the target's and the search's features, for each example, from that of the first
        fc layer's input ``x``.
        """
        contiguous, half = self.ops.contiguous, self.architecture.features
        match = self.architecture.match
        if match is None:
            return dy[:, :half], dy[:, half:]
        matched = self.ops.match_backward(
            contiguous(dy[:, 2 * half :]),
            contiguous(x[:, :half]),
            contiguous(x[:, half : 2 * half]),
            cells=self.architecture.cells,
            scale=match.scale,
        )
        for gradient, direct in zip(matched, (dy[:, :half], dy[:, half : 2 * half]), strict=True):
            self.ops.add_to(gradient, contiguous(direct))
        return matched

    def tower_forward(self, crops: Array, tower: str, learn: str, end: int) -> list[Array]:
        """Crops (n, 3, S, S) through the first ``end`` layers of one tower alone, keeping what
        :meth:`tower_backward` needs.

        Returns:
            The input of the first layer that learns, and each output from there on, (n, C, H, W).
        """
        self._check_trainable()
        return self._tower_outputs(crops, tower, learn, end)

    def tower_backward(
        self, outputs: list[Array], gradients_of: Mapping[int, Array], tower: str, end: int
    ) -> dict[str, Array]:
        """Gradients of a tower's parameters, by name.

        Args:
            outputs: what :meth:`tower_forward` gave.
            gradients_of: of the last, -1, and of others, by such indices; each of as many numbers
                as the output.
            tower: "target" or "search".
            end: as :meth:`tower_forward` was told.
        """
        gradients: dict[str, Array] = {}
        others = {index % len(outputs): d for index, d in gradients_of.items() if index != -1}
        self._tower_backward(outputs, gradients_of[-1], tower, gradients, others=others, end=end)
        return gradients

    def _tower_backward(
        self,
        outputs: list[Array],
        d_features: Array,
        tower: str,
        gradients: dict[str, Array],
        *,
        others: Mapping[int, Array] | None = None,
        end: int | None = None,
    ) -> None:
        """``others``: more gradients, of outputs before the last; ``end`` as :meth:`_tower_outputs`."""
        dy = self.ops.contiguous(d_features).reshape(outputs[-1].shape)
        layers = self.architecture.tower[:end][-(len(outputs) - 1) :]
        for index in reversed(range(len(layers))):
            layer, x, y = layers[index], outputs[index], outputs[index + 1]
            if others and index + 1 in others:
                self.ops.add_to(dy, others[index + 1].reshape(y.shape))
            if isinstance(layer, MaxPool):
                dy = self.ops.max_pool_backward(dy, x, kernel=layer.kernel, stride=layer.stride)
            elif isinstance(layer, LRN):
                dy = self.ops.lrn_backward(
                    dy, x, size=layer.size, alpha=layer.alpha, beta=layer.beta, k=layer.k
                )
            else:
                name = self._conv_name(layer, tower)
                dy, d_weight, d_bias = self.ops.conv2d_backward(
                    self.ops.relu_backward(dy, y),
                    x,
                    self.parameters[f"{name}/weight"],
                    stride=layer.stride,
                    pad=layer.pad,
                    groups=layer.groups,
                    need_dx=index > 0,
                )
                for kind, gradient in (("weight", d_weight), ("bias", d_bias)):
                    key = f"{name}/{kind}"  # towers that share weights add up their gradients
                    if key in gradients:
                        self.ops.add_to(gradients[key], gradient)
                    else:
                        gradients[key] = gradient

    # -- shared parts ----------------------------------------------------------------------------

    def tower_layer(self, layer: TowerLayer, x: Array, tower: str) -> Array:
        """One layer of a tower by itself, (n, C, H, W) to the same."""
        if isinstance(layer, MaxPool):
            return self.ops.max_pool(x, kernel=layer.kernel, stride=layer.stride)
        if isinstance(layer, LRN):
            return self.ops.lrn(x, size=layer.size, alpha=layer.alpha, beta=layer.beta, k=layer.k)
        name = self._conv_name(layer, tower)
        return self.ops.conv2d(
            x,
            self.parameters[f"{name}/weight"],
            self.parameters[f"{name}/bias"],
            stride=layer.stride,
            pad=layer.pad,
            groups=layer.groups,
            relu=True,
        )

    def _match(self, targets: Array, searches: Array) -> Array:
        match = self.architecture.match
        assert match is not None
        return self.ops.match(targets, searches, cells=self.architecture.cells, scale=match.scale)

    def _conv_name(self, layer: Conv, tower: str) -> str:
        return self.architecture.search_name(layer.name) if tower == "search" else layer.name

    def _linear_parameters(self, layer: Linear) -> tuple[Array | CompressedWeight, Array]:
        return self.parameters[f"{layer.name}/weight"], self.parameters[f"{layer.name}/bias"]

    def _scaled(self, units: Array) -> Array:
        return units if self._to_units == 1 else self.ops.scale(units, self._to_units)

    def _check_trainable(self) -> None:
        if self.precision not in FULL_PRECISIONS:
            raise ValueError(
                f"a network with {self.precision} weights cannot be trained; train one with "
                "precision='fp32' and convert its weights afterwards"
            )

    def _check_crops(self, crops: Array) -> None:
        side = self.architecture.preprocessing.input_size
        if crops.ndim != 4 or crops.shape[1:] != (3, side, side) or len(crops) == 0:
            raise ValueError(
                f"crops must be (n, 3, {side}, {side}) with n of at least 1; got {crops.shape}"
            )

    def _check_features(self, features: Array, layers: int) -> None:
        count = math.prod(self.architecture.shape_after(layers))
        if features.shape[1] != count or len(features) == 0:
            raise ValueError(
                f"features must be (n, {count}) with n of at least 1; got {features.shape}"
            )


def _ops_of(device: str | Ops) -> Ops:
    if hasattr(device, "conv2d"):
        return cast(Ops, device)
    return get_ops(device)  # which says what it takes


def _columns(weight: Array | CompressedWeight, start: int, stop: int) -> Array | CompressedWeight:
    if isinstance(weight, CompressedWeight):
        return weight.columns(start, stop)
    return weight[:, start:stop]
