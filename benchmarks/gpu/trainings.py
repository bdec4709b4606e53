"""Rows of a training iteration: 50 search windows on 5 targets, the paper's frozen towers, dropout, L1.

Timed from the call to the loss on the host, crops on the GPU already; and by events, without the loss.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from goturn.architecture import Architecture
from goturn.ops.cuda_gpu import Gpu
from goturn.ops.cuda_tower import Arithmetic
from goturn.ops.cuda_training import CudaTrainingStep
from goturn.training.step import Batch, Rates
from goturn.weights import Weights
from gpu.costs import training_costs
from gpu.device import Device, Launch
from gpu.rows import Case, Subject
from gpu.torch_training import TorchStep, graphed

TARGETS, COUNT = 5, 50

#: Of the paper's solver; the loss is a sum over the batch.
RATE = 1e-6

#: Row, what multiplies in the towers and in the fc layers (float32 numbers throughout), whether PyTorch
#: may use TF32 in convolutions and in matrix products, microseconds and ratio asked for.
Kind = tuple[str, str, str, bool, bool, float | None, float | None]
KINDS: tuple[Kind, ...] = (
    ("TF32 convs", "tf32", "tf32x3", True, False, 1300, 1.5),
    ("TF32 throughout", "tf32", "tf32", True, True, None, None),
    ("fp32", "tf32x3", "tf32x3", False, False, None, None),
    ("fp32 on CUDA cores", "scalar", "scalar", False, False, None, None),
)

#: A batch, the parameter whose change is checked, and the right change.
Check = tuple[dict[str, np.ndarray], str, Callable[[], np.ndarray]]


def make_batch(architecture: Architecture) -> dict[str, np.ndarray]:
    """Random crops and labels."""
    random, side = np.random.default_rng(11), architecture.preprocessing.input_size

    def crops(count: int) -> np.ndarray:
        return random.integers(-120, 130, (count, 3, side, side)).astype(np.float32)

    return {
        "targets": crops(TARGETS),
        "searches": crops(COUNT),
        "owners": np.arange(COUNT, dtype=np.int32) % TARGETS,
        "labels": random.uniform(0, 10, (COUNT, 4)).astype(np.float32),
    }


def cases(device: Device, weights: Weights) -> Iterator[Case]:
    """Each kind, with the loss and without."""
    arrays = make_batch(weights.architecture)
    watched = f"{weights.architecture.head[-2].name}/weight"
    right = functools.cache(lambda: right_change(weights, arrays, watched))
    for kind in KINDS:
        if device.ops().products == "scalar" and kind[1] != "scalar":
            continue  # no tensor cores
        yield _case(device, weights, kind, (arrays, watched, right))
    yield _towers_case(device, weights)


def our_step(
    device: Device, weights: Weights, convs: str, head: str, *, towers: bool = False
) -> tuple[CudaTrainingStep, dict[str, Any]]:
    """A step of ours, and the parameters that it changes, on the device."""
    parameters = {name: device.memory.from_numpy(v) for name, v in weights.parameters.items()}
    step = CudaTrainingStep(
        Gpu(device.kernels, device.memory),
        weights.architecture,
        parameters,
        loss="l1",
        towers=towers,
        convs=Arithmetic("float32", convs),
        products=head,
    )
    return step, parameters


def rates_of(weights: Weights, *, towers: bool = False) -> dict[str, Rates]:
    """The paper's: fc weights 10, biases 20 times the base rate; here the base is in RATE."""
    head = {layer.name for layer in weights.architecture.head}
    return {
        name: Rates(2 * RATE) if name.endswith("bias") else Rates(RATE, decay=5e-4)
        for name in weights.parameters
        if towers or name.split("/")[0] in head
    }


