"""Writes ``.caffemodel`` and ``.prototxt``: for OpenCV 4's ``cv2.dnn`` and ``TrackerGOTURN``, for Caffe.

The network's name in the ``.caffemodel`` carries our description of it, so that
:func:`goturn.weights.load` gets everything back; Caffe and OpenCV ignore it.

``cv2.TrackerGOTURN`` prepares its crops in its own way and cannot be told otherwise: it subtracts 128
from every channel, in BGR order, at 227 x 227.  A network trained with another mean sees shifted
colours there, unless the difference is put into the bias of the first convolution: ``fold_mean=128``
does that, and is exact to rounding because that convolution has no padding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from goturn.weights.atomic import naming, replacing_together
from goturn.weights.caffe_names import DESCRIPTION_PREFIX
from goturn.weights.model import Weights, WeightsError, byte_view
from goturn.weights.prototxt import LayerNames, layer_names, prototxt

#: Protobuf's own limit on a message.
_MAX_BYTES = (1 << 31) - 1

_Tensors = tuple[np.ndarray, np.ndarray]


def save_caffemodel(
    weights: Weights,
    path: str | os.PathLike[str],
    *,
    names: str = "opencv",
    fold_mean: float | None = None,
) -> None:
    """Writes ``weights`` to ``path`` and the network's description beside it, as ``.prototxt``.

    Both files are complete on the disk before the first takes its name, so that only a crash between
    two renames can leave a new one beside an old one.

    Both towers are written, equal or not.  In OpenCV's layout a last layer ``scale`` turns the output
    into pixels of the input, as ``cv2.TrackerGOTURN`` expects.

    Args:
        weights: what to write; layers named conv1.. and fc6, fc7, fc7b, fc8.
        path: ends in ``.caffemodel``.
        names: "opencv" (inputs ``data1``, ``data2``; output ``scale``) or "authors" (inputs ``target``,
            ``image``; output ``fc8``).
        fold_mean: change the first convolution's bias so that the network expects this mean on every
            channel instead of its own; 128 for ``cv2.TrackerGOTURN``.

    Raises:
        WeightsError: layers that the scheme has no names for, a mean that cannot be folded, or a
            network beyond protobuf's 2 GiB.
        OSError: a file cannot be written.
    """
    target = Path(path)
    if target.suffix != ".caffemodel":
        raise WeightsError(f"{target}: give a path that ends in .caffemodel")
    if fold_mean is not None:
        weights = with_mean(weights, fold_mean)
    architecture = weights.architecture
    known = layer_names(architecture, names)
    text = target.with_suffix(".prototxt")
    # The weights are renamed last: where a first export was cut off in between there are none, rather
    # than weights without their text.
    with replacing_together([text, target]) as (new_text, new_model):
        with naming(target), new_model.open("wb") as file:
            _write_net(file, weights, known)
        with naming(text):
            new_text.write_text(prototxt(architecture, names), encoding="utf-8")


def with_mean(weights: Weights, mean: float) -> Weights:
    """The same network for crops from which ``mean`` was subtracted, on every channel.

    w (x - m) + b = w (x - mean) + b + w (mean - m): the last term, summed over each filter, goes into
    the bias.  Near an image's border that would fail where the convolution pads with zeros.

    Raises:
        WeightsError: the first convolution pads.
    """
    architecture = weights.architecture
    first = architecture.convs[0]
    if first.pad:
        raise WeightsError(
            f"{first.name} pads its input by {first.pad}: another mean cannot be folded into its bias"
        )
    if not np.isfinite(mean) or abs(mean) > 255:
        raise WeightsError(f"a mean must lie within the range of pixels, 0..255; got {mean}")
    difference = float(mean) - np.array(architecture.preprocessing.mean, np.float64)
    parameters = dict(weights.parameters)
    for layer in {first.name, architecture.search_name(first.name)}:
        shift = parameters[f"{layer}/weight"].sum(axis=(2, 3), dtype=np.float64) @ difference
        parameters[f"{layer}/bias"] = (parameters[f"{layer}/bias"] + shift).astype(np.float32)
    preprocessing = replace(architecture.preprocessing, mean=(float(mean),) * 3)
    return Weights(replace(architecture, preprocessing=preprocessing), parameters, weights.origin)


# -- the binary file -----------------------------------------------------------------------------


def _write_net(file: BinaryIO, weights: Weights, names: LayerNames) -> None:
    """A NetParameter message; tensors go from memory to the file one by one."""
    description = DESCRIPTION_PREFIX + weights.architecture.to_json()
    layers = [
        (_layer_header(name, kind, tensors), tensors)
        for name, kind, tensors in _layers(weights, names)
    ]
    head = _bytes_field(1, description.encode())
    total = len(head)
    total += sum(len(header) + _layer_size(tensors) for header, tensors in layers)
    if total > _MAX_BYTES:
        raise WeightsError(f"{total} bytes exceed what a caffemodel can hold ({_MAX_BYTES})")
    file.write(head)
    for header, tensors in layers:
        file.write(header)
        for array in tensors:
            file.write(_blob_header(array))
            file.write(byte_view(array.astype("<f4", copy=False)))


def _layers(weights: Weights, names: LayerNames) -> Iterator[tuple[str, str, _Tensors]]:
    """(name in the file, Caffe's type, weight and bias) of each layer that has weights."""
    architecture, parameters = weights.architecture, weights.parameters

    def tensors(layer: str) -> _Tensors:
        return parameters[f"{layer}/weight"], parameters[f"{layer}/bias"]

    for conv in architecture.convs:
        yield names.target[conv.name], "Convolution", tensors(conv.name)
    for conv in architecture.convs:
        yield names.search[conv.name], "Convolution", tensors(architecture.search_name(conv.name))
    for linear in architecture.head:
        yield names.head[linear.name], "InnerProduct", tensors(linear.name)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _key(number: int) -> bytes:
    """The key of a length-delimited field."""
    return _varint(number << 3 | 2)


def _bytes_field(number: int, value: bytes) -> bytes:
    return _key(number) + _varint(len(value)) + value


def _blob_body(array: np.ndarray) -> bytes:
    """BlobProto up to its values: shape (7), then key and length of data (5)."""
    dims = b"".join(_varint(extent) for extent in array.shape)
    return _bytes_field(7, _bytes_field(1, dims)) + _key(5) + _varint(array.nbytes)


def _blob_header(array: np.ndarray) -> bytes:
    """Key and length of a blob in a layer (7), and the blob up to its values."""
    body = _blob_body(array)
    return _key(7) + _varint(len(body) + array.nbytes) + body


def _layer_size(tensors: _Tensors) -> int:
    """Bytes of a layer's blobs."""
    return sum(len(_blob_header(array)) + array.nbytes for array in tensors)


def _layer_header(name: str, kind: str, tensors: _Tensors) -> bytes:
    """Key and length of a layer in the network (100), its name (1) and type (2)."""
    body = _bytes_field(1, name.encode()) + _bytes_field(2, kind.encode())
    return _key(100) + _varint(len(body) + _layer_size(tensors)) + body
