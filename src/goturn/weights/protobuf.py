"""A reader of protobuf's wire format, bounded in time and memory.

It knows no messages, only fields: a number, a wire type and where the value lies in the file.  Values
are not read until someone asks, every length is checked against what remains of the message it is in,
and the fields that may be visited in one file are counted, so that a file's size is the most it can
cost.  (https://protobuf.dev/programming-guides/encoding)
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from goturn.weights.blobs import BLOCK_BYTES, pread_into
from goturn.weights.model import WeightsError, byte_view

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_MAX_VARINT_BYTES = 10
_WINDOW_BYTES = 1 << 16

#: Fields visited in one file, all levels together.  Caffe's deepest networks need some 10,000.
MAX_FIELDS = 200_000


@dataclass(frozen=True)
class Field:
    """One field of a message."""

    number: int
    wire_type: int
    start: int
    """Where the value begins in the file: after the length, for BYTES."""
    end: int
    """Where the value ends and the next field begins."""
    value: int = 0
    """The value of a VARINT."""

    @property
    def size(self) -> int:
        return self.end - self.start


class WireReader:
    """Reads fields from an open file."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._window = b""
        self._window_start = 0
        self._visited = 0

    def field(self, position: int, end: int) -> Field:
        """The field at ``position`` of a message that ends at ``end``.

        Raises:
            WeightsError: it does not fit into the message, has a number or a wire type that protobuf
                does not have (groups, long deprecated, are among these), or is one too many.
        """
        self._visited += 1
        if self._visited > MAX_FIELDS:
            raise WeightsError(f"more than {MAX_FIELDS} protobuf fields")
        key, start = self.varint(position, end)
        number, wire_type = key >> 3, key & 7
        if not 1 <= number < 1 << 29:
            raise WeightsError(f"protobuf field number {number} at byte {position} is impossible")
        value = 0
        if wire_type == VARINT:
            value, stop = self.varint(start, end)
        elif wire_type == FIXED64:
            stop = start + 8
        elif wire_type == FIXED32:
            stop = start + 4
        elif wire_type == BYTES:
            length, start = self.varint(start, end)
            stop = start + length
        else:
            raise WeightsError(f"protobuf wire type {wire_type} at byte {position} is not known")
        if stop > end:
            raise WeightsError(
                f"protobuf field {number} at byte {position} has {stop - start} bytes where "
                f"{end - start} remain"
            )
        return Field(number, wire_type, start, stop, value)

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """(value, position after it) of an unsigned varint of at most 64 bits."""
        data = self._peek(position, min(end, position + _MAX_VARINT_BYTES))
        value = 0
        for index, byte in enumerate(data):
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return value & (1 << 64) - 1, position + index + 1
        raise WeightsError(f"protobuf number at byte {position} does not end")

    def read(self, field: Field, limit: int) -> bytes:
        """The value of a BYTES field of at most ``limit`` bytes."""
        if field.wire_type != BYTES or field.size > limit:
            raise WeightsError(
                f"protobuf field {field.number} has {field.size} bytes; expected text of at most {limit}"
            )
        data = bytearray(field.size)
        pread_into(self.descriptor, memoryview(data), field.start)
        return bytes(data)

    def varints(self, field: Field, limit: int) -> list[int]:
        """The numbers in a packed field, at most ``limit`` of them."""
        values: list[int] = []
        position = field.start
        while position < field.end:
            if len(values) == limit:
                raise WeightsError(f"protobuf field {field.number} has more than {limit} numbers")
            value, position = self.varint(position, field.end)
            values.append(value)
        return values

    def run_length(self, position: int, end: int, key: int, width: int) -> int:
        """How many fields follow each other that begin with the byte ``key`` and have ``width`` more.

        An unpacked array of a million floats is a million fields; this counts them block by block.
        """
        stride = 1 + width
        limit, count = (end - position) // stride, 0
        while count < limit:
            block = np.empty((min(limit - count, BLOCK_BYTES // stride), stride), np.uint8)
            pread_into(self.descriptor, byte_view(block), position + count * stride)
            others = np.flatnonzero(block[:, 0] != key)
            if others.size:
                return count + int(others[0])
            count += len(block)
        return count

    def _peek(self, start: int, end: int) -> bytes:
        """A few bytes, from a window that is kept because fields lie close together."""
        low = start - self._window_start
        if low < 0 or end - self._window_start > len(self._window):
            self._window = os.pread(self.descriptor, _WINDOW_BYTES, start)
            self._window_start, low = start, 0
        return self._window[low : low + end - start]
