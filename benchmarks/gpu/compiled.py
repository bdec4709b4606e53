"""Rows against torch.compile, which takes long: apart, so that a limit on it costs no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from goturn.weights import Weights
from gpu import networks, trainings
from gpu.device import Device
from gpu.networks import make_crops, right_answer, torch_subject
from gpu.rows import Case, Subject
from gpu.torch_network import TorchNetwork
from gpu.torch_training import TorchStep, graphed

#: All that the compiler has to offer but graphs, which are captured here as for the others.
MODE = "max-autotune-no-cudagraphs"

#: Objects and rows of ``networks``, those with a figure asked for first.
CHOSEN = ((1, "fp16"), (1, "fp32"), (64, "fp16"), (64, "bf16"), (1, "tf32"), (1, "bf16"))


def cases(device: Device, weights: Weights) -> Iterator[Case]:
    """The network, then the training step; ours beside them, measured in the same turns."""
    if device.torch is None:
        return
    yield _network(device, weights, *CHOSEN[0])
    yield _network(device, weights, *CHOSEN[1])
    yield _training(device, weights)
    for count, title in CHOSEN[2:]:
        if title in device.ops().precisions:
            yield _network(device, weights, count, title)


def _network(device: Device, weights: Weights, count: int, title: str) -> Case:
    crops = make_crops(weights.architecture, 2 * count)
    want = right_answer(weights, crops, count)
    how = networks.How(title, title)
    case = networks.network_case(device, weights, how, crops=crops, want=want)

    def compiled(**options: Any) -> Subject:
        device.settings(conv_tf32=title == "tf32", matmul_tf32=title == "tf32")
        device.torch.compiler.reset()
        net = TorchNetwork(device, weights.architecture, weights.parameters, title, **options)
        function = device.torch.compile(net.forward, mode=MODE, dynamic=False)
        return torch_subject(device, function, crops, case.calls, graph=True)

    peers: dict[str, Callable[[], Subject]] = {
        "compiled graph, channels_last": compiled,
        "graph, channels_last": case.peers["graph, channels_last"],
    }
    return replace(case, name=f"{case.name} (compiled)", peers=peers)


def _training(device: Device, weights: Weights) -> Case:
    arrays = trainings.make_batch(weights.architecture)
    watched = f"{weights.architecture.head[-2].name}/weight"

    def right() -> Any:
        return trainings.right_change(weights, arrays, watched)

    case = trainings._case(device, weights, trainings.KINDS[0], (arrays, watched, right))

    def compiled() -> Subject:
        device.settings(conv_tf32=True, matmul_tf32=False)
        device.torch.compiler.reset()
        step = TorchStep(
            device, weights.architecture, weights.parameters, arrays,
            rate=trainings.RATE, compile_mode=MODE,
        )  # fmt: skip
        launch = graphed(device, step)

        def iteration() -> None:
            launch()
            step.loss.item()

        return Subject(iteration)

    peers = {"compiled graph": compiled, "graph, fused": case.peers["graph, fused"]}
    return replace(case, name=f"{case.name} (compiled)", peers=peers)
