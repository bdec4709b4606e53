"""Loss, gradients and ten updates of the paper's network, against PyTorch's.

No tolerance is tuned.  PyTorch in float64 is the truth; PyTorch in float32, the same program, shows what
float32 costs.  Ours may err by at most twice that, and by the little that makes up for PyTorch's luck:
:func:`shortfall`.  All go the same way at kinks (:class:`torch_goturn.TorchGoturn`), ours deciding, and
only where the truth is as near to one as rounding can bring it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install torch")

import torch

from checks import load_backend
from goturn.architecture import Architecture, Conv, MaxPool, goturn
from goturn.network import ForwardPass, Network
from goturn.training.step import Rates, training_step
from torch_goturn import TorchTraining
from training_case import (
    DECAY,
    SLOWER_FROM,
    STRONG_DECAY,
    UPDATES,
    dropout_key,
    fixed_batch,
    fixed_weights,
    rates_at,
)

pytestmark = pytest.mark.slow

EPS = float(np.finfo(np.float32).eps)

#: What an error may be in any case, in eps of the size of the thing: by chance PyTorch's can be next to
#: nothing, in four numbers of a bias above all.  Twenty layers, forward and backward, each add about an
#: eps of their own: a sum of products does, by its dozens of partial sums of which each is rounded to
#: half an eps, and what they add is independent, so sqrt(20) = 4.5 are to be expected.  Twice that.
FLOOR = 8

#: How near to a kink, in eps of the layer's rms, the truth must be where ours goes the other way: within
#: our error there, which for a layer deep in the tower has a deviation of some FLOOR, and of a million
#: errors the largest is five deviations.
NEAR = 5 * FLOOR

#: How far L1's own kink, at predictions that equal their label, must be, in units: nothing decides there.
CLEAR = 1e-4

NORMS: Mapping[str, Callable[[np.ndarray], float]] = {
    "l2": lambda x: float(np.linalg.norm(x)),
    "max": lambda x: float(np.abs(x).max()),
}


def shortfall(
    ours: np.ndarray, plain: np.ndarray, truth: np.ndarray, stored: np.ndarray | None = None
) -> float:
    """Our error over the largest that it may be: passed where at most 1.

    Both as a whole (l2), which no chance moves much, and of the worst element, which finds a single
    wrong one.  ``stored`` are float32 values of which these are differences, as a parameter's way is:
    each value is rounded to half an eps of its own size, however small the difference.
    """
    worst = 0.0
    for norm in NORMS.values():
        allowed = 2 * norm(plain - truth) + FLOOR * EPS * norm(truth)
        if stored is not None:
            allowed += EPS / 2 * norm(stored)
        worst = max(worst, norm(ours - truth) / allowed)
    return worst


@dataclass(frozen=True)
class Training:
    """What is trained."""

    widths: tuple[int, int, int]
    owners: tuple[int, ...]
    towers: bool = False
    loss: str = "l1"
    shared: bool = True
    decay: float = DECAY

    @property
    def architecture(self) -> Architecture:
        found = goturn(self.widths)
        return found if self.shared else found.with_separate_towers()


FULL = (4096, 4096, 4096)
NARROW = (48, 80, 64)
ELEVEN = (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2)
FIVE = (0, 0, 1, 0, 1)
FEW = (0, 1, 0)

CASES = {
    "the paper's": ("cpu", Training(FULL, ELEVEN)),
    "the paper's, convolutions learn": ("cpu", Training(FULL, FIVE, towers=True)),
    "narrow": ("cpu", Training(NARROW, FEW)),
    "narrow, convolutions learn": (
        "cpu",
        Training(NARROW, FEW, towers=True, decay=STRONG_DECAY),
    ),
    "narrow, a tower each": ("cpu", Training(NARROW, FEW, towers=True, shared=False)),
    "narrow, L2": ("cpu", Training(NARROW, FEW, towers=True, loss="l2")),
    "reference": ("reference", Training(NARROW, FEW, towers=True)),
    "reference, L2": ("reference", Training(NARROW, FEW, loss="l2", decay=STRONG_DECAY)),
}


@pytest.mark.parametrize("name", CASES)
def test_trains_as_pytorch_does(name):
    device, case = CASES[name]
    weights = fixed_weights(case.architecture)
    start = {name: value.copy() for name, value in weights.parameters.items()}
    network = Network(weights, load_backend(device))
    step = training_step(network, loss=case.loss, learn="all" if case.towers else "fc")
    batch = fixed_batch(case.owners, seed=7)
    truth, plain = (
        TorchTraining(start, case.architecture.head, dtype, towers=case.towers, loss=case.loss)
        for dtype in (torch.float64, torch.float32)
    )
    results: dict[str, float] = {}
    for turn in range(UPDATES):
        rates = rates_at(turn, start, towers=case.towers, decay=case.decay, loss=case.loss)
        forward = network.forward(
            batch.targets,
            batch.searches,
            owners=batch.owners,
            dropout_key=dropout_key(turn),
            learn="all" if case.towers else "fc",
        )
        decisions = decisions_of(network, forward)
        want_loss, plain_loss = (
            each.differentiate(batch, turn, decisions) for each in (truth, plain)
        )
        assert max(truth.network.strain.values()) <= NEAR * EPS, truth.network.strain
        assert np.abs(truth.units - batch.labels).min() > CLEAR
        units = network.ops.to_numpy(forward.units)
        results[f"units {turn}"] = shortfall(units, plain.units, truth.units)
        if turn == 0:
            _, d_units = getattr(network.ops, f"{case.loss}_loss")(forward.units, batch.labels)
            gradients = network.backward(forward, d_units, towers=case.towers)
            results |= compare_gradients(gradients, plain.gradients(), truth.gradients())
        loss = step.run(batch, rates, dropout_key=dropout_key(turn))
        # Every difference errs by as much as its prediction and its label's size allow.
        size = np.abs(truth.units).sum() + np.abs(batch.labels).sum()
        if case.loss == "l2":
            size *= np.abs(truth.units - batch.labels).max()
        allowed = 2 * abs(plain_loss - want_loss) + FLOOR * EPS * size
        results[f"loss {turn}"] = abs(loss - want_loss) / allowed
        for each in (truth, plain):
            each.solver.update(rates)
    velocities, plains, truths = step.velocities(), plain.velocities(), truth.velocities()
    assert set(velocities) == set(truths)
    for tensor, before in start.items():
        after = network.ops.to_numpy(network.parameters[tensor])
        if tensor not in truths:
            assert np.array_equal(after, before), tensor
            continue
        # Parameters go but a thousandth of their size: what is compared is the way they went.
        was = before.astype(np.float64)
        ways = (x.parameters()[tensor] - was for x in (plain, truth))
        results[f"{tensor}, way"] = shortfall(after - was, *ways, stored=after)
        results[f"{tensor}, velocity"] = shortfall(
            velocities[tensor], plains[tensor], truths[tensor]
        )
    report(results)
    failed = {what: ratio for what, ratio in results.items() if not ratio <= 1}
    assert not failed


def compare_gradients(
    ours: Mapping[str, np.ndarray], plain: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]
) -> dict[str, float]:
    assert set(ours) == set(truth)
    for name, gradient in truth.items():
        assert np.count_nonzero(gradient) > gradient.size / 4, f"{name} says nothing"
    return {
        f"{name}, gradient": shortfall(ours[name], plain[name], value)
        for name, value in truth.items()
    }


def decisions_of(network: Network, forward: ForwardPass) -> dict[str, torch.Tensor]:
    """On which side of each kink ``network`` was: what ``TorchGoturn`` takes."""
    architecture = network.architecture

    def host(x: object) -> torch.Tensor:
        return torch.from_numpy(network.ops.to_numpy(x))

    found = {}
    for tower, outputs in forward.towers.items():
        for layer, x, y in zip(architecture.tower, outputs[:-1], outputs[1:], strict=True):
            if isinstance(layer, Conv):
                found[f"{tower}/{layer.name}"] = host(y) > 0
            elif isinstance(layer, MaxPool):
                _, found[f"{tower}/{layer.name}"] = torch.nn.functional.max_pool2d(
                    host(x), layer.kernel, layer.stride, ceil_mode=True, return_indices=True
                )
    for linear, y in zip(architecture.head, forward.head[1:], strict=True):
        if linear.relu:
            found[f"head/{linear.name}"] = host(y) > 0
    return found


def report(results: Mapping[str, float]) -> None:
    """The worst of each kind, for ``pytest -s``."""
    worst: dict[str, tuple[float, str]] = {}
    for what, ratio in results.items():
        kind = what.rsplit(", ", 1)[1] if "," in what else what.split()[0]
        worst[kind] = max(worst.get(kind, (0.0, "")), (ratio, what))
    print("\nerror over its bound:", *(f"{what} {ratio:.2f}" for ratio, what in worst.values()))


def test_another_solver_would_be_noticed():
    """torch.optim.SGD, which keeps the rate out of its velocity."""
    architecture = goturn(NARROW)
    start, batch = fixed_weights(architecture).parameters, fixed_batch(FEW, seed=7)

    def training(dtype: torch.dtype) -> TorchTraining:
        return TorchTraining(start, architecture.head, dtype, towers=False, loss="l1")

    truth, plain, other = (training(x) for x in (torch.float64, torch.float32, torch.float64))
    learn = {n: p for n, p in other.network.parameters.items() if p.requires_grad}
    sgd = torch.optim.SGD([{"params": [p], "name": n} for n, p in learn.items()], lr=1)
    for turn in range(UPDATES):
        rates = rates_at(turn, start, towers=False)
        for each in (truth, plain, other):
            each.differentiate(batch, turn)
            if each is not other:
                each.solver.update(rates)
        for group in sgd.param_groups:
            how = rates[group["name"]]
            group.update(lr=how.rate, momentum=how.momentum, weight_decay=how.decay)
        sgd.step()
        ratios = {
            name: shortfall(
                *(
                    x.parameters()[name] - start[name].astype(np.float64)
                    for x in (other, plain, truth)
                ),
                stored=start[name],
            )
            for name in learn
        }
        weights = [ratio for name, ratio in ratios.items() if name.endswith("weight")]
        if turn < SLOWER_FROM - 1:
            continue
        if turn < SLOWER_FROM:  # one rule as long as the rate is one
            assert max(weights) < 1
        else:
            assert min(weights) > 10


def test_adam_is_pytorchs_adamw():
    """Three updates in float64, from gradients of each one's own.

    A step is at most rate / 1e-8 times as far off as its gradient, where that is zero: gradients agree to
    1e-13, and so steps to 1e-5 of the rate at worst.
    """
    architecture = goturn(NARROW)
    weights, batch = fixed_weights(architecture), fixed_batch(FEW, seed=7)
    start = {name: value.copy() for name, value in weights.parameters.items()}
    network = Network(weights, "reference", dtype=np.float64)
    step = training_step(network, adam=True)
    theirs = TorchTraining(start, architecture.head, torch.float64, towers=False, loss="l1")
    learn = {n: p for n, p in theirs.network.parameters.items() if p.requires_grad}
    adam = torch.optim.AdamW([{"params": [p], "name": n} for n, p in learn.items()])
    rate = 1e-4
    wide = replace(batch, targets=batch.targets.astype(np.float64))
    wide = replace(wide, searches=batch.searches.astype(np.float64))
    for turn in range(3):
        rates = {}
        for group in adam.param_groups:
            name = group["name"]
            decay = 0.1 if name.endswith("weight") else 0.0
            rates[name] = Rates(rate, 0.9, decay, 0.99, turn + 1)
            group.update(lr=rate, betas=(0.9, 0.99), eps=1e-8, weight_decay=decay)
        want = theirs.differentiate(batch, turn)
        assert step.run(wide, rates, dropout_key=dropout_key(turn)) == pytest.approx(want, rel=1e-9)
        adam.step()
    squares, velocities = step.squares(), step.velocities()
    for name, parameter in learn.items():
        found, expected = network.parameters[name], parameter.detach().numpy()
        assert np.abs(expected - start[name]).max() > rate
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * rate, err_msg=name)
        state = adam.state[parameter]
        for ours, its in ((velocities, "exp_avg"), (squares, "exp_avg_sq")):
            value = state[its].numpy()
            size = np.abs(value).max()
            np.testing.assert_allclose(ours[name], value, rtol=1e-9, atol=1e-11 * size)
