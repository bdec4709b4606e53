"""The weights of a network in memory: every tensor by name, with the architecture that explains them."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from goturn.architecture import Architecture
from goturn.confidence import Calibration
from goturn.target_policy import TargetPolicy

#: Elements looked at in one go, so that a check needs no memory in proportion to a tensor.
_BLOCK = 1 << 18

#: Longest list of complaints in one message; a damaged file may have very many.
_MAX_PROBLEMS = 64


class WeightsError(ValueError):
    """Weights, or a file of them, that cannot be used; the message says why in one sentence."""


def join_problems(subject: str, problems: list[str]) -> str:
    """One sentence that names every problem of ``subject``."""
    listed = problems[:_MAX_PROBLEMS]
    if len(problems) > len(listed):
        listed.append(f"and {len(problems) - len(listed)} more")
    return f"{subject}: {'; '.join(listed)}"


def not_finite(names: list[str]) -> str:
    """What is wrong with tensors that hold NaN or infinity."""
    return (
        f"NaN or infinity in {', '.join(names)} (damage, or a training that diverged): "
        "go back to a good copy"
    )


def is_finite(array: np.ndarray) -> bool:
    """Whether a C-contiguous array holds neither NaN nor infinity."""
    flat = array.reshape(-1)
    return all(
        bool(np.isfinite(flat[start : start + _BLOCK]).all())
        for start in range(0, flat.size, _BLOCK)
    )


def byte_view(array: np.ndarray) -> memoryview:
    """The bytes of a C-contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def tensor_hash(shape: tuple[int, ...]) -> hashlib._Hash:
    """A SHA-256 that has taken the shape; feed it the values as float32, in C order."""
    return hashlib.sha256(f"<f4{tuple(shape)}".encode())


def tensor_digest(array: np.ndarray) -> str:
    """SHA-256 (hex) of a C-contiguous tensor's shape and values, the latter as float32."""
    digest, flat = tensor_hash(array.shape), array.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        digest.update(byte_view(flat[start : start + _BLOCK].astype(np.float32, copy=False)))
    return digest.hexdigest()


