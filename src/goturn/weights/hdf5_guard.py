"""HDF5 files from strangers: opened, looked over and refused before they can do harm.

HDF5 can follow links into other files, gather a dataset from other files, run filter plugins, and
declare sizes that its few bytes do not bear out.  Here every link is checked before the object behind it
is opened, only plain float datasets are let through, and HDF5 is asked no more than *where* their bytes
lie: :mod:`goturn.weights.hdf5_data` reads them.  Whatever goes wrong is a :class:`WeightsError`; what is
merely not as it should be is an :class:`UnusablePartError`, so that all of it can be named at once.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5s, h5t, h5z

from goturn.weights.hdf5_data import Chunk, StoredTensor
from goturn.weights.model import WeightsError, tensor_bytes

#: What h5py raises when a file's bytes make no sense to HDF5 or to it.
_H5PY_ERRORS = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    SystemError,
)

MAX_LINKS = 256
MAX_ATTRIBUTE_BYTES = 1 << 16
MAX_CHUNKS = 1 << 16
#: A dataset above ``RATIO_FREE_BYTES`` may be this many times larger than what it occupies in the file.
MAX_RATIO = 100
RATIO_FREE_BYTES = 1 << 20

#: Longest name of a file's part in a message.
_MAX_SHOWN = 120

_FLOATS = {h5t.IEEE_F16LE: "<f2", h5t.IEEE_F32LE: "<f4", h5t.IEEE_F64LE: "<f8"}
_INT8 = {h5t.STD_I8LE: "i1"}
_KINDS = {h5t.INTEGER: "integers", h5t.STRING: "text", h5t.COMPOUND: "records"}


class UnusablePartError(WeightsError):
    """A part of a file that is missing or of a kind we do not use, which harms nobody.

    Attributes:
        problem: the message without the file's name.
        shape: of a dataset, where it is known.
    """

    def __init__(self, file: Path, problem: str, shape: tuple[int, ...] = ()) -> None:
        super().__init__(f"{file}: {problem}")
        self.problem = problem
        self.shape = shape


@contextmanager
def open_guarded(path: Path) -> Iterator[GuardedFile]:
    """The HDF5 file at ``path`` for reading; every failure inside the block is a WeightsError."""
    try:
        with h5py.File(path, "r") as file:
            yield GuardedFile(file, path)
    except WeightsError:
        raise
    except _H5PY_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path}: damaged HDF5 file ({reason}); get a fresh copy") from error


class GuardedFile:
    """The parts of an HDF5 file that it is safe to look at."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self.path = path
        self._root: h5g.GroupID = h5g.open(file.id, b"/")
        self._descriptor: int = file.id.get_vfd_handle()
        self._size = os.fstat(self._descriptor).st_size
        self._stored = 0

    # -- groups and links --------------------------------------------------------------------------

    def names(self, group: str = "/") -> list[str]:
        """Names in a group; what they link to is checked when it is opened.

        Raises:
            UnusablePartError: no such group.
            WeightsError: a soft or external link to it, or too many names in it.
        """
        opened = self._open(group, h5g.GroupID)
        if opened.get_num_objs() > MAX_LINKS:
            raise WeightsError(
                f"{self.path}: group {group} has {opened.get_num_objs()} entries; "
                f"a weights file has at most {MAX_LINKS}"
            )
        return [name.decode("utf-8") for name in opened]

    def _open(self, path: str, kind: Any) -> Any:
        """The object at ``path``, each link on the way checked before it is followed."""
        current = self._root
        for part in path.strip("/").split("/"):
            if part == "":
                break
            if not isinstance(current, h5g.GroupID):
                raise self._unusable(path, "lies in something that is not a group")
            name = part.encode()
            if not current.links.exists(name):
                raise self._unusable(path, "is missing")
            if current.links.get_info(name).type != h5l.TYPE_HARD:
                raise WeightsError(
                    f"{self.path}: {path} is a soft or external link, which a weights file must not "
                    "have; write the tensor itself"
                )
            current = h5o.open(current, name)
        if not isinstance(current, kind):
            expected = "group" if kind is h5g.GroupID else "dataset"
            raise self._unusable(path, f"is not a {expected}")
        return current

    def _unusable(self, path: str, problem: str, shape: tuple[int, ...] = ()) -> UnusablePartError:
        return UnusablePartError(self.path, f"{path[:_MAX_SHOWN]} {problem}", shape)

    # -- attributes --------------------------------------------------------------------------------

    def has_attribute(self, name: str, path: str = "/") -> bool:
        return bool(h5a.exists(self._open(path, (h5g.GroupID, h5d.DatasetID)), name.encode()))

    def text(self, name: str, path: str = "/") -> str:
        """A string attribute: fixed length, UTF-8; UnusablePartError where there is no such thing."""
        attribute, kind = self._attribute(name, path)
        if kind.get_class() != h5t.STRING or kind.is_variable_str():
            raise self._odd_attribute(name, path, "a text of fixed length")
        if attribute.get_space().get_simple_extent_type() != h5s.SCALAR:
            raise self._odd_attribute(name, path, "a single text")
        value = np.empty((), f"S{kind.get_size()}")
        attribute.read(value, mtype=kind)
        return bytes(value[()]).decode("utf-8")

    def numbers(self, name: str, path: str = "/") -> tuple[float, ...]:
        """A numeric attribute, scalar or one-dimensional, as a tuple; raises as :meth:`text`."""
        attribute, kind = self._attribute(name, path)
        if kind.get_class() not in (h5t.INTEGER, h5t.FLOAT) or len(attribute.shape) > 1:
            raise self._odd_attribute(name, path, "a number or a short list of numbers")
        value = np.empty(attribute.shape, np.float64)
        attribute.read(value)
        return tuple(float(item) for item in value.reshape(-1))

    def _attribute(self, name: str, path: str) -> tuple[h5a.AttrID, h5t.TypeID]:
        """The attribute and its type, after a check of its size."""
        owner = self._open(path, (h5g.GroupID, h5d.DatasetID))
        if not h5a.exists(owner, name.encode()):
            raise self._unusable(f"attribute {name} of {path}", "is missing")
        attribute = h5a.open(owner, name.encode())
        kind = attribute.get_type()
        if tensor_bytes(attribute.shape, kind.get_size()) > MAX_ATTRIBUTE_BYTES:
            raise self._odd_attribute(name, path, f"at most {MAX_ATTRIBUTE_BYTES} bytes")
        return attribute, kind

    def _odd_attribute(self, name: str, path: str, expected: str) -> UnusablePartError:
        return self._unusable(f"attribute {name} of {path}", f"is not {expected}")

    # -- datasets ----------------------------------------------------------------------------------

    def tensor(self, path: str, *, int8: bool = False) -> StoredTensor:
        """A dataset of floats, its layout checked, none of its values read.

        Args:
            path: of the dataset.
            int8: whether 8-bit integers will do as well.

        Raises:
            UnusablePartError: not a dataset, a dtype that is not a plain float, an unknown layout or
                filter.
            WeightsError: bytes in other files, or a declared size out of proportion to what is stored.
        """
        dataset = self._open(path, h5d.DatasetID)
        properties = dataset.get_create_plist()
        layout = properties.get_layout()
        if layout == h5d.VIRTUAL or properties.get_external_count():
            raise WeightsError(f"{self.path}: {path} keeps its values in other files; refused")
        if dataset.get_space().get_simple_extent_type() != h5s.SIMPLE:
            raise self._unusable(path, "is not an array")
        shape = tuple(int(extent) for extent in dataset.shape)
        if min(shape) < 1:
            raise self._unusable(path, "is empty")
        kind = dataset.get_type()
        known = _FLOATS | _INT8 if int8 else _FLOATS
        dtype = next((code for each, code in known.items() if kind.equal(each)), None)
        if dtype is None:
            problem = (
                f"holds {_shown(kind)}, expected 16, 32 or 64-bit little-endian floats: save it again "
                'as such, with dtype "<f4"'
            )
            raise self._unusable(path, problem, shape)
        if layout not in (h5d.CONTIGUOUS, h5d.CHUNKED):
            problem = (
                "has a compact layout, expected a contiguous or chunked one: save it again as such, "
                "as h5py does unless told otherwise"
            )
            raise self._unusable(path, problem, shape)
        if layout == h5d.CONTIGUOUS:
            tensor = self._contiguous(path, dataset, shape, np.dtype(dtype))
        else:
            tensor = self._chunked(path, dataset, shape, np.dtype(dtype))
        self._check_proportion(tensor)
        return tensor

    def _contiguous(
        self, path: str, dataset: h5d.DatasetID, shape: tuple[int, ...], dtype: np.dtype
    ) -> StoredTensor:
        offset, size = dataset.get_offset(), tensor_bytes(shape, dtype.itemsize)
        if offset is None or dataset.get_storage_size() != size:
            raise WeightsError(
                f"{self.path}: {path} declares {size} bytes and stores {dataset.get_storage_size()}"
            )
        whole = Chunk(offset=int(offset), size=size, filter_mask=0)
        return StoredTensor(path, self._descriptor, shape, dtype, shape, [whole])

    def _chunked(
        self, path: str, dataset: h5d.DatasetID, shape: tuple[int, ...], dtype: np.dtype
    ) -> StoredTensor:
        properties = dataset.get_create_plist()
        filters = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
        if not set(filters) <= {h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE} or len(filters) > 2:
            problem = "has a filter other than shuffle and gzip: save it again with these, or none"
            raise self._unusable(path, problem, shape)
        chunk_shape = tuple(int(extent) for extent in properties.get_chunk())
        if any(part > whole for part, whole in zip(chunk_shape, shape, strict=True)):
            problem = "has chunks larger than itself: save it again without maxshape"
            raise self._unusable(path, problem, shape)
        starts = [range(0, whole, part) for whole, part in zip(shape, chunk_shape, strict=True)]
        expected = math.prod(len(axis) for axis in starts)
        if expected > MAX_CHUNKS or dataset.get_num_chunks() != expected:
            raise WeightsError(
                f"{self.path}: {path} needs {expected} chunks and stores "
                f"{dataset.get_num_chunks()} (limit {MAX_CHUNKS})"
            )
        chunks = []
        for origin in itertools.product(*starts):
            info = dataset.get_chunk_info_by_coord(origin)
            if info.byte_offset is None:
                raise WeightsError(f"{self.path}: {path} lacks the chunk at {origin}")
            chunks.append(Chunk(int(info.byte_offset), int(info.size), int(info.filter_mask)))
        names = tuple("shuffle" if code == h5z.FILTER_SHUFFLE else "gzip" for code in filters)
        return StoredTensor(path, self._descriptor, shape, dtype, chunk_shape, chunks, names)

    def _check_proportion(self, tensor: StoredTensor) -> None:
        """Refuses bytes outside the file, bytes counted twice, and sizes out of proportion."""
        stored = sum(chunk.size for chunk in tensor.chunks)
        itemsize = 4 if tensor.dtype == np.int8 else tensor.dtype.itemsize  # as it will be read
        declared = tensor_bytes(tensor.shape, itemsize)
        self._stored += stored
        if self._stored > self._size or any(
            chunk.offset + chunk.size > self._size for chunk in tensor.chunks
        ):
            raise WeightsError(f"{self.path}: {tensor.name} claims more bytes than the file has")
        if declared > RATIO_FREE_BYTES and declared > MAX_RATIO * stored:
            raise WeightsError(
                f"{self.path}: {tensor.name} declares {declared} bytes and stores {stored}: "
                "out of proportion"
            )


def _shown(kind: h5t.TypeID) -> str:
    """A dtype in words."""
    if kind.get_class() == h5t.FLOAT:
        order = "big-endian" if kind.get_order() == h5t.ORDER_BE else "unusual"
        return f"{order} {8 * kind.get_size()}-bit floats"
    return _KINDS.get(kind.get_class(), "something else than numbers")
