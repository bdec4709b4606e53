"""Caffe's binary weights (``.caffemodel``): which layers a file has and where their tensors lie.

Field numbers are those of Caffe's ``caffe.proto``.  Both generations are read: NetParameter.layer
(LayerParameter) and the older NetParameter.layers (V1LayerParameter); blobs with a shape and blobs with
the legacy num, channels, height, width; floats packed or one by one; doubles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from goturn.weights.blobs import BLOCK_BYTES, Blob, pread_into
from goturn.weights.model import WeightsError, byte_view
from goturn.weights.protobuf import BYTES, FIXED32, FIXED64, VARINT, Field, WireReader

# NetParameter
_NET_NAME, _NET_LAYERS_V1, _NET_LAYER = 1, 2, 100
#: Per generation of layer messages: the fields of its name and of its blobs.
_LAYER_FIELDS = {_NET_LAYER: (1, 7), _NET_LAYERS_V1: (4, 6)}
# BlobProto; 1 to 4 are num, channels, height, width
_LEGACY = (1, 2, 3, 4)
_DATA, _SHAPE, _DOUBLE_DATA = 5, 7, 8
# BlobShape
_DIM = 1

_MAX_NAME_BYTES = 1 << 10
_MAX_NET_NAME_BYTES = 1 << 16
_MAX_DIMS = 8
_MAX_EXTENT = 1 << 31
_MAX_LAYERS = 10_000
_MAX_SEGMENTS = 1_000


@dataclass(frozen=True)
class _Segment:
    """Values that lie one after another, ``stride`` bytes apart, the key's byte first if unpacked."""

    start: int
    count: int
    width: int
    stride: int


@dataclass
class CaffeBlob:
    """A BlobProto in an open file (a :class:`goturn.weights.blobs.Blob`)."""

    descriptor: int
    shape: tuple[int, ...] = ()
    segments: list[_Segment] = field(default_factory=list)

    def read_into(self, out: np.ndarray) -> None:
        """See :meth:`goturn.weights.blobs.Blob.read_into`."""
        flat, done = out.reshape(-1), 0
        for segment in self.segments:
            self._read_segment(segment, flat[done : done + segment.count])
            done += segment.count

    def _read_segment(self, segment: _Segment, out: np.ndarray) -> None:
        if segment.stride == out.itemsize and out.dtype == np.dtype("<f4"):
            pread_into(self.descriptor, byte_view(out), segment.start)
            return
        step = BLOCK_BYTES // segment.stride
        for start in range(0, segment.count, step):
            target = out[start : start + step]
            block = np.empty((target.size, segment.stride), np.uint8)
            offset = segment.start + start * segment.stride
            pread_into(self.descriptor, byte_view(block), offset)
            values = np.ascontiguousarray(block[:, segment.stride - segment.width :])
            with np.errstate(over="ignore", invalid="ignore"):
                target[...] = values.view(f"<f{segment.width}").reshape(-1)


@dataclass
class CaffeModel:
    """What a ``.caffemodel`` holds."""

    name: str
    layers: dict[str, list[Blob]]
    """The blobs of each layer that has any, by the layer's name in the file."""


@contextmanager
def open_caffemodel(path: Path) -> Iterator[CaffeModel]:
    """The layers of the file at ``path``, whose blobs can be read inside the block.

    Raises:
        WeightsError: not a NetParameter message, or a damaged one.
    """
    with path.open("rb") as file:
        try:
            model = _parse_net(WireReader(file.fileno()))
        except WeightsError as error:
            raise WeightsError(
                f"{path}: neither HDF5 nor a Caffe model, or damaged ({error}); get a fresh copy"
            ) from error
        if not model.layers:
            raise WeightsError(
                f"{path}: a Caffe model without weights, or another kind of file; give a .caffemodel "
                "from a snapshot of training"
            )
        yield model