def combined_digest(architecture_json: str, digests: Mapping[str, str]) -> str:
    """SHA-256 (hex) over the architecture and the digest of every tensor, by name, in order."""
    digest = hashlib.sha256(architecture_json.encode())
    for name, value in digests.items():
        digest.update(f"\n{name} {value}".encode())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Weights:
    """The tensors of a network and the architecture they belong to.

    Raises:
        WeightsError: tensors missing, superfluous, of another shape or dtype than the architecture
            asks for, or with NaN or infinity in them; all such tensors are named at once.
    """

    architecture: Architecture
    parameters: dict[str, np.ndarray]
    """float32, C-contiguous, under the names and in the shapes of
    :meth:`Architecture.parameter_shapes`, and in its order."""
    origin: str = ""
    """Where the weights come from, in one line."""
    calibration: Calibration | None = None
    """What makes a tracker's confidence of likeness (:mod:`goturn.confidence`), where it is known."""
    target_policy: TargetPolicy | None = None
    """How a tracker should keep its target (:mod:`goturn.target_policy`); None for the paper's way."""

    def __post_init__(self) -> None:
        shapes = self.architecture.parameter_shapes()
        problems = [f"{name} is missing" for name in shapes if name not in self.parameters]
        problems += [f"{name} is superfluous" for name in self.parameters if name not in shapes]
        for name, shape in shapes.items():
            if name in self.parameters:
                problems += _tensor_problems(name, self.parameters[name], shape)
        sentences = []
        if problems:
            sentences.append(join_problems("weights do not fit the architecture", problems))
        bad = [
            name for name in shapes if name in self.parameters and _is_bad(self.parameters[name])
        ]
        if bad:
            sentences.append(not_finite(bad))
        if self.calibration is not None and not self.calibration.is_sound():
            sentences.append(
                f"the calibration {tuple(self.calibration)} is not a finite rising curve"
            )
        if self.target_policy is not None:
            try:
                object.__setattr__(self, "target_policy", TargetPolicy.of(self.target_policy))
            except ValueError as error:
                sentences.append(str(error))
        if sentences:
            raise WeightsError("; ".join(sentences))
        ordered = {name: self.parameters[name] for name in shapes}
        object.__setattr__(self, "parameters", ordered)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the architecture and every tensor's float32 values; computed anew at
        each call.

        It names a network that computes one thing, wherever its weights lie: it is the ``digest`` of
        our files, whether they hold float32 or float16 and compressed or not, what ``goturn info``
        prints, and what remains of them through a ``.caffemodel`` that we wrote.  ``origin`` is not in
        it.  Saving as fp16 rounds the values, and so gives other weights with a digest of their own.
        """
        digests = {name: tensor_digest(array) for name, array in self.parameters.items()}
        return combined_digest(self.architecture.to_json(), digests)


def loaded_weights(
    path: str | os.PathLike[str],
    architecture: Architecture,
    parameters: dict[str, np.ndarray],
    origin: str,
    calibration: Calibration | None = None,
    *,
    target_policy: TargetPolicy | None = None,
) -> Weights:
    """:class:`Weights` out of the file at ``path``, which its WeightsError names."""
    try:
        return Weights(architecture, parameters, origin, calibration, target_policy)
    except WeightsError as error:
        raise WeightsError(f"{os.fspath(path)}: {error}") from error


def _tensor_problems(name: str, array: object, shape: tuple[int, ...]) -> list[str]:
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        kind = getattr(array, "dtype", type(array).__name__)
        return [f"{name} is {kind}, expected a float32 array"]
    if array.shape != shape:
        return [f"{name} has shape {array.shape}, expected {shape}"]
    if not array.flags.c_contiguous:
        return [f"{name} is not C-contiguous"]
    return []


def _is_bad(array: object) -> bool:
    """Whether this is a tensor with NaN or infinity in it."""
    return (
        isinstance(array, np.ndarray)
        and np.issubdtype(array.dtype, np.floating)
        and not is_finite(array)
    )


def random_weights(architecture: Architecture, seed: int) -> Weights:
    """Untrained weights from the authors' fillers; the same seed gives the same bits.

    Weights are drawn from N(0, ``init_std``) of their layer; biases are constant.
    Towers that are not shared are drawn independently.  (Training starts from a pretrained AlexNet:
    see :func:`with_conv_layers`.)
    """
    random = np.random.default_rng(seed)
    layers = {layer.name: (layer.init_std, layer.init_bias) for layer in architecture.convs}
    for layer in architecture.convs:
        layers.setdefault(architecture.search_name(layer.name), layers[layer.name])
    layers.update({layer.name: (layer.init_std, layer.init_bias) for layer in architecture.head})

    parameters = {}
    for name, shape in architecture.parameter_shapes().items():
        std, constant = layers[name.rpartition("/")[0]]
        if name.endswith("/bias"):
            parameters[name] = np.full(shape, constant, np.float32)
        else:
            parameters[name] = random.standard_normal(shape, dtype=np.float32)
            parameters[name] *= np.float32(std)
    return Weights(architecture, parameters, origin=f"random, seed {seed}")


def with_conv_layers(
    weights: Weights, conv: Mapping[str, np.ndarray], *, keep: Collection[str] = ()
) -> Weights:
    """``weights`` with the tower's convolutions taken from ``conv``, for both towers.

    Args:
        weights: the network that keeps its fc layers.
        conv: "conv1/weight", "conv1/bias" ... as :func:`read_conv_layers` gives them; arrays are
            copied.
        keep: names of convolutions that stay as they are where ``conv`` has none of their name.

    Raises:
        WeightsError: a tensor of the tower is missing from ``conv``, superfluous or misshapen.
    """
    architecture = weights.architecture
    names = [
        f"{layer.name}/{part}"
        for layer in architecture.convs
        for part in ("weight", "bias")
        if layer.name not in keep or f"{layer.name}/weight" in conv
    ]
    problems = [f"{name} is missing" for name in names if name not in conv]
    problems += [f"{name} is superfluous" for name in conv if name not in names]
    if problems:
        raise WeightsError(join_problems("convolutions do not fit the tower", problems))
    parameters = dict(weights.parameters)
    for name in names:
        layer, _, part = name.rpartition("/")
        for key in {name, f"{architecture.search_name(layer)}/{part}"}:
            parameters[key] = np.array(conv[name], np.float32, order="C")
    return replace(weights, parameters=parameters)


def tensor_bytes(shape: tuple[int, ...], itemsize: int) -> int:
    """Bytes of a tensor, exact for any extents (NumPy's product wraps around)."""
    return math.prod(shape) * itemsize
