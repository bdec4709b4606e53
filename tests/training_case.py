"""A network, a batch and a solver's rates, fixed to the last bit, for the tests of training.

``torch_goturn`` trains the network on them in PyTorch; ``test_training_torch`` and
``test_training_golden`` hold the library to what it finds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from goturn.architecture import CONV_INIT_STD, Architecture, Linear
from goturn.ops.interface import layer_key
from goturn.ops.reference import ReferenceOps
from goturn.training.step import Batch, Rates
from goturn.weights import Weights, random_weights

UPDATES = 10

#: From this update on the rates are a tenth.  What a solver does next shows where it keeps the rate:
#: inside the velocity (Caffe) the old gradients go on at the rate they came with, outside it
#: (``torch.optim.SGD``) they are scaled down with the new ones.
SLOWER_FROM = 5

WEIGHT_SEED = 20160916

#: The paper's weight decay, and one a thousand times as strong.  In ten updates the paper's does about
#: as little as rounding: without it most tensors come out the same.
DECAY, STRONG_DECAY = 5e-4, 0.5

#: Standard deviation of each layer's weights, times sqrt(fan in / 2); 1 where not named, which keeps
#: the size of what passes a layer.  Under the authors' N(0, 0.01) it shrinks from layer to layer until
#: gradients are noise.  Outputs of conv1 and conv2 stay large, as CaffeNet's are, so that LRN has
#: something to normalise (sums of squares near 1 / alpha); what follows brings features down to order
#: one.  fc layers take less, so that ten updates at the paper's rates bring the loss down.
GAINS = {"conv2": 0.5, "conv3": 0.02, "conv5": 0.5, "fc6": 0.5, "fc7": 0.5, "fc7b": 0.5}

#: Side of the squares that the images are made of, pixels: white noise alone would average out, and
#: give every crop nearly the same features.
SQUARE = 8


def fixed_weights(architecture: Architecture) -> Weights:
    """Weights under which every gradient is of a size that tells; the same bits on every machine."""
    weights = random_weights(architecture, WEIGHT_SEED)
    drawn = {layer.name: layer.init_std for layer in architecture.head}
    for name, value in weights.parameters.items():
        layer, kind = name.split("/")
        if kind == "weight":
            spread = gain(layer) * np.sqrt(2 / np.prod(value.shape[1:]))
            np.multiply(value, np.float32(spread / drawn.get(layer, CONV_INIT_STD)), out=value)
    return weights


def gain(layer: str) -> float:
    return GAINS.get(layer.removesuffix("_p"), 1.0)


def fixed_batch(owners: Sequence[int], seed: int, side: int = 227) -> Batch:
    """Squares and noise for each target and each search window, and a box in each of these.

    Drawn with Philox's ``random``, the bits of a counter over a power of two, which NumPy has no reason
    to change; ``normal`` and ``integers`` have been.  Whole grey levels less the mean are exact.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    targets = max(owners) + 1
    count, squares = targets + len(owners), -(-side // SQUARE)
    coarse = rng.random((count, 3, squares, squares))
    coarse = coarse.repeat(SQUARE, axis=2).repeat(SQUARE, axis=3)[:, :, :side, :side]
    pixels = np.floor(coarse * 192 + rng.random(coarse.shape) * 64)
    crops = pixels.astype(np.float32) - np.array([104, 117, 123], np.float32).reshape(3, 1, 1)
    corners = rng.random((len(owners), 4)) * 2.5 + [1.25, 1.25, 6.25, 6.25]
    return Batch(
        crops[:targets], crops[targets:], np.array(owners, np.int32), corners.astype(np.float32)
    )


def digest(weights: Weights, batch: Batch) -> str:
    """SHA-256 (hex) of all that training starts from."""
    found = hashlib.sha256(weights.digest.encode())
    for array in (batch.targets, batch.searches, batch.owners, batch.labels):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def rates_at(
    turn: int, names: Iterable[str], *, towers: bool, decay: float = DECAY, loss: str = "l1"
) -> dict[str, Rates]:
    """What each parameter learns at, at update ``turn`` from 0: the paper's rates, soon a tenth.

    Weights of fc layers learn at 1e-5 and decay, biases at twice that and do not.  Convolutions do as
    fc layers, if at all, and more slowly where weights are small: gradients are then large.  L2's
    gradients are larger than L1's, by as much as predictions are off.
    """
    base = (1e-5 if loss == "l1" else 2e-6) * (0.1 if turn >= SLOWER_FROM else 1.0)
    found = {}
    for name in names:
        layer, kind = name.split("/")
        conv = layer.startswith("conv")
        if conv and not towers:
            continue
        if kind == "weight":
            found[name] = Rates(base * gain(layer) ** 2 if conv else base, 0.9, decay)
        else:
            found[name] = Rates(2 * base, 0.9, 0.0)
    return found


def dropout_key(turn: int) -> int:
    return 1000 + turn


def fixed_masks(head: Sequence[Linear], count: int, turn: int) -> dict[str, np.ndarray]:
    """Which values dropout keeps at update ``turn``, by layer: the library's bits, as it defines them."""
    return {
        layer.name: ReferenceOps().dropout_mask(
            (count, layer.features), ratio=layer.dropout, key=layer_key(dropout_key(turn), index)
        )
        for index, layer in enumerate(head)
        if layer.dropout
    }


def summary(tensor: np.ndarray, at: Sequence[int]) -> dict[str, Any]:
    """A few numbers that stand for ``tensor``: its sum and norm, and its values at ``at``, flattened."""
    flat = tensor.reshape(-1).astype(np.float64)
    return {
        "sum": float(flat.sum()),
        "norm": float(np.linalg.norm(flat)),
        "values": [float(flat[i]) for i in at],
    }
