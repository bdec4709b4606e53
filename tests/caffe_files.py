"""A small encoder of Caffe's files, with every variant that a reader may meet, written independently."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from goturn.weights import Weights

AUTHORS = {"fc6": "fc6-new", "fc7": "fc7-new", "fc7b": "fc7-newb", "fc8": "fc8-shapes"}

Layers = Mapping[str, tuple[np.ndarray, ...]]


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def number(field_number: int, value: int) -> bytes:
    """A varint field."""
    return varint(field_number << 3) + varint(value)


def blob(array: np.ndarray, shape: str = "packed", data: str = "packed") -> bytes:
    """A BlobProto.

    Args:
        array: the values.
        shape: packed, unpacked or legacy.
        data: packed, unpacked, split or double.
    """
    if shape == "legacy":
        four = (1,) * (4 - array.ndim) + array.shape
        out = b"".join(number(index + 1, extent) for index, extent in enumerate(four))
    elif shape == "unpacked":
        out = field(7, b"".join(number(1, extent) for extent in array.shape))
    else:
        out = field(7, field(1, b"".join(varint(extent) for extent in array.shape)))
    values = array.astype("<f4").reshape(-1)
    if data == "unpacked":
        return out + b"".join(varint(5 << 3 | 5) + value.tobytes() for value in values)
    if data == "split":
        half = values.size // 2
        return out + field(5, values[:half].tobytes()) + field(5, values[half:].tobytes())
    if data == "double":
        return out + field(8, values.astype("<f8").tobytes())
    return out + field(5, values.tobytes()) + field(6, values.tobytes())  # diff: to be ignored


def layer(name: str, blobs: list[bytes], v1: bool = False) -> bytes:
    """A LayerParameter or V1LayerParameter, as a field of the network, with some fields to ignore."""
    if v1:
        body = field(2, b"bottom") + field(4, name.encode()) + number(5, 4)
        return field(2, body + b"".join(field(6, item) for item in blobs))
    body = field(1, name.encode()) + field(2, b"Convolution") + field(3, b"bottom")
    return field(100, body + b"".join(field(7, item) for item in blobs) + number(10, 1))


def net(layers: Layers, *, v1: bool = False, shape: str = "packed", data: str = "packed") -> bytes:
    """A NetParameter."""
    out = field(1, b"CaffeNet") + layer("data", [], v1)
    for name, arrays in layers.items():
        out += layer(name, [blob(array, shape, data) for array in arrays], v1)
    return out


def snapshot(path: Path, layers: Layers, dtype: str = "<f4", **options: object) -> None:
    """Caffe's HDF5 snapshot."""
    with h5py.File(path, "w") as file:
        for name, arrays in layers.items():
            for index, array in enumerate(arrays):
                file.create_dataset(f"data/{name}/{index}", data=array.astype(dtype), **options)


def caffe_layers(weights: Weights, scheme: str = "authors", towers: str = "both") -> dict:
    """The tensors of a network under a scheme's layer names; ``towers``: both, target or search."""
    architecture, out = weights.architecture, {}

    def arrays(name: str) -> tuple[np.ndarray, np.ndarray]:
        return weights.parameters[f"{name}/weight"], weights.parameters[f"{name}/bias"]

    for conv in architecture.convs:
        target, search = {
            "authors": (conv.name, f"{conv.name}_p"),
            "opencv": (f"conv1{conv.name[-1]}", f"conv2{conv.name[-1]}"),
        }[scheme]
        if towers != "search":
            out[target] = arrays(conv.name)
        if towers != "target":
            out[search] = arrays(architecture.search_name(conv.name))
    for linear in architecture.head:
        out[AUTHORS[linear.name] if scheme == "authors" else linear.name] = arrays(linear.name)
    return out
