"""The wire format's traps: lengths that lie, numbers without end, fields without number."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from caffe_files import blob, field, layer, number, varint
from goturn.weights import WeightsError, load

KEY = {"layer": varint(100 << 3 | 2), "name": b"\x0a"}


def blob_in_layer(content: bytes) -> bytes:
    return field(100, field(1, b"conv1") + field(7, content))


CASES = {
    "length beyond the file": (
        KEY["layer"] + varint(1 << 40),
        "has 1099511627776 bytes where 0 remain",
    ),
    "length beyond the layer": (
        field(100, b"\x0a" + varint(100) + b"conv1") + bytes(200),
        "field 1 at byte 3 has 100 bytes where 5 remain",
    ),
    "length beyond the blob": (
        blob_in_layer(b"\x2a" + varint(1 << 62) + bytes(8)) + bytes(100),
        "field 5 at byte .* has 4611686018427387904 bytes where 8 remain",
    ),
    "length of 2^64 - 1": (KEY["layer"] + b"\xff" * 9 + b"\x01", "has 18446744073709551615 bytes"),
    "number without end": (KEY["layer"] + b"\x80" * 20, "number at byte 2 does not end"),
    "number cut off": (KEY["layer"] + b"\x80", "number at byte 2 does not end"),
    "group": (b"\x0b" + bytes(10), "wire type 3 at byte 0 is not known"),
    "end of group": (b"\x0c" + bytes(10), "wire type 4 at byte 0 is not known"),
    "wire type 6": (b"\x0e" + bytes(10), "wire type 6 at byte 0 is not known"),
    "field number 0": (b"\x02\x00", "field number 0 at byte 0 is impossible"),
    "field number too large": (
        varint(1 << 40 | 2) + b"\x00",
        "field number 137438953472 at byte 0",
    ),
    "fixed32 cut off": (blob_in_layer(b"\x2d\x00\x00"), "has 4 bytes where 2 remain"),
    "layer of another type": (varint(100 << 3) + b"\x01", "field 100 has wire type 0, expected 2"),
    "name of a megabyte": (layer("x" * (1 << 20), []), "expected text of at most 1024"),
    "values of another type": (blob_in_layer(number(5, 3)), "field 5 has wire type 0, expected 5"),
    "half a float": (blob_in_layer(field(5, bytes(7))), "7 bytes of 4-byte values"),
    "nine dimensions": (
        blob_in_layer(field(7, field(1, b"\x01" * 9))),
        "field 1 has more than 8 numbers",
    ),
    "nine dimensions one by one": (
        blob_in_layer(field(7, number(1, 1) * 9)),
        "a blob with an impossible shape",
    ),
    "negative dimension": (
        blob_in_layer(field(7, field(1, varint((1 << 64) - 1)))),
        "a blob with an impossible shape",
    ),
    "many pieces": (blob_in_layer(field(5, bytes(4)) * 1001), "in more than 1000 pieces"),
    "two towers of one name": (
        layer("conv1", [blob(np.zeros(1))]) * 2,
        "two layers with weights are named 'conv1'",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_at_no_cost(tmp_path, case):
    content, sentence = CASES[case]
    (tmp_path / "w").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=sentence):
            load(tmp_path / "w")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_shapes_that_lie_cost_nothing(tmp_path):
    """A weight of 1.4 GiB that the file does not have is refused before anything is allocated."""
    huge = field(7, field(1, varint(20000) + varint(18432))) + field(5, bytes(4))
    out = b"".join(layer(name, [huge, huge]) for name in ("fc6", "fc8"))
    (tmp_path / "w").write_bytes(out)
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=r"a blob of shape \(20000, 18432\) has 1 values"):
            load(tmp_path / "w")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_file_of_tiny_fields_does_not_hang(tmp_path):
    (tmp_path / "w").write_bytes(number(1000, 1) * 3_000_000)
    with pytest.raises(WeightsError, match="more than 200000 protobuf fields"):
        load(tmp_path / "w")


def test_a_million_loose_floats_are_read_in_blocks(tmp_path):
    from goturn.weights.caffe_reader import open_caffemodel

    values = np.arange(1_000_000, dtype="<f4")
    loose = np.empty((values.size, 5), np.uint8)
    loose[:, 0] = 5 << 3 | 5
    loose[:, 1:] = values.view(np.uint8).reshape(-1, 4)
    shape = field(7, field(1, varint(values.size)))
    (tmp_path / "w").write_bytes(layer("conv1", [loose.tobytes() + shape]))
    with open_caffemodel(tmp_path / "w") as model:
        (found,) = model.layers["conv1"]
        out = np.empty(found.shape, np.float32)
        found.read_into(out)
    assert np.array_equal(out, values)
