"""GOTURN and Caffe's solver in PyTorch: a second statement of both, apart from the library's.

Written from the paper, the authors' prototxt and Caffe's sources.  It shares nothing with the library
but names and layouts of parameters, and the bits of dropout, which are given.  It runs in float32 and in
float64; gradients are autograd's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional

from goturn.architecture import Linear
from goturn.training.step import Batch, Rates
from training_case import fixed_masks

#: CaffeNet up to pool5, pooling before LRN.  Convolutions: name, stride, pad, groups; the rest by name.
TOWER: tuple[tuple[str, int, int, int] | str, ...] = (
    ("conv1", 4, 0, 1),
    "pool1",
    "norm1",
    ("conv2", 1, 2, 2),
    "pool2",
    "norm2",
    ("conv3", 1, 1, 1),
    ("conv4", 1, 1, 2),
    ("conv5", 1, 1, 2),
    "pool5",
)
HIDDEN = ("fc6", "fc7", "fc7b")

#: Which side of its kink each value is taken to be on, by tower and layer: for a ReLU whether it lets
#: pass, for pooling the index of each window's maximum in its plane.
Decisions = Mapping[str, torch.Tensor]


class TorchGoturn:
    """The network.

    Its function has kinks: at a ReLU's zero, and where two values of a pooling window are equal.  The
    output is continuous there, but the gradient jumps, by far more than rounding, and of a million
    windows some are that close.  Two correct implementations thus go different ways here and there,
    and to be compared to within rounding they must go the same way: ``decisions`` says which.
    ``strain`` then says how far from a kink the network was where it was made to go the other way.

    Args:
        parameters: by name; copied.
        dtype: torch.float32 or torch.float64.
        towers: whether convolutions are to have gradients.
    """

    def __init__(
        self, parameters: Mapping[str, np.ndarray], dtype: torch.dtype, *, towers: bool
    ) -> None:
        self.dtype = dtype
        self.parameters = {
            name: torch.tensor(value, dtype=dtype).requires_grad_(
                towers or not name.startswith("conv")
            )
            for name, value in parameters.items()
        }
        self.strain: dict[str, float] = {}
        """By layer, the largest distance from a kink that a decision overruled, over the layer's rms."""
        self._decisions: Decisions = {}
        self._before: dict[str, tuple[np.ndarray, torch.Tensor]] = {}

    def units(
        self,
        targets: np.ndarray,
        searches: np.ndarray,
        owners: np.ndarray,
        masks: Mapping[str, np.ndarray],
        decisions: Decisions | None = None,
    ) -> torch.Tensor:
        """The boxes (n, 4), with dropout by ``masks``; ``owners`` says which target each search has."""
        self._decisions, self.strain = decisions or {}, {}
        target, search = self._features(targets, "target"), self._features(searches, "search")
        chosen = target[torch.from_numpy(owners.astype(np.int64))]
        x = torch.cat([chosen, search], dim=1).flatten(1)  # channels: target's, then search's
        for name in HIDDEN:
            x = self._linear(x, name)
            kept = torch.from_numpy(masks[name].astype(bool))
            x = self._relu(x, f"head/{name}", kept) * kept / 0.5
        return self._linear(x, "fc8")

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ self.parameters[f"{name}/weight"].T + self.parameters[f"{name}/bias"]

    def _features(self, crops: np.ndarray, tower: str) -> torch.Tensor:
        """A tower's output; of frozen towers, for the same crops, as it was."""
        crops_before, features = self._before.get(tower, (None, None))
        if crops_before is not crops or features is None:
            features = self._tower(crops, tower)
            if not features.requires_grad:
                self._before[tower] = crops, features
        return features

    def _tower(self, crops: np.ndarray, tower: str) -> torch.Tensor:
        x = torch.from_numpy(crops).to(self.dtype)
        for layer in TOWER:
            if isinstance(layer, str):
                x = self._pool(x, f"{tower}/{layer}") if layer.startswith("pool") else lrn(x)
                continue
            name, stride, pad, groups = layer
            separate = tower == "search" and f"{name}_p/weight" in self.parameters
            own = f"{name}_p" if separate else name
            weight, bias = self.parameters[f"{own}/weight"], self.parameters[f"{own}/bias"]
            x = functional.conv2d(x, weight, bias, stride=stride, padding=pad, groups=groups)
            x = self._relu(x, f"{tower}/{name}")
        return x

    def _relu(self, x: torch.Tensor, name: str, kept: torch.Tensor | None = None) -> torch.Tensor:
        if name not in self._decisions:
            return torch.relu(x)
        passes = self._decisions[name]
        overruled = passes != (x > 0)
        if kept is not None:  # of the others nothing is decided
            overruled &= kept
        self._strained(name, x, (x.detach().abs() * overruled).max())
        return x * passes

    def _pool(self, x: torch.Tensor, name: str) -> torch.Tensor:
        most = functional.max_pool2d(x, kernel_size=3, stride=2, ceil_mode=True)
        if name not in self._decisions:
            return most
        index = self._decisions[name]
        taken = x.flatten(2).gather(2, index.flatten(2)).view(most.shape)
        self._strained(name, x, (most - taken).detach().max())
        return taken

    def _strained(self, name: str, x: torch.Tensor, distance: torch.Tensor) -> None:
        self.strain[name] = float(distance / x.detach().square().mean().sqrt())


