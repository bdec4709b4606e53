"""From the layers of a Caffe file to a network: names, towers, fc layers, preprocessing.

Two naming schemes are known: the authors' (``conv1``..``conv5``, search tower ``conv1_p``..,
``fc6-new``, ``fc7-new``, ``fc7-newb``, ``fc8-shapes``) and OpenCV's (``conv11``..``conv15``, search
tower ``conv21``..``conv25``, ``fc6``, ``fc7``, ``fc8``).  A Caffe file does not say how frames are
preprocessed; the names of the convolutions tell whose convention holds.  Nor does it say whether pool
or LRN comes first, which nothing in it shows: CaffeNet's order, pool first, is taken unless an
architecture is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from goturn.architecture import HEAD_NAMES, SEARCH_SUFFIX, Architecture, goturn, opencv_goturn
from goturn.weights.blobs import Blob, UnusableBlob, read_all
from goturn.weights.model import (
    Weights,
    WeightsError,
    is_finite,
    join_problems,
    loaded_weights,
    not_finite,
)

AUTHORS_FC = {"fc6": "fc6-new", "fc7": "fc7-new", "fc7b": "fc7-newb", "fc8": "fc8-shapes"}
_FC = {
    **{name: name for name in AUTHORS_FC},
    **{theirs: ours for ours, theirs in AUTHORS_FC.items()},
}

_AUTHORS_CONV = re.compile(r"(conv[1-9])(_p)?")
_OPENCV_CONV = re.compile(r"conv([12])([1-9])")

#: Starts a network's name, in caffemodels that we wrote, before the architecture's JSON.
DESCRIPTION_PREFIX = "goturn "

_PARTS = ("weight", "bias")


@dataclass(frozen=True)
class _Named:
    """The layers of a file under our names; the search tower's end in ``SEARCH_SUFFIX``."""

    layers: dict[str, Sequence[Blob]]
    theirs: dict[str, str]
    """Our name of a layer -> the file's."""
    opencv: bool

    @property
    def separate_towers(self) -> bool:
        return len({name.endswith(SEARCH_SUFFIX) for name in self.layers if "conv" in name}) == 2


def _our_name(name: str) -> tuple[str, str] | None:
    """(our name of a layer, the scheme "authors", "opencv" or "" where both agree), if known."""
    if name in _FC:
        return _FC[name], ""
    if match := _AUTHORS_CONV.fullmatch(name):
        return match[1] + (SEARCH_SUFFIX if match[2] else ""), "authors"
    if match := _OPENCV_CONV.fullmatch(name):
        return f"conv{match[2]}" + (SEARCH_SUFFIX if match[1] == "2" else ""), "opencv"
    return None


def assemble(
    path: Path,
    layers: Mapping[str, Sequence[Blob]],
    architecture: Architecture | None,
    description: str = "",
) -> Weights:
    """The network whose layers a Caffe file has.

    Args:
        path: the file, for messages.
        layers: weight and bias of each layer, by the file's names.
        architecture: what the network is; without it, it is inferred from names and shapes.  Whether
            the towers are shared is the file's to say in any case.
        description: the network's name in the file; ours tells the architecture.

    Raises:
        WeightsError: layers missing, unknown or of another shape; all are named at once.
    """
    named = _rename(path, layers)
    if architecture is None:
        architecture = _described(path, description) or _infer(path, named)
    separate = named.separate_towers
    architecture = replace(architecture, shared_towers=not separate)
    shapes = architecture.parameter_shapes()
    blobs = _match(path, named, shapes)
    parameters = read_all(str(path), blobs, shapes)
    if separate and _towers_equal(architecture, parameters):
        architecture = replace(architecture, shared_towers=True)
        parameters = {name: parameters[name] for name in architecture.parameter_shapes()}
    scheme = "OpenCV's" if named.opencv else "the authors'"
    origin = f"{path.name}, a Caffe file with {scheme} layer names"
    return loaded_weights(path, architecture, parameters, origin)


def select_conv_layers(path: Path, layers: Mapping[str, Sequence[Blob]]) -> dict[str, np.ndarray]:
    """conv1..conv5 of a file that may hold anything else besides, as "conv1/weight" and so on.

    Raises:
        WeightsError: a convolution missing, not of CaffeNet's shape or with NaN or infinity in it; all
            are named at once.
    """
    known = {name: blobs for name, blobs in layers.items() if _is_target_conv(name)}
    named = _rename(path, known)
    tower = {layer.name for layer in goturn().convs}
    shapes = {
        name: shape
        for name, shape in goturn().parameter_shapes().items()
        if name.rpartition("/")[0] in tower
    }
    conv = read_all(str(path), _match(path, named, shapes), shapes)
    bad = [name for name, array in conv.items() if not is_finite(array)]
    if bad:
        raise WeightsError(f"{path}: {not_finite(bad)}")
    return conv


def _is_target_conv(name: str) -> bool:
    ours = _our_name(name)
    return ours is not None and ours[1] != "" and not ours[0].endswith(SEARCH_SUFFIX)


