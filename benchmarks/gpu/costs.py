"""What operations cannot avoid: bytes through device memory, floating-point operations; and their floors.

Counted from the architecture, multiply-add = 2.  An operation's floor is the larger of its two times,
bytes over the memory's rate and FLOPs over the rate of the unit that does them; a whole's floor is the
sum over its steps, which follow each other.  Both rates are measured (see ``ceilings.py``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from goturn.architecture import Architecture, Conv, Linear

#: Bytes of a number, by the name of a precision.
SIZES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "int8": 1}


@dataclass(frozen=True)
class Cost:
    """Of one step."""

    bytes: int
    flops: int
    unit: str = "fp32"
    """What does the FLOPs: "fp32" (CUDA cores), "tf32", "tf32x3" or "half" (tensor cores)."""


def floor_us(costs: Sequence[Cost], ceilings: Mapping[str, float]) -> float | None:
    """Microseconds; None where a rate that it takes was not measured."""
    total = 0.0
    for cost in costs:
        unit, times = ("tf32", 3) if cost.unit == "tf32x3" else (cost.unit, 1)
        rates = [ceilings.get(f"{kind}_bytes_per_s", 0) for kind in ("read", "copy")]
        rate, bandwidth = ceilings.get(f"{unit}_flops_per_s"), max(rates)
        if not bandwidth or (cost.flops and not rate):
            return None
        computing = times * cost.flops / rate if cost.flops and rate else 0.0
        total += max(cost.bytes / bandwidth, computing)
    return 1e6 * total


@dataclass(frozen=True)
class ConvCase:
    """A convolution of a tower, with the sizes of its images."""

    layer: Conv
    channels: int
    """Of its input."""
    side: int
    """Of its input, pixels."""
    output: int
    """Side of its output, pixels."""

    def input_shape(self, batch: int) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return (batch, self.channels, self.side, self.side)

    def output_shape(self, batch: int) -> tuple[int, int, int, int]:
        """(N, K, P, Q)."""
        return (batch, self.layer.channels, self.output, self.output)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(K, C / groups, R, S)."""
        kernel = self.layer.kernel
        return (self.layer.channels, self.channels // self.layer.groups, kernel, kernel)

    @property
    def flops(self) -> int:
        """Of one image."""
        return 2 * math.prod(self.weight_shape) * self.output**2

    def cost(self, batch: int, size: int, unit: str) -> Cost:
        """Forward, or either gradient: two of the three tensors read and one written, once."""
        values = (
            math.prod(self.input_shape(batch))
            + math.prod(self.output_shape(batch))
            + math.prod(self.weight_shape)
        )
        return Cost(size * values, batch * self.flops, unit)


def conv_cases(architecture: Architecture) -> list[ConvCase]:
    """The convolutions of one tower, in order."""
    cases, shapes = [], architecture.tower_shapes()
    channels, side = 3, architecture.preprocessing.input_size
    for layer in architecture.tower:
        following = shapes[layer.name]
        if isinstance(layer, Conv):
            cases.append(ConvCase(layer, channels, side, following[1]))
        channels, side = following[0], following[1]
    return cases


def linear_cost(inputs: int, outputs: int, rows: int, precision: str, unit: str) -> Cost:
    """Forward: weights read once, in and out in float32."""
    scales = 4 * outputs if precision == "int8" else 0
    values = inputs * outputs * SIZES[precision] + scales
    return Cost(values + 4 * rows * (inputs + outputs), 2 * rows * inputs * outputs, unit)


def head_inputs(architecture: Architecture) -> list[tuple[Linear, int]]:
    """The fc layers and how many numbers each reads."""
    inputs = [2 * architecture.features, *(layer.features for layer in architecture.head)]
    return list(zip(architecture.head, inputs, strict=False))


def head_costs(architecture: Architecture, rows: int, precision: str, unit: str) -> list[Cost]:
    """All fc layers, forward; the last one's few weights stay in float32."""
    layers = head_inputs(architecture)
    return [
        linear_cost(
            inputs, layer.features, rows, precision if layer is not layers[-1][0] else "fp32", unit
        )
        for layer, inputs in layers
    ]


def tower_costs(architecture: Architecture, crops: int, precision: str, unit: str) -> list[Cost]:
    """The convolutions of so many crops: activations may stay in caches, weights are read once."""
    size = max(2, SIZES[precision])  # int8 is for fc weights alone
    return [
        Cost(size * math.prod(case.weight_shape), crops * case.flops, unit)
        for case in conv_cases(architecture)
    ]


def network_costs(
    architecture: Architecture, pairs: int, precision: str, products: str
) -> list[Cost]:
    """Two crops an object in, four numbers out.

    Args:
        architecture: of the network.
        pairs: objects.
        precision: of the weights.
        products: "scalar", "tf32", "tf32x3" or "half": how convolutions multiply.
    """
    unit = {"scalar": "fp32"}.get(products, products)
    # A few rows are multiplied on CUDA cores, under the weights' arrival.
    rows = "fp32" if pairs <= 8 else unit
    return [
        *tower_costs(architecture, 2 * pairs, precision, unit),
        *head_costs(architecture, pairs, precision, rows),
    ]


def search_costs(
    architecture: Architecture, objects: int, precision: str, products: str
) -> list[Cost]:
    """What is left to do once a frame is there, where the targets' half was done before."""
    unit = {"scalar": "fp32"}.get(products, products)
    rows = "fp32" if objects <= 8 else unit
    first, *rest = head_costs(architecture, objects, precision, rows)
    half = Cost(first.bytes // 2, first.flops // 2, first.unit)
    return [*tower_costs(architecture, objects, precision, unit), half, *rest]


def update_cost(inputs: int, outputs: int, rows: int) -> Cost:
    """The gradient of a weight and its momentum update in one: weight and velocity, read and written."""
    weights = inputs * outputs
    return Cost(16 * weights + 4 * rows * (inputs + outputs), 2 * rows * weights)


def training_costs(
    architecture: Architecture, targets: int, count: int, convs: str, head: str
) -> list[Cost]:
    """An iteration with frozen convolutions: forward, fc gradients, update.

    Args:
        architecture: of the network.
        targets: different targets.
        count: search windows.
        convs: what multiplies in the towers, see :class:`Cost`.
        head: what multiplies in the fc layers.
    """
    costs = tower_costs(architecture, targets + count, "fp32", convs)
    costs += head_costs(architecture, count, "fp32", head)
    for index, (layer, inputs) in enumerate(head_inputs(architecture)):
        if index > 0:  # nothing before the first layer learns
            costs.append(linear_cost(inputs, layer.features, count, "fp32", head))
        costs.append(update_cost(inputs, layer.features, count))
    return costs
