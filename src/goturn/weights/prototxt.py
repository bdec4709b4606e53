"""The network as Caffe's text description (``.prototxt``), in OpenCV's names or the authors'."""

from __future__ import annotations

import re
from dataclasses import dataclass

from goturn.architecture import HEAD_NAMES, LRN, SEARCH_SUFFIX, Architecture, Conv, TowerLayer
from goturn.weights.caffe_names import AUTHORS_FC
from goturn.weights.model import WeightsError

_TOWER_NAME = re.compile(r"(conv|pool|norm)([1-9])")


@dataclass(frozen=True)
class LayerNames:
    """A scheme's names: of the inputs, and of our layers."""

    inputs: tuple[str, str]
    """Target, search."""
    target: dict[str, str]
    search: dict[str, str]
    head: dict[str, str]


def layer_names(architecture: Architecture, scheme: str) -> LayerNames:
    """The names of a network's layers in the scheme "opencv" or "authors".

    Raises:
        WeightsError: an unknown scheme, or layers that it has no names for.
    """
    if architecture.match is not None:
        raise WeightsError(
            "Caffe has no layer for the match of target and search that this network's first fc layer "
            "reads; save it in goturn's format (.h5)"
        )
    tower = [layer.name for layer in architecture.tower]
    head = tuple(layer.name for layer in architecture.head)
    odd = [name for name in tower if not _TOWER_NAME.fullmatch(name)]
    if odd or head != HEAD_NAMES.get(len(head)):
        raise WeightsError(
            f"layers {', '.join([*odd, *head])} have no names in Caffe's GOTURN; expected convN, poolN "
            "and normN, then fc6 (fc7 (fc7b)) fc8"
        )
    if scheme == "opencv":
        return LayerNames(
            inputs=("data1", "data2"),
            target={name: f"{name[:4]}1{name[4]}" for name in tower},
            search={name: f"{name[:4]}2{name[4]}" for name in tower},
            head={name: name for name in head},
        )
    if scheme == "authors":
        return LayerNames(
            inputs=("target", "image"),
            target={name: name for name in tower},
            search={name: name + SEARCH_SUFFIX for name in tower},
            head={name: AUTHORS_FC[name] for name in head},
        )
    raise WeightsError(f'names must be "opencv" or "authors"; got {scheme!r}')


def prototxt(architecture: Architecture, scheme: str) -> str:
    """The text; raises as :func:`layer_names`."""
    names = layer_names(architecture, scheme)
    size = architecture.preprocessing.input_size
    blocks = [_header(architecture), 'name: "GOTURN"']
    for name in names.inputs:
        shape = f"dim: 1 dim: 3 dim: {size} dim: {size}"
        blocks.append(_layer(name, "Input", (), name, f"input_param {{ shape {{ {shape} }} }}"))

    tops = []
    for source, tower in zip(names.inputs, (names.target, names.search), strict=True):
        blob = source
        for layer in architecture.tower:
            name = tower[layer.name]
            blocks.append(_tower_layer(layer, name, blob))
            blob = name
            if isinstance(layer, Conv):
                blocks.append(_layer(name.replace("conv", "relu"), "ReLU", (blob,), blob))
        tops.append(blob)
    blocks.append(_layer("concat", "Concat", tuple(tops), "concat", "concat_param { axis: 1 }"))

    blob = "concat"
    for linear in architecture.head:
        settings = f"inner_product_param {{ num_output: {linear.features} }}"
        blocks.append(
            _layer(names.head[linear.name], "InnerProduct", (blob,), linear.name, settings)
        )
        blob = linear.name
        if linear.relu:
            blocks.append(_layer(blob.replace("fc", "relu"), "ReLU", (blob,), blob))
    if scheme == "opencv":
        factor = size / architecture.preprocessing.output_scale
        blocks.append(
            _layer("scale", "Power", (blob,), "scale", f"power_param {{ scale: {factor!r} }}")
        )
    return "\n".join(blocks) + "\n"


def _header(architecture: Architecture) -> str:
    """What the network expects of its input, which Caffe's format has no place for."""
    p = architecture.preprocessing
    mean = ", ".join(f"{value:g}" for value in p.mean)
    return "\n".join(
        [
            f"# GOTURN. Inputs: {p.input_size} x {p.input_size} pixels, {p.colour_order}, 0..255 minus "
            f"({mean}); the crop is {p.context_factor:g} times the box.",
            f"# fc8 spans the crop with 0..{p.output_scale:g}: x1, y1, x2, y2.",
            "# cv2.TrackerGOTURN always feeds 227 x 227 pixels in BGR minus 128 on every channel: with",
            "# another mean above, results there are wrong unless the weights are written with that "
            "mean folded in.",
        ]
    )


def _tower_layer(layer: TowerLayer, name: str, bottom: str) -> str:
    if isinstance(layer, Conv):
        settings = (
            f"convolution_param {{ num_output: {layer.channels} kernel_size: {layer.kernel} "
            f"stride: {layer.stride} pad: {layer.pad} group: {layer.groups} }}"
        )
        return _layer(name, "Convolution", (bottom,), name, settings)
    if isinstance(layer, LRN):
        settings = (
            f"lrn_param {{ local_size: {layer.size} alpha: {layer.alpha!r} beta: {layer.beta!r} "
            f"k: {layer.k!r} }}"
        )
        return _layer(name, "LRN", (bottom,), name, settings)
    settings = f"pooling_param {{ pool: MAX kernel_size: {layer.kernel} stride: {layer.stride} }}"
    return _layer(name, "Pooling", (bottom,), name, settings)


def _layer(name: str, kind: str, bottoms: tuple[str, ...], top: str, settings: str = "") -> str:
    lines = [f'  name: "{name}"', f'  type: "{kind}"']
    lines += [f'  bottom: "{bottom}"' for bottom in bottoms]
    lines.append(f'  top: "{top}"')
    if settings:
        lines.append(f"  {settings}")
    return "layer {\n" + "\n".join(lines) + "\n}"