def _case(device: Device, weights: Weights, kind: Kind, check: Check) -> Case:
    title, convs, head, conv_tf32, matmul_tf32, asked_us, asked_ratio = kind
    arrays, watched, right = check

    def ours() -> Subject:
        first, parameters = our_step(device, weights, convs, head)
        batch, rates = _batch(device, arrays), rates_of(weights)
        first.run(batch, rates, dropout_key=None)
        change = device.memory.to_numpy(parameters[watched]) - weights.parameters[watched]
        del first, parameters
        device.release()
        step, _ = our_step(device, weights, convs, head)
        return Subject(_with_key(step, batch, rates), lambda: change)

    def theirs(*, graph: bool, update: str, fused: bool = False) -> Subject:
        device.settings(conv_tf32=conv_tf32, matmul_tf32=matmul_tf32)
        options: dict[str, Any] = {"rate": RATE, "update": update, "net": {"fused": fused}}
        make = (device, weights.architecture, weights.parameters, arrays)
        first = TorchStep(*make, **options, dropout=False)
        first.run()
        found = first.parameters[watched].detach().cpu().numpy()
        change = found - weights.parameters[watched]
        del first
        device.release()
        step = TorchStep(*make, **options)
        launch = graphed(device, step) if graph else step.run

        def iteration() -> None:
            launch()
            step.loss.item()

        return Subject(iteration, lambda: change)

    peers: dict[str, Callable[[], Subject]] = {}
    if device.torch is not None:
        peers = {
            "eager, foreach": lambda: theirs(graph=False, update="foreach"),
            "eager, fused": lambda: theirs(graph=False, update="fused"),
            "graph, fused": lambda: theirs(graph=True, update="fused"),
            "graph, fused convs": lambda: theirs(graph=True, update="fused", fused=True),
        }
    units = {"scalar": "fp32"}
    return Case(
        name=f"training step, batch {COUNT}, {title}",
        ours=ours,
        peers=peers,
        costs=training_costs(
            weights.architecture, TARGETS, COUNT, units.get(convs, convs), units.get(head, head)
        ),
        want=right,
        limit=0.05,  # through a sign of each output, which rounding may turn
        on_host=True,
        asked_us=asked_us,
        asked_ratio=asked_ratio,
        note="the loss on the host after each step; relative error: of one fc weight's change",
    )


def _towers_case(device: Device, weights: Weights) -> Case:
    """What it takes where the convolutions learn too; the paper's do not, and nothing is asked."""
    arrays = make_batch(weights.architecture)
    tensor = device.ops().products != "scalar"
    convs, head = ("tf32", "tf32x3") if tensor else ("scalar", "scalar")

    def ours() -> Subject:
        step, _ = our_step(device, weights, convs, head, towers=True)
        return Subject(_with_key(step, _batch(device, arrays), rates_of(weights, towers=True)))

    name = f"training step, batch {COUNT}, convolutions learn, {convs} convs"
    return Case(name=name, ours=ours, on_host=True, rounds=15)


def _batch(device: Device, arrays: Mapping[str, np.ndarray]) -> Batch:
    """With its crops on the device."""
    put = device.memory.from_numpy
    return Batch(
        put(arrays["targets"]), put(arrays["searches"]), arrays["owners"], arrays["labels"]
    )


def _with_key(step: CudaTrainingStep, batch: Batch, rates: Mapping[str, Rates]) -> Launch:
    """An iteration, with a new dropout key each."""
    key = [0]

    def launch() -> None:
        key[0] += 1
        step.run(batch, rates, dropout_key=key[0])

    return launch


def right_change(weights: Weights, arrays: Mapping[str, np.ndarray], watched: str) -> np.ndarray:
    """What one step without dropout does to a weight, on the CPU."""
    from goturn.network import Network
    from goturn.training.step import PlainStep

    own = {name: value.copy() for name, value in weights.parameters.items()}
    network = Network(Weights(weights.architecture, own), "cpu")
    batch = Batch(arrays["targets"], arrays["searches"], arrays["owners"], arrays["labels"])
    PlainStep(network).run(batch, rates_of(weights), dropout_key=None)
    changed = np.asarray(network.ops.to_numpy(network.parameters[watched]))
    change: np.ndarray = changed.astype(np.float64) - weights.parameters[watched]
    return change