def _parse_net(reader: WireReader) -> CaffeModel:
    model = CaffeModel("", {})
    position = 0
    while position < reader.size:
        entry = reader.field(position, reader.size)
        position = entry.end
        if entry.number == _NET_NAME:
            model.name = _text(reader, entry, _MAX_NET_NAME_BYTES)
        elif entry.number in _LAYER_FIELDS:
            name, blobs = _parse_layer(reader, entry, *_LAYER_FIELDS[entry.number])
            if blobs and name in model.layers:
                raise WeightsError(f"two layers with weights are named {name[:80]!r}")
            if blobs:
                model.layers[name] = blobs
            if len(model.layers) > _MAX_LAYERS:
                raise WeightsError(f"more than {_MAX_LAYERS} layers")
    return model


def _parse_layer(
    reader: WireReader, layer: Field, name_number: int, blob_number: int
) -> tuple[str, list[Blob]]:
    _expect(layer, BYTES)
    name, blobs = "", []
    position = layer.start
    while position < layer.end:
        entry = reader.field(position, layer.end)
        position = entry.end
        if entry.number == name_number:
            name = _text(reader, entry, _MAX_NAME_BYTES)
        elif entry.number == blob_number:
            blobs.append(_parse_blob(reader, entry))
    return name, blobs


def _parse_blob(reader: WireReader, blob: Field) -> Blob:
    _expect(blob, BYTES)
    legacy, shape = [0, 0, 0, 0], None
    floats: list[_Segment] = []
    doubles: list[_Segment] = []
    position = blob.start
    while position < blob.end:
        entry = reader.field(position, blob.end)
        if entry.number in _LEGACY:
            _expect(entry, VARINT)
            legacy[entry.number - 1] = entry.value
        elif entry.number == _SHAPE:
            shape = [*(shape or ()), *_parse_shape(reader, entry)]
        elif entry.number == _DATA:
            entry = _parse_values(reader, position, blob.end, entry, floats)
        elif entry.number == _DOUBLE_DATA:
            entry = _parse_values(reader, position, blob.end, entry, doubles)
        position = entry.end
    dims = legacy if shape is None else shape
    if len(dims) > _MAX_DIMS or any(extent >= _MAX_EXTENT for extent in dims):
        raise WeightsError("a blob with an impossible shape")
    segments = doubles or floats
    count = sum(segment.count for segment in segments)
    if count != math.prod(dims):
        raise WeightsError(f"a blob of shape {tuple(dims)} has {count} values")
    return CaffeBlob(reader.descriptor, tuple(dims), segments)


def _parse_values(
    reader: WireReader, position: int, end: int, entry: Field, out: list[_Segment]
) -> Field:
    """Notes where values lie; gives the last field that belongs to them."""
    width = 4 if entry.number == _DATA else 8
    if len(out) == _MAX_SEGMENTS:
        raise WeightsError(f"a blob in more than {_MAX_SEGMENTS} pieces")
    if entry.wire_type == BYTES:
        if entry.size % width:
            raise WeightsError(f"a blob with {entry.size} bytes of {width}-byte values")
        out.append(_Segment(entry.start, entry.size // width, width, width))
        return entry
    _expect(entry, FIXED32 if width == 4 else FIXED64)
    key, stride = entry.number << 3 | entry.wire_type, 1 + width
    if entry.start != position + 1:  # a key spelt with needless bytes
        out.append(_Segment(entry.start, 1, width, width))
        return entry
    count = reader.run_length(position, end, key, width)
    out.append(_Segment(position, count, width, stride))
    return Field(entry.number, entry.wire_type, position, position + count * stride)


def _parse_shape(reader: WireReader, shape: Field) -> list[int]:
    _expect(shape, BYTES)
    dims: list[int] = []
    position = shape.start
    while position < shape.end and len(dims) <= _MAX_DIMS:
        entry = reader.field(position, shape.end)
        position = entry.end
        if entry.number == _DIM and entry.wire_type == BYTES:
            dims += reader.varints(entry, _MAX_DIMS)
        elif entry.number == _DIM:
            _expect(entry, VARINT)
            dims.append(entry.value)
    return dims


def _text(reader: WireReader, entry: Field, limit: int) -> str:
    return reader.read(entry, limit).decode("utf-8", errors="replace")


def _expect(entry: Field, wire_type: int) -> None:
    if entry.wire_type != wire_type:
        raise WeightsError(
            f"protobuf field {entry.number} has wire type {entry.wire_type}, expected {wire_type}"
        )
