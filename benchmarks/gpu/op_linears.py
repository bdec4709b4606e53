"""Rows of the fc layers, forward and with the solver's update in one.

A layer's weights come from memory: launches go round among copies of them that are four times the L2
cache together (not fc8's, which no tracker leaves in memory either).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from goturn.architecture import Linear
from goturn.ops import compressed
from goturn.ops.reference import ReferenceOps
from goturn.weights import Weights
from gpu.arrays import Scratch, random_values
from gpu.costs import SIZES, head_inputs, linear_cost, update_cost
from gpu.device import Device, Launch
from gpu.networks import repeated
from gpu.rows import LIMITS, Case, Subject

CALLS = 20

#: Rows of x, and the precisions of the weights.
FORWARD = (
    (1, ("fp32", "bf16", "fp16", "int8")),
    (64, ("fp32", "tf32", "bf16", "fp16", "int8")),
)

#: Copies of a weight take this many bytes together, or the L2 cache would be measured.
COLD = 256 << 20

#: Examples of the update's rows.
BATCH = 50


def cases(device: Device, weights: Weights) -> Iterator[Case]:
    """Each layer in each precision; then the updates of the hidden ones."""
    layers = head_inputs(weights.architecture)
    distinct = {(inputs, layer.features): layer for layer, inputs in reversed(layers)}
    chosen = [(layer, inputs) for layer, inputs in layers if layer in distinct.values()]
    for rows, precisions in FORWARD:
        for layer, inputs in chosen:
            for precision in precisions:
                if layer.relu or precision == "fp32":  # the last layer is in float32 always
                    yield _forward(device, weights, layer, inputs, rows=rows, precision=precision)
    for layer, inputs in chosen:
        if layer.relu:
            yield _update(device, weights, layer, inputs)


def _copies(size: int) -> int:
    """Of a weight of so many bytes; small ones stay in the cache, as they do in use."""
    return 1 if size < 1 << 20 else max(2, -(-COLD // size))


def _round(enqueue: Callable[[Any], None], weights: list[Any]) -> Launch:
    """``enqueue`` with the next weight each time."""
    following = itertools.cycle(weights)
    return repeated(lambda: enqueue(next(following)), max(CALLS, len(weights)))


def _forward(
    device: Device, weights: Weights, layer: Linear, inputs: int, *, rows: int, precision: str
) -> Case:
    weight = weights.parameters[f"{layer.name}/weight"]
    x = np.maximum(random_values(5, rows, inputs), 0)
    bias = random_values(6, layer.features, scale=0.1)
    base = device.ops().products
    products = base if precision == "fp32" or base == "scalar" else "half"
    products = "tf32" if precision == "tf32" and base != "scalar" else products
    copies = _copies(weight.size * SIZES[precision])
    calls = max(CALLS, copies)

    def want() -> np.ndarray:
        exact = ReferenceOps().linear(
            x[:2].astype(np.float64), weight.astype(np.float64), bias.astype(np.float64),
            relu=layer.relu,
        )  # fmt: skip
        return np.asarray(exact)

    def ours() -> Subject:
        memory, kernels = device.memory, device.kernels
        host, scales = weight, None
        if precision not in ("fp32", "tf32"):
            packed = compressed.compress(weight, precision)
            host, scales = packed.values, packed.scale
        held = [memory.from_numpy(host) for _ in range(copies)]
        scale = None if scales is None else memory.from_numpy(scales)
        given, offset = memory.from_numpy(x), memory.from_numpy(bias)
        y = memory.empty((rows, layer.features), np.float32)
        size = kernels.linear_workspace(
            given.shape, host.shape, dtype=str(host.dtype), products=products
        )
        scratch = Scratch(device, size).keywords

        def enqueue(values: Any) -> None:
            kernels.linear(
                given, values, scale, offset, y, relu=layer.relu, products=products, **scratch
            )

        launch = device.capture(_round(enqueue, held))
        return Subject(launch, lambda: memory.to_numpy(y)[:2])

    unit = "fp32" if rows <= 8 or products == "scalar" else products
    return Case(
        name=f"{layer.name} forward, {rows} x {inputs}, {precision}",
        ours=ours,
        peers=_forward_peers(device, layer, (x, weight, bias), precision, copies),
        costs=[linear_cost(inputs, layer.features, rows, precision, unit)],
        want=want,
        limit=LIMITS[precision],
        calls=calls,
    )


def _forward_peers(
    device: Device,
    layer: Linear,
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
    precision: str,
    copies: int,
) -> dict[str, Callable[[], Subject]]:
    """F.linear and ReLU; cuBLASLt's product with ReLU.  For int8, which it lacks, nothing."""
    if device.torch is None or precision == "int8":
        return {}
    torch = device.torch

    def prepare(fused: bool) -> Subject:
        device.settings(conv_tf32=False, matmul_tf32=precision == "tf32")
        x, weight, bias = (device.tensor(values, precision) for values in arrays)
        held = [weight, *(weight.clone() for _ in range(copies - 1))]
        answer: list[Any] = [None]

        def enqueue(values: Any) -> None:
            if fused:
                answer[0] = torch._addmm_activation(bias, x, values.t())
                return
            y = torch.nn.functional.linear(x, values, bias)
            answer[0] = torch.relu_(y) if layer.relu else y

        with torch.inference_mode():
            launch = device.torch_capture(_round(enqueue, held))
        return Subject(launch, lambda: answer[0][:2].float().cpu().numpy())

    peers = {"F.linear": lambda: prepare(False)}
    if layer.relu:
        peers["addmm with ReLU"] = lambda: prepare(True)
    return peers


