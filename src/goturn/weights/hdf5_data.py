"""The values of an HDF5 dataset, read from the places where HDF5 says that its bytes are.

HDF5's own reading inflates a chunk to whatever its gzip stream holds; here a chunk never grows beyond
its declared size.  It also works in several threads at once, and hashes while the bytes are in cache.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from goturn.weights.blobs import BLOCK_BYTES, pread_into
from goturn.weights.model import WeightsError, byte_view, tensor_hash

#: Incompressible data may come out of gzip this much larger than they went in, in bytes.
_GZIP_SLACK = 1024


@dataclass(frozen=True)
class Chunk:
    """A piece of a dataset as it lies in the file."""

    offset: int
    size: int
    filter_mask: int
    """Bit i is set where filter i was not applied to this chunk."""


@dataclass
class StoredTensor:
    """A float dataset in an open HDF5 file (a :class:`goturn.weights.blobs.Blob`)."""

    name: str
    """Path inside the file."""
    descriptor: int
    shape: tuple[int, ...]
    dtype: np.dtype
    """As stored: "<f2", "<f4" or "<f8"; "i1" with ``scale``."""
    chunk_shape: tuple[int, ...]
    """``shape`` itself for a contiguous dataset."""
    chunks: Sequence[Chunk]
    """In C order of their position."""
    filters: tuple[str, ...] = ()
    """Of "shuffle" and "gzip", in the order in which the writer applied them."""
    expected_digest: str | None = None
    """SHA-256 (hex) of shape and float32 values, checked by :meth:`read_into` where given."""
    scale: StoredTensor | None = None
    """Of int8 values: what each row is multiplied by, (shape[0],)."""

    def read_into(self, out: np.ndarray) -> None:
        """See :meth:`goturn.weights.blobs.Blob.read_into`; also checks the digest."""
        digest = None if self.expected_digest is None else tensor_hash(self.shape)
        values = out.reshape(self.shape)
        if self.chunk_shape == self.shape and not self.filters and self.scale is None:
            self._read_plain(values, digest)
        else:
            self._read_chunks(values, digest)
        if digest is not None and digest.hexdigest() != self.expected_digest:
            raise WeightsError(
                f"{self.name} does not match its SHA-256 (altered or damaged; get a fresh copy)"
            )

    def _read_plain(self, out: np.ndarray, digest: hashlib._Hash | None) -> None:
        """One run of bytes, in blocks."""
        flat, step = out.reshape(-1), BLOCK_BYTES // self.dtype.itemsize
        for start in range(0, flat.size, step):
            target = flat[start : start + step]
            block = target if self.dtype == out.dtype else np.empty(target.size, self.dtype)
            offset = self.chunks[0].offset + start * self.dtype.itemsize
            pread_into(self.descriptor, byte_view(block), offset)
            if block is not target:
                _convert(block, target)
            if digest is not None:
                digest.update(byte_view(target))

    def _read_chunks(self, out: np.ndarray, digest: hashlib._Hash | None) -> None:
        """Bands of rows, each as high as a chunk, so that values come in C order for the digest."""
        starts = [
            range(0, whole, part) for whole, part in zip(self.shape, self.chunk_shape, strict=True)
        ]
        chunks = iter(self.chunks)
        scale = None
        if self.scale is not None:
            scale = np.empty(self.scale.shape, np.float32)
            self.scale.read_into(scale)
        for row in starts[0]:
            target = out[row : row + self.chunk_shape[0]]
            band = target if self.dtype == out.dtype else np.empty(target.shape, self.dtype)
            for origin in itertools.product(*starts[1:]):
                columns = zip(origin, self.chunk_shape[1:], strict=True)
                place = (slice(None), *(slice(at, at + part) for at, part in columns))
                window = band[place]
                values = self._read_chunk(next(chunks))
                # A chunk at the array's end sticks out of it.
                window[...] = values[tuple(slice(extent) for extent in window.shape)]
            if band is not target:
                _convert(band, target)
            if scale is not None:
                _multiply(target, scale[row : row + len(target)])
            if digest is not None:
                digest.update(byte_view(target))

    def _read_chunk(self, chunk: Chunk) -> np.ndarray:
        """The values of a chunk, filters undone."""
        size = math.prod(self.chunk_shape) * self.dtype.itemsize
        if chunk.size > size + size // 100 + _GZIP_SLACK:
            raise WeightsError(f"{self.name} has a chunk of {chunk.size} bytes for {size}")
        stored = bytearray(chunk.size)
        pread_into(self.descriptor, memoryview(stored), chunk.offset)
        data: bytes | bytearray = stored
        for index in reversed(range(len(self.filters))):
            if chunk.filter_mask >> index & 1:
                continue
            data = (
                _unshuffle(data, self.dtype.itemsize)
                if self.filters[index] == "shuffle"
                else self._inflate(data, size)
            )
        if len(data) != size:
            raise WeightsError(f"{self.name} has a chunk of {len(data)} bytes instead of {size}")
        return np.frombuffer(data, self.dtype).reshape(self.chunk_shape)

    def _inflate(self, data: bytes | bytearray, size: int) -> bytes:
        """``data`` decompressed, never to more than ``size`` bytes."""
        stream = zlib.decompressobj()
        try:
            result: bytes = stream.decompress(data, size)
            # The end of the stream with its checksum may need one more step that yields nothing.
            surplus = b"" if stream.eof else stream.decompress(stream.unconsumed_tail, 1)
        except zlib.error as error:
            raise WeightsError(f"{self.name} has a damaged chunk: {error}") from error
        if surplus or not stream.eof:
            raise WeightsError(f"{self.name} has a chunk that does not inflate to {size} bytes")
        return result


def _unshuffle(data: bytes | bytearray, itemsize: int) -> bytes:
    """Undoes HDF5's shuffle, which stores all first bytes, then all second bytes, ..."""
    if len(data) % itemsize:
        return bytes(data)  # of a wrong length anyway, which the caller sees
    planes: np.ndarray = np.frombuffer(data, np.uint8).reshape(itemsize, -1)
    interleaved: bytes = planes.T.tobytes()
    return interleaved


def _multiply(rows: np.ndarray, scale: np.ndarray) -> None:
    """Multiplies each of ``rows`` by its own number; what becomes infinite is refused with the rest."""
    with np.errstate(over="ignore", invalid="ignore"):
        rows *= scale.reshape(-1, *(1,) * (rows.ndim - 1))


def _convert(values: np.ndarray, out: np.ndarray) -> None:
    """Stores ``values`` as float32; one too large becomes infinite and is refused with the rest."""
    with np.errstate(over="ignore", invalid="ignore"):
        out[...] = values