def _rename(path: Path, layers: Mapping[str, Sequence[Blob]]) -> _Named:
    """The layers under our names."""
    renamed: dict[str, Sequence[Blob]] = {}
    theirs: dict[str, str] = {}
    problems, schemes = [], set()
    for name, blobs in layers.items():
        known = _our_name(name)
        if known is None:
            problems.append(f"layer {name[:80]!r} is not one of GOTURN's")
            continue
        ours, scheme = known
        if ours in renamed:
            problems.append(f"layers {theirs[ours]} and {name} are the same one")
        renamed[ours], theirs[ours] = blobs, name
        schemes.add(scheme)
    if {"authors", "opencv"} <= schemes:
        problems.append("its layers are named partly as the authors' and partly as OpenCV's")
    if problems:
        raise WeightsError(join_problems(str(path), [*problems, *_unusable(layers)]))
    convs = [name for name in renamed if name.startswith("conv")]
    if convs and all(name.endswith(SEARCH_SUFFIX) for name in convs):  # a search tower alone
        for name in convs:
            shared = name.removesuffix(SEARCH_SUFFIX)
            renamed[shared], theirs[shared] = renamed.pop(name), theirs.pop(name)
    return _Named(renamed, theirs, opencv="opencv" in schemes)


def _described(path: Path, description: str) -> Architecture | None:
    """The architecture that a caffemodel of ours carries in the network's name."""
    if not description.startswith(DESCRIPTION_PREFIX + "{"):
        return None
    try:
        return Architecture.from_json(description.removeprefix(DESCRIPTION_PREFIX))
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error


def _infer(path: Path, named: _Named) -> Architecture:
    """The paper's network or OpenCV's, by the names, with as many and as wide fc layers as there are."""
    present = [name for name in AUTHORS_FC if name in named.layers]
    expected = HEAD_NAMES.get(len(present))
    if expected is None or tuple(present) != expected:
        problem = (
            f"its fc layers are {', '.join(present) or 'none'}; expected one of "
            + ", or ".join(" ".join(names) for names in HEAD_NAMES.values())
            + " (a network pretrained for classification has convolutions alone to give: goturn train "
            "--start takes them)"
        )
        raise WeightsError(join_problems(str(path), [*_unusable(named.layers), problem]))
    widths = []
    for name in present[:-1]:
        blobs = named.layers[name]
        shape = _without_leading_ones(blobs[0].shape, 2) if blobs else ()
        if len(shape) != 2:
            problem = f"{named.theirs[name]} weight has shape {shape}; expected (out, in)"
            raise WeightsError(join_problems(str(path), _unusable(named.layers) or [problem]))
        widths.append(shape[0])
    try:
        return opencv_goturn(widths) if named.opencv else goturn(widths)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error


def _match(path: Path, named: _Named, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Blob]:
    """The blob of each expected tensor; every mismatch is named, by the file's name of the layer."""
    blobs: dict[str, Blob] = {}
    problems = []
    expected_layers = dict.fromkeys(name.rpartition("/")[0] for name in shapes)
    for layer in expected_layers:
        found = named.layers.get(layer)
        if found is None:
            problems.append(f"layer {layer} is missing")
            continue
        theirs = named.theirs[layer]
        problems += _unusable({layer: found})
        if len(found) != len(_PARTS):
            problems.append(f"{theirs} has {len(found)} blobs, expected weight and bias")
            continue
        for part, blob in zip(_PARTS, found, strict=True):
            shape = shapes[f"{layer}/{part}"]
            if isinstance(blob, UnusableBlob):
                continue
            if _without_leading_ones(blob.shape, len(shape)) != shape:
                problems.append(f"{theirs} {part} has shape {blob.shape}, expected {shape}")
            blobs[f"{layer}/{part}"] = blob
    problems += [
        f"layer {named.theirs[layer]} is superfluous"
        for layer in named.layers
        if layer not in expected_layers
    ]
    if problems:
        raise WeightsError(join_problems(str(path), problems))
    return blobs


def _unusable(layers: Mapping[str, Sequence[Blob]]) -> list[str]:
    """What is wrong with the tensors that cannot be read."""
    every = (blob for blobs in layers.values() for blob in blobs)
    problems = [blob.problem for blob in every if isinstance(blob, UnusableBlob)]
    return list(dict.fromkeys(problems))


def _without_leading_ones(shape: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """``shape`` in ``ndim`` dimensions where leading ones allow it: legacy blobs always have four."""
    surplus = len(shape) - ndim
    if surplus > 0 and all(extent == 1 for extent in shape[:surplus]):
        return shape[surplus:]
    return shape


def _towers_equal(architecture: Architecture, parameters: Mapping[str, np.ndarray]) -> bool:
    return all(
        np.array_equal(
            parameters[f"{layer.name}/{part}"], parameters[f"{layer.name}{SEARCH_SUFFIX}/{part}"]
        )
        for layer in architecture.convs
        for part in _PARTS
    )