# -- update --------------------------------------------------------------------------------------

#: Rate, momentum, decay.
RATES = (1e-3, 0.9, 5e-4)


def _update(device: Device, weights: Weights, layer: Linear, inputs: int) -> Case:
    weight = weights.parameters[f"{layer.name}/weight"]
    x = np.maximum(random_values(8, BATCH, inputs), 0)
    dy = random_values(9, BATCH, layer.features, scale=0.01)
    rows = slice(0, 64)  # that are checked

    def want() -> np.ndarray:
        gradient = dy[:, rows].T.astype(np.float64) @ x
        step: np.ndarray = RATES[0] * (gradient + RATES[2] * weight[rows].astype(np.float64))
        return step

    def ours() -> Subject:
        memory, kernels = device.memory, device.kernels
        held, velocity = memory.from_numpy(weight), memory.zeros(weight.shape, np.float32)
        given, d_out = memory.from_numpy(x), memory.from_numpy(dy)
        rates = memory.from_numpy(np.array(RATES, np.float32))

        def enqueue() -> None:
            kernels.linear_sgd_update(
                d_out, given, held, velocity, rates, None, None, None, stream=device.pointer
            )

        enqueue()
        change = memory.to_numpy(velocity)[rows]
        # The weight wanders while it is timed; it stays finite.
        return Subject(device.capture(repeated(enqueue, CALLS)), lambda: change)

    peers: dict[str, Callable[[], Subject]] = {}
    if device.torch is not None:
        for update in ("fused", "foreach"):
            peers[f"matmul, SGD {update}"] = partial(
                _torch_update, device, (dy, x, weight), update, rows
            )
    return Case(
        name=f"{layer.name} gradient and update, {BATCH} x {inputs}",
        ours=ours,
        peers=peers,
        costs=[update_cost(inputs, layer.features, BATCH)],
        want=want,
        calls=CALLS,
    )


def _torch_update(
    device: Device, arrays: tuple[np.ndarray, np.ndarray, np.ndarray], update: str, rows: slice
) -> Subject:
    torch = device.torch
    device.settings(conv_tf32=False, matmul_tf32=False)
    dy, x, weight = (device.tensor(values) for values in arrays)
    gradient = torch.empty_like(weight)
    weight.requires_grad_()
    weight.grad = gradient
    solver = torch.optim.SGD(
        [weight], lr=RATES[0], momentum=RATES[1], weight_decay=RATES[2], **{update: True}
    )

    def enqueue() -> None:
        with torch.no_grad():
            torch.matmul(dy.t(), x, out=gradient)
        solver.step()

    enqueue()
    change = solver.state[weight]["momentum_buffer"][rows].detach().cpu().numpy() * RATES[0]
    return Subject(device.torch_capture(repeated(enqueue, CALLS)), lambda: change)