def lrn(x: torch.Tensor) -> torch.Tensor:
    """Caffe's, across channels: x / (1 + alpha / 5 * the sum over five channels of x^2) ^ 0.75."""
    padded = functional.pad(x * x, (0, 0, 0, 0, 2, 2))
    total = sum(padded[:, i : i + x.shape[1]] for i in range(5))
    return x * (1 + 1e-4 / 5 * total) ** -0.75


def loss_of(units: torch.Tensor, labels: np.ndarray, loss: str) -> torch.Tensor:
    """Summed over the batch: of absolute differences ("l1"), or half of their squares ("l2")."""
    off = units - torch.from_numpy(labels).to(units.dtype)
    return off.abs().sum() if loss == "l1" else off.square().sum() / 2


class CaffeSolver:
    """Momentum as Caffe has it: v = momentum v + rate (gradient + decay w); w = w - v.

    torch.optim.SGD keeps the rate out of v, which is another rule wherever the rate changes.
    """

    def __init__(self, parameters: Mapping[str, torch.Tensor]) -> None:
        self._parameters = parameters
        self.velocities: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def update(self, rates: Mapping[str, Rates]) -> None:
        """``rates``: of every parameter that learns."""
        for name, how in rates.items():
            w = self._parameters[name]
            if name not in self.velocities:
                self.velocities[name] = torch.zeros_like(w)
            v = self.velocities[name]  # in place: in float64 fc6 is 600 MB
            v.mul_(how.momentum).add_(w.grad, alpha=how.rate).add_(w, alpha=how.rate * how.decay)
            w.sub_(v)


class TorchTraining:
    """A network in training, in one precision: gradients, then an update, turn by turn."""

    def __init__(
        self,
        parameters: Mapping[str, np.ndarray],
        head: Sequence[Linear],
        dtype: torch.dtype,
        *,
        towers: bool,
        loss: str,
    ) -> None:
        self.network = TorchGoturn(parameters, dtype, towers=towers)
        self.solver = CaffeSolver(self.network.parameters)
        self.units = np.empty(0)
        """The last prediction, (n, 4)."""
        self._head, self._loss = head, loss

    def differentiate(self, batch: Batch, turn: int, decisions: Decisions | None = None) -> float:
        """The loss at update ``turn``, whose gradients are then there."""
        for parameter in self.network.parameters.values():
            parameter.grad = None
        masks = fixed_masks(self._head, len(batch.searches), turn)
        units = self.network.units(batch.targets, batch.searches, batch.owners, masks, decisions)
        self.units = units.detach().numpy()
        loss = loss_of(units, batch.labels, self._loss)
        loss.backward()
        return float(loss.detach())

    def gradients(self) -> dict[str, np.ndarray]:
        return {
            name: value.grad.numpy()
            for name, value in self.network.parameters.items()
            if value.grad is not None
        }

    def parameters(self) -> dict[str, np.ndarray]:
        return {name: value.detach().numpy() for name, value in self.network.parameters.items()}

    def velocities(self) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in self.solver.velocities.items()}
