"""The training step in PyTorch: frozen towers, each target through them once, SGD with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from goturn.architecture import Architecture
from gpu.device import Device, Launch, Replay
from gpu.torch_network import TorchNetwork


class TorchStep:
    """An iteration with the paper's loss, dropout and learning rates; float32 numbers.

    Args:
        device: where.
        architecture: of the network.
        parameters: in host memory.
        batch: "targets", "searches", "owners" and "labels" as NumPy arrays.
        rate: learning rate; biases learn twice as fast and do not decay.
        update: "fused" or "foreach": how PyTorch's SGD goes over the parameters.
        dropout: whether there is any.
        net: options of TorchNetwork.
        compile_mode: of torch.compile, for the towers and the fc layers; None for neither.
    """

    def __init__(
        self,
        device: Device,
        architecture: Architecture,
        parameters: Mapping[str, np.ndarray],
        batch: Mapping[str, np.ndarray],
        *,
        rate: float,
        update: str = "fused",
        dropout: bool = True,
        net: Mapping[str, Any] | None = None,
        compile_mode: str | None = None,
    ) -> None:
        torch = device.torch
        self._torch, self._dropout = torch, dropout
        self._net = TorchNetwork(device, architecture, parameters, "fp32", **(net or {}))
        self._tower, self._head = self._net.tower, self._net.head
        if compile_mode is not None:
            self._tower = torch.compile(self._tower, mode=compile_mode, dynamic=False)
            self._head = torch.compile(self._head, mode=compile_mode, dynamic=False)
        self._crops = device.tensor(np.concatenate((batch["targets"], batch["searches"])))
        self._targets = len(batch["targets"])
        self._owners = device.tensor(batch["owners"].astype(np.int64))
        self._labels = device.tensor(batch["labels"])
        self.parameters = {
            name: value.requires_grad_()
            for name, value in self._net.parameters.items()
            if name.split("/")[0] in {layer.name for layer in architecture.head}
        }
        groups = [
            {"params": values, "lr": factor * rate, "weight_decay": decay}
            for kind, factor, decay in (("weight", 1, 5e-4), ("bias", 2, 0.0))
            if (values := [v for n, v in self.parameters.items() if n.endswith(kind)])
        ]
        self._solver = torch.optim.SGD(groups, lr=rate, momentum=0.9, **{update: True})
        self.loss: Any = None

    def run(self) -> None:
        """One iteration, enqueued."""
        torch = self._torch
        with torch.no_grad():
            features = self._tower(self._crops)
            owned = features[: self._targets].index_select(0, self._owners)
            both = torch.cat((owned, features[self._targets :]), dim=1)
        units = self._head(both, dropout=self._dropout)
        loss = (units - self._labels).abs().sum()
        self._solver.zero_grad(set_to_none=True)
        loss.backward()
        self._solver.step()
        self.loss = loss.detach()


def graphed(device: Device, step: TorchStep) -> Launch:
    """The step as one CUDA graph, captured as PyTorch's documentation says, after three warm-ups."""
    torch = device.torch
    if device.torch_device == "cpu":
        return step.run
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step.run()
    torch.cuda.current_stream().wait_stream(side)
    device.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step.run()
    return Replay(graph.replay, step.run)
