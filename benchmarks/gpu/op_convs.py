"""Rows of convolutions, forward and both gradients, on the network's shapes.

Images and weights stay where the last layer left them, in the L2 cache as far as they fit, as in the
network.  conv1 forward is what the tower does, on blocks of pixels as channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from goturn.ops.cuda_gpu import Gpu
from goturn.ops.cuda_precision import arithmetic
from goturn.ops.cuda_tower import Arithmetic, Tower
from goturn.ops.reference import ReferenceOps
from goturn.weights import Weights
from gpu.arrays import Scratch, nchw, nhwc, numbers, random_values, rounded, stored
from gpu.costs import ConvCase, conv_cases
from gpu.device import Device
from gpu.networks import repeated
from gpu.rows import LIMITS, Case, Subject

#: Launches in a graph.
CALLS = 20

#: Images of the forward rows: a target and a search window; a chunk of the towers'.
FORWARD = ((2, ("fp32", "fp32 on CUDA cores", "tf32", "bf16", "fp16")), (16, ("fp16", "tf32")))

#: Images of the gradients' rows.
BACKWARD = 16


def cases(device: Device, weights: Weights) -> Iterator[Case]:
    """Forward in each precision, then the gradients in those of float32 numbers."""
    for batch, titles in FORWARD:
        for conv in conv_cases(weights.architecture):
            for title in titles:
                yield _forward(device, weights, conv, batch, title)
    for conv in conv_cases(weights.architecture):
        for products in ("tf32", "tf32x3"):
            if conv.channels != 3:
                yield _backward(device, weights, conv, products, data=True)
            yield _backward(device, weights, conv, products, data=False)


def _weight(weights: Weights, conv: ConvCase) -> np.ndarray:
    return weights.parameters[f"{conv.layer.name}/weight"]


def _sizes(conv: ConvCase) -> dict[str, int]:
    return {"stride": conv.layer.stride, "pad": conv.layer.pad, "groups": conv.layer.groups}


# -- forward -------------------------------------------------------------------------------------


def _forward(device: Device, weights: Weights, conv: ConvCase, batch: int, title: str) -> Case:
    precision = "fp32" if title.startswith("fp32") else title
    asked = "scalar" if title.endswith("cores") else device.ops().products
    how, unit = arithmetic(precision, asked)
    x = random_values(1, *conv.input_shape(batch))
    bias = random_values(2, conv.layer.channels, scale=0.1)
    weight = _weight(weights, conv)

    def want() -> np.ndarray:
        operands = (rounded(values, precision).astype(np.float64) for values in (x, weight))
        images, filters = operands
        exact = ReferenceOps().conv2d(
            images[:2], filters, bias.astype(np.float64), **_sizes(conv), relu=True
        )
        return np.asarray(exact)

    def ours() -> Subject:
        memory = device.memory
        y, enqueue = _prepared(device, conv, (x, weight, bias), precision, how)
        launch = device.capture(repeated(enqueue, CALLS))
        return Subject(launch, lambda: nchw(numbers(memory.to_numpy(y)))[:2])

    return Case(
        name=f"{conv.layer.name} forward, {batch} images, {title}",
        ours=ours,
        peers=_forward_peers(device, conv, (x, weight, bias), precision),
        costs=[conv.cost(batch, 2 if precision in ("bf16", "fp16") else 4, _unit(unit))],
        want=want,
        limit=LIMITS[precision],
        calls=CALLS,
    )


def _prepared(
    device: Device,
    conv: ConvCase,
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
    precision: str,
    how: Arithmetic,
) -> tuple[Any, Callable[[], None]]:
    """The output, and what launches the convolution; the first one as a tower has it."""
    memory, kernels = device.memory, device.kernels
    x, weight, bias = arrays
    offset = memory.from_numpy(bias)
    if conv.channels == 3:
        name = conv.layer.name
        named = {f"{name}/weight": memory.from_numpy(weight), f"{name}/bias": offset}
        tower = Tower(Gpu(kernels, memory), (conv.layer,), conv.side, named, how)
        (step,), entry = tower.steps, tower.entry
        images = memory.empty((len(x), entry.side, entry.side, entry.channels), how.dtype)
        kernels.space_to_depth(
            memory.from_numpy(x), images, block=entry.block, stream=device.pointer
        )
        y = memory.empty(step.shape(images.shape), how.dtype)
        used = Scratch(device, step.workspace(images.shape)).keywords
        return y, lambda: step.enqueue(
            images, y, used["workspace"], used["counters"], used["stream"]
        )
    images, filters = (memory.from_numpy(stored(nhwc(v), precision)) for v in (x, weight))
    y = memory.empty(kernels.conv2d_shape(images.shape, filters.shape, **_sizes(conv)), how.dtype)
    size = kernels.conv2d_workspace(
        images.shape, filters.shape, **_sizes(conv), dtype=how.dtype, products=how.products
    )
    used = Scratch(device, size).keywords
    return y, lambda: kernels.conv2d(
        images, filters, offset, y, **_sizes(conv), relu=True, products=how.products, **used
    )


def _unit(products: str) -> str:
    return "fp32" if products == "scalar" else products


def _forward_peers(
    device: Device,
    conv: ConvCase,
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
    precision: str,
) -> dict[str, Callable[[], Subject]]:
    if device.torch is None:
        return {}
    torch, layer = device.torch, conv.layer

    def prepare(channels_last: bool, fused: bool) -> Subject:
        device.settings(conv_tf32=precision == "tf32", matmul_tf32=False)
        order = torch.channels_last if channels_last else torch.contiguous_format
        x, weight = (
            device.tensor(values, precision).contiguous(memory_format=order)
            for values in arrays[:2]
        )
        bias = device.tensor(arrays[2], precision)
        answer: list[Any] = [None]

        def enqueue() -> None:
            if fused:
                answer[0] = torch.cudnn_convolution_relu(
                    x, weight, bias, [layer.stride] * 2, [layer.pad] * 2, [1, 1], layer.groups
                )
            else:
                y = torch.conv2d(x, weight, bias, layer.stride, layer.pad, 1, layer.groups)
                answer[0] = torch.relu_(y)

        with torch.inference_mode():
            launch = device.torch_capture(repeated(enqueue, CALLS))
        return Subject(launch, lambda: answer[0][:2].float().cpu().contiguous().numpy())

    return {
        "NCHW": lambda: prepare(False, False),
        "channels_last": lambda: prepare(True, False),
        "NCHW, fused": lambda: prepare(False, True),
        "channels_last, fused": lambda: prepare(True, True),
    }


# -- gradients -----------------------------------------------------------------------------------


def _backward(
    device: Device, weights: Weights, conv: ConvCase, products: str, *, data: bool
) -> Case:
    batch, title = BACKWARD, "tf32" if products == "tf32" else "fp32"
    x, dy = (
        random_values(3, *conv.input_shape(batch)),
        random_values(4, *conv.output_shape(batch)),
    )
    weight = _weight(weights, conv)

    def want() -> np.ndarray:
        exact = (values.astype(np.float64) for values in (dy, x, weight))
        sizes: dict[str, Any] = _sizes(conv)
        dx, dweight, _ = ReferenceOps().conv2d_backward(*exact, **sizes, need_dx=data)
        return np.asarray(dx if data else dweight)

    def ours() -> Subject:
        memory, kernels = device.memory, device.kernels
        # The learning towers give conv1 a fourth plane of zeros.
        pad = [(0, 0), (0, 1 if conv.channels == 3 else 0), (0, 0), (0, 0)]
        images, filters, grads = (
            memory.from_numpy(nhwc(values)) for values in (np.pad(x, pad), np.pad(weight, pad), dy)
        )
        op = "conv2d_backward_data" if data else "conv2d_backward_weight"
        size = getattr(kernels, f"{op}_workspace")(
            images.shape, filters.shape, **_sizes(conv), dtype="float32", products=products
        )
        common = {**_sizes(conv), "products": products, **Scratch(device, size).keywords}
        result = memory.empty(images.shape if data else filters.shape, np.float32)
        dbias = memory.empty((conv.layer.channels,), np.float32)

        def enqueue() -> None:
            if data:
                kernels.conv2d_backward_data(grads, filters, result, **common)
            else:
                kernels.conv2d_backward_weight(grads, images, result, dbias, **common)

        launch = device.capture(repeated(enqueue, CALLS))
        keep = x.shape[1] if data else weight.shape[1]
        return Subject(launch, lambda: nchw(memory.to_numpy(result))[:, :keep])

    gradient = "dgrad" if data else "wgrad"
    return Case(
        name=f"{conv.layer.name} {gradient}, {batch} images, {title}",
        ours=ours,
        peers=_backward_peers(device, conv, (dy, x, weight), title, data=data),
        costs=[conv.cost(batch, 4, products)],
        want=want,
        limit=LIMITS[title],
        calls=CALLS,
    )


def _backward_peers(
    device: Device,
    conv: ConvCase,
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
    precision: str,
    *,
    data: bool,
) -> dict[str, Callable[[], Subject]]:
    if device.torch is None:
        return {}
    torch, layer = device.torch, conv.layer

    def prepare(channels_last: bool) -> Subject:
        device.settings(conv_tf32=precision == "tf32", matmul_tf32=False)
        order = torch.channels_last if channels_last else torch.contiguous_format
        tensors = [device.tensor(values).contiguous(memory_format=order) for values in arrays]
        answer: list[Any] = [None]

        def enqueue() -> None:
            results = torch.ops.aten.convolution_backward(
                *tensors, [layer.channels], [layer.stride] * 2, [layer.pad] * 2, [1, 1],
                False, [0, 0], layer.groups, [data, not data, not data],
            )  # fmt: skip
            answer[0] = results[0 if data else 1]

        with torch.inference_mode():
            launch = device.torch_capture(repeated(enqueue, CALLS))
        return Subject(launch, lambda: answer[0].cpu().contiguous().numpy())

    return {"NCHW": lambda: prepare(False), "channels_last": lambda: prepare(True)}
