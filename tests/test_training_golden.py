"""Loss, gradients and ten updates against PyTorch's in float64, as recorded: no PyTorch is needed.

``golden/training.json`` holds a few numbers of each tensor, and the largest error that the tensor may
have, in norm and in any element (``write_golden_training``): what ``test_training_torch`` allows, and
besides, for convolutions, what comes of going other ways at kinks, percents, since that test makes
PyTorch go ours and a file cannot.  With an error of norm e the recorded norm is off by e at most, and
the sum of n elements by sqrt(n) e (Cauchy-Schwarz).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from checks import load_backend
from goturn.architecture import goturn
from goturn.network import Network
from goturn.training.step import training_step
from training_case import (
    UPDATES,
    digest,
    dropout_key,
    fixed_batch,
    fixed_weights,
    rates_at,
    summary,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "training.json").read_text())


@pytest.mark.parametrize("name", ["narrow", pytest.param("full", marks=pytest.mark.slow)])
def test_trains_as_recorded(name):
    golden = GOLDEN[name]
    towers = golden["towers"]
    weights = fixed_weights(goturn(golden["widths"]))
    batch = fixed_batch(golden["owners"], golden["batch_seed"])
    if digest(weights, batch) != golden["digest"]:
        pytest.skip(
            f"NumPy {np.__version__} draws other random numbers than {golden['numpy']}, with which "
            "tests/golden/training.json was made; write it anew with tests/write_golden_training.py"
        )
    start = {tensor: value.copy() for tensor, value in weights.parameters.items()}
    network = Network(weights, load_backend("cpu"))
    forward = network.forward(
        batch.targets,
        batch.searches,
        owners=batch.owners,
        dropout_key=dropout_key(0),
        learn="all" if towers else "fc",
    )
    _, d_units = network.ops.l1_loss(forward.units, batch.labels)
    gradients = network.backward(forward, d_units, towers=towers)
    step = training_step(network, learn="all" if towers else "fc")
    for turn, want in enumerate(golden["losses"]):
        rates = rates_at(turn, start, towers=towers, decay=golden["decay"])
        loss = step.run(batch, rates, dropout_key=dropout_key(turn))
        assert abs(loss - want) <= golden["loss_error"], f"loss at update {turn}"
    assert len(golden["losses"]) == UPDATES
    velocities = step.velocities()
    assert set(gradients) == set(velocities) == set(golden["tensors"])
    for tensor, kinds in golden["tensors"].items():
        way = network.parameters[tensor] - start[tensor].astype(np.float64)
        found = {"gradient": gradients[tensor], "velocity": velocities[tensor], "way": way}
        for kind, want in kinds.items():
            compare(found[kind], want, f"{tensor}, {kind}")


def compare(found: np.ndarray, want: dict, what: str) -> None:
    norm, largest = want["error"]
    got = summary(found, want["at"])
    assert abs(got["norm"] - want["norm"]) <= norm, what
    assert abs(got["sum"] - want["sum"]) <= norm * np.sqrt(found.size), what
    assert np.abs(np.subtract(got["values"], want["values"])).max() <= largest, what
