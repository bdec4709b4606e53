"""The peers of ``train_step.py``: one step of the paper's training, with frozen convolutions.

Runs under each peer's own interpreter, so nothing but the standard library is imported up here.  A
step: ``batch`` pairs of crops through the towers, the head with dropout, L1 loss, gradients of the
head, momentum SGD with weight decay.  The crops are there already.
"""

from __future__ import annotations

import json
import math
from typing import Any

from engines import torch_tower

RATE, MOMENTUM, DECAY, DROPOUT = 1e-7, 0.9, 5e-4, 0.5


class _Training:
    """Inputs and labels of the right shapes, and the check that the loss is a number."""

    def __init__(self, batch: int, side: int) -> None:
        import numpy as np

        random = np.random.default_rng(0)
        self._crops = [
            random.integers(-120, 130, (batch, 3, side, side)).astype(np.float32) for _ in range(2)
        ]
        self._label = random.uniform(0, 10, (batch, 4)).astype(np.float32)
        self._loss = math.nan

    def check(self) -> None:
        """Raises RuntimeError if the loss is not finite."""
        if not math.isfinite(self._loss):
            raise RuntimeError(f"the loss is {self._loss}")


class Goturn(_Training):
    """``goturn.training.step``; each fc weight's gradient and update in one pass."""

    def __init__(self, weights: str, device: str, threads: int, batch: int, side: int) -> None:
        super().__init__(batch, side)
        self._file, self._device = weights, device
        self._iteration = 0

    def load(self) -> None:
        import numpy as np

        from goturn import weights
        from goturn.network import Network
        from goturn.training.step import Batch, Rates, training_step

        network = Network(weights.load(self._file), self._device)
        self._step = training_step(network)
        targets, searches = self._crops
        owners = np.arange(len(self._label))
        self._batch = Batch(targets, searches, owners, self._label)
        self._rates = {}
        for layer in network.architecture.head:
            self._rates[f"{layer.name}/weight"] = Rates(RATE, MOMENTUM, DECAY)
            self._rates[f"{layer.name}/bias"] = Rates(2 * RATE, MOMENTUM)

    def step(self) -> None:
        self._loss = self._step.run(self._batch, self._rates, dropout_key=self._iteration)
        self._iteration += 1


class Torch(_Training):
    """PyTorch eager on the CPU, convolutions channels last under ``no_grad``, its own SGD."""

    def __init__(
        self, tensors: str, architecture: str, threads: int, batch: int, side: int
    ) -> None:
        super().__init__(batch, side)
        import torch

        self._torch: Any = torch
        torch.set_num_threads(threads)
        self._tensors, self._description = tensors, json.loads(architecture)

    def load(self) -> None:
        import numpy as np

        torch = self._torch
        with np.load(self._tensors) as file:
            self._weights = {name: torch.from_numpy(file[name]) for name in file.files}
        for name, value in self._weights.items():
            if value.ndim == 4:
                self._weights[name] = value.contiguous(memory_format=torch.channels_last)
        head = [layer["name"] for layer in self._description["head"]]
        weights = [self._weights[f"{name}/weight"].requires_grad_() for name in head]
        biases = [self._weights[f"{name}/bias"].requires_grad_() for name in head]
        groups = [{"params": weights}, {"params": biases, "lr": 2 * RATE, "weight_decay": 0.0}]
        self._solver = torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)

    def step(self) -> None:
        torch, functional = self._torch, self._torch.nn.functional
        tower = self._description["tower"]
        with torch.no_grad():
            towers = [
                torch_tower(torch, tower, self._weights, torch.from_numpy(crops))
                for crops in self._crops
            ]
            features = torch.cat(towers, dim=1)
        x = features
        for layer in self._description["head"]:
            name = layer["name"]
            x = functional.linear(x, self._weights[f"{name}/weight"], self._weights[f"{name}/bias"])
            if layer["relu"]:
                x = functional.dropout(x.relu(), DROPOUT, training=True)
        loss = (x - torch.from_numpy(self._label)).abs().sum()
        self._solver.zero_grad(set_to_none=True)
        loss.backward()
        self._solver.step()
        self._loss = loss.item()
