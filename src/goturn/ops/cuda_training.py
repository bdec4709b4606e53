"""A training iteration on a GPU as one graph: both towers, the fc layers, loss, backward, update.

No gradient of an fc weight is stored: each is formed, used and forgotten within the kernel that updates
its weight, which reads and writes the 109 million fc weights and their velocities once.  What differs
from one iteration to the next (crops, owners, labels, dropout's keys, rates) lies in device memory, so
that a replay needs no new parameters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from goturn.architecture import Architecture, Linear
from goturn.box import UNITS
from goturn.ops.cuda_gpu import Gpu
from goturn.ops.cuda_memory import DeviceMemoryError, Stream
from goturn.ops.cuda_tower import Arithmetic
from goturn.ops.cuda_towers_backward import TrainableTowers
from goturn.ops.interface import Array, layer_key

#: Of a parameter that does not learn: its weight stays as it is, and its velocity becomes zero.
_FROZEN = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class _State:
    """What a step is made of, and its plans share."""

    gpu: Gpu
    architecture: Architecture
    parameters: Mapping[str, Array]
    loss: str
    learn_towers: bool
    convs: Arithmetic
    products: str
    names: list[str]
    """Of the parameters that may learn, in the order of ``rates``."""
    stream: Stream
    velocities: dict[str, Array]
    rates: Array
    """(parameters, 3): rate, momentum, decay."""


class CudaTrainingStep:
    """:class:`goturn.training.step.TrainingStep` on a GPU, on a stream of its own.

    Args:
        gpu: the device.
        architecture: of the network.
        parameters: float32 arrays on the device; changed in place.
        loss: "l1" or "l2".
        towers: whether the convolutions learn too.
        convs: how the towers compute; float32 numbers where they learn.
        products: how batches are multiplied in the fc layers.
    """

    values = 4

    def __init__(
        self,
        gpu: Gpu,
        architecture: Architecture,
        parameters: Mapping[str, Array],
        *,
        loss: str,
        towers: bool,
        convs: Arithmetic,
        products: str,
    ) -> None:
        memory = self._memory = gpu.memory
        head = {layer.name for layer in architecture.head}
        names = [name for name in parameters if towers or name.split("/")[0] in head]
        with memory.device():
            self._state = _State(
                gpu, architecture, parameters, loss, towers, convs, products, names,
                stream=memory.new_stream(),
                velocities={n: memory.zeros(parameters[n].shape, np.float32) for n in names},
                rates=memory.zeros((len(names), 3), np.float32),
            )  # fmt: skip
            memory.follow(self._state.stream, memory.caller_stream())
        self._plans: dict[tuple[int, int, bool], _Plan] = {}

    def run(self, batch: Any, rates: Mapping[str, Any], *, dropout_key: int | None) -> float:
        from goturn.training.step import check_batch

        check_batch(batch, features=False)
        key = (len(batch.targets), len(batch.searches), dropout_key is not None)
        with self._memory.device():
            self._memory.follow(self._state.stream, self._memory.caller_stream())
            if key not in self._plans:
                self._drop_plans()  # one size of batch at a time: the buffers are large
                self._plans[key] = self._new_plan(key)
                self._memory.follow(self._state.stream, self._memory.caller_stream())
            plan = self._plans[key]
            plan.send(batch, [rates.get(name) for name in self._state.names], dropout_key)
            plan.launch()
            return plan.loss()

    def _new_plan(self, key: tuple[int, int, bool]) -> _Plan:
        try:
            return _Plan(self._state, *key)
        except DeviceMemoryError as error:
            raise DeviceMemoryError(f"a batch of {key[1]} is too large: {error}") from None

    def _drop_plans(self) -> None:
        self._memory.synchronize(self._state.stream)  # nothing runs on what is dropped
        self._plans.clear()

    def __del__(self) -> None:
        # As a pipeline's.
        if hasattr(self, "_plans"):
            with contextlib.suppress(Exception):
                self._memory.synchronize(self._state.stream)

    def velocities(self) -> dict[str, np.ndarray]:
        with self._memory.device():
            self._memory.synchronize(self._state.stream)
            return {
                name: np.array(self._memory.to_numpy(value))
                for name, value in self._state.velocities.items()
            }

    def set_velocities(self, velocities: Mapping[str, np.ndarray]) -> None:
        with self._memory.device():
            self._drop_plans()  # frozen towers are read again: this follows other weights
            for name, held in self._state.velocities.items():
                value = velocities.get(name)
                host = np.zeros(held.shape, np.float32) if value is None else value
                self._memory.copy_from_numpy(np.ascontiguousarray(host, np.float32), held)

    def squares(self) -> dict[str, np.ndarray]:
        return {}  # Adam's: trained step by step

    def set_squares(self, squares: Mapping[str, np.ndarray]) -> None:
        if squares:
            raise ValueError("this step is of momentum SGD, which has no mean of squared gradients")


class _Plan:
    """Buffers and the graph for ``targets`` targets and ``count`` examples."""

    def __init__(self, state: _State, targets: int, count: int, dropout: bool) -> None:
        memory, kernels = state.gpu.memory, state.gpu.kernels
        architecture = state.architecture
        self._state, self._kernels, self._memory = state, kernels, memory
        self._count, self._dropout = count, dropout
        self._layers = architecture.head
        self._features = architecture.features
        self._scale = UNITS / architecture.preprocessing.output_scale

        def empty(*shape: int) -> Array:
            return memory.empty(shape, np.float32)

        self._towers = TrainableTowers(
            state.gpu, architecture, state.parameters, targets, count,
            arithmetic=state.convs, learn=state.learn_towers,
        )  # fmt: skip
        self._owners = memory.empty((count,), np.int32)
        self._labels, self._d_units = empty(count, 4), empty(count, 4)
        self._units = empty(count, 4)
        self._loss = memory.empty((1,), np.float64)
        self._keys = memory.empty((len(self._layers),), np.uint64)
        self._x = [empty(count, 2 * self._features)]
        self._x += [empty(count, layer.features) for layer in self._layers]
        first = 0 if state.learn_towers else 1
        self._dx = [
            empty(count, x.shape[1]) if index >= first else None for index, x in enumerate(self._x)
        ]
        products, sizes = state.products, [1]
        for shape in (self._weight(layer).shape for layer in self._layers):
            sizes += [
                kernels.linear_workspace(
                    (count, shape[1]), shape, dtype="float32", products=products
                ),
                kernels.linear_backward_data_workspace((count, shape[1]), shape, products=products),
            ]
        self._workspace = memory.empty((max(sizes),), np.uint8)
        self._counters = memory.zeros((kernels.COUNTERS,), np.int32)
        self._pinned = [memory.pinned(x.shape, x.dtype) for x in self._small()]
        self._host_loss = memory.pinned((1,), np.float64)
        self._graph: Any = None

    def _small(self) -> list[Array]:
        """What the host sends besides crops."""
        return [self._owners, self._labels, self._keys, self._state.rates]

    def _weight(self, layer: Linear) -> Array:
        return self._state.parameters[f"{layer.name}/weight"]

    # -- the host's part -------------------------------------------------------------------------

    def send(self, batch: Any, rates: list[Any], dropout_key: int | None) -> None:
        memory, stream = self._memory, self._state.stream
        owners, labels, keys, rows = self._pinned
        owners[...] = batch.owners
        labels[...] = batch.labels
        for index in range(len(self._layers)):
            keys[index] = 0 if dropout_key is None else layer_key(dropout_key, index)
        for index, item in enumerate(rates):
            rows[index] = _FROZEN if item is None else (item.rate, item.momentum, item.decay)
        for host, device in zip(self._pinned, self._small(), strict=True):
            memory.upload(host, device, stream)
        self._towers.send(batch.targets, batch.searches, stream)

    def launch(self) -> None:
        if self._graph is None:
            # Once as it is: modules are loaded, and attributes set, outside of a capture.
            self._enqueue()
            self._graph = self._memory.capture(self._enqueue, self._state.stream)
        else:
            self._graph.launch()

    def loss(self) -> float:
        self._memory.synchronize(self._state.stream)
        return float(self._host_loss[0])

    # -- the device's ----------------------------------------------------------------------------

    def _enqueue(self) -> None:
        stream = self._memory.pointer_of(self._state.stream)
        self._forward(stream)
        kernels = self._kernels
        prediction = self._x[-1]
        if self._scale != 1:
            kernels.copy_rows(prediction, self._units, factor=self._scale, stream=stream)
            prediction = self._units
        loss = kernels.l1_loss if self._state.loss == "l1" else kernels.l2_loss
        loss(prediction, self._labels, self._d_units, self._loss, stream=stream)
        self._memory.download(self._loss, self._host_loss, self._state.stream)
        dy = self._d_units
        if self._scale != 1:
            kernels.copy_rows(self._d_units, self._dx[-1], factor=self._scale, stream=stream)
            dy = self._dx[-1]
        self._backward(dy, stream)

    def _forward(self, stream: int) -> None:
        kernels = self._kernels
        self._towers.forward(stream)
        together = self._x[0]
        kernels.gather_rows(
            self._owners, self._towers.target_features, together[:, : self._features], stream=stream
        )
        kernels.copy_rows(
            self._towers.search_features, together[:, self._features :], factor=1.0, stream=stream
        )
        for index, layer in enumerate(self._layers):
            kernels.linear(
                self._x[index], self._weight(layer), None,
                self._state.parameters[f"{layer.name}/bias"], self._x[index + 1],
                relu=layer.relu,
                key=self._keys[index : index + 1] if self._drops(layer) else None,
                ratio=layer.dropout if self._drops(layer) else 0.0,
                products=self._state.products, workspace=self._workspace,
                counters=self._counters, stream=stream,
            )  # fmt: skip

    def _drops(self, layer: Linear) -> bool:
        return self._dropout and layer.dropout > 0

    def _backward(self, dy: Array, stream: int) -> None:
        kernels, state = self._kernels, self._state
        for index in reversed(range(len(self._layers))):
            layer = self._layers[index]
            weight = self._weight(layer)
            dx = self._dx[index]
            if dx is not None:  # from the weights as they are, so before their update
                before = self._layers[index - 1] if index > 0 else None
                gate = before is not None and before.relu
                kept = 1 - before.dropout if before is not None and self._drops(before) else 1.0
                kernels.linear_backward_data(
                    dy, weight, self._x[index] if gate else None, dx,
                    gate_factor=float(np.float32(1) / np.float32(kept)),
                    products=state.products, workspace=self._workspace,
                    counters=self._counters, stream=stream,
                )  # fmt: skip
            names = (f"{layer.name}/weight", f"{layer.name}/bias")
            rates = [state.rates[state.names.index(name)] for name in names]
            kernels.linear_sgd_update(
                dy, self._x[index], weight, state.velocities[names[0]], rates[0],
                state.parameters[names[1]], state.velocities[names[1]], rates[1], stream=stream,
            )  # fmt: skip
            dy = dx
        if state.learn_towers:
            towers, half = self._towers, self._features
            kernels.sum_rows(self._owners, dy[:, :half], towers.d_target_features, stream=stream)
            kernels.copy_rows(dy[:, half:], towers.d_search_features, factor=1.0, stream=stream)
            of_each = {name: state.rates[index] for index, name in enumerate(state.names)}
            towers.backward(state.velocities, of_each, stream)


def training_dropout_is_gated(layers: tuple[Linear, ...]) -> bool:
    """Whether dropout only follows ReLU: then a zero output says all that the backward must know."""
    return all(layer.relu or layer.dropout == 0 for layer in layers)
