"""The compiled operations beyond their values, which test_ops.py checks: threads, strides, refusals.

Threads are the CPU's; the rest is asked of the GPU's operations too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from checks import load_backend
from goturn import _cpu
from goturn.ops import Ops
from goturn.ops.cpu import CpuOps
from goturn.ops.cuda import CudaOps
from goturn.ops.host_arrays import HostArrays
from goturn.ops.reference import ReferenceOps

OPS, REFERENCE = CpuOps(), ReferenceOps()
NORM: dict[str, Any] = {"size": 5, "alpha": 1e-2, "beta": 0.75}
RATES = {"rate": 0.01, "momentum": 0.9, "decay": 5e-4}


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape, dtype=np.float32)


@pytest.fixture(params=["cpu", "cuda", "cuda-emulated"])
def ops(request: pytest.FixtureRequest) -> Ops:
    return load_backend(request.param)


@pytest.fixture
def restore_threads() -> Iterator[None]:
    before = _cpu.thread_count()
    yield
    _cpu.set_thread_count(before)


def updated(op: Callable[..., None], *arguments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight and velocity, (70, 1500), after ``op`` has changed them."""
    weight, velocity = normal(70, 1500), normal(70, 1500) / 2
    if op == OPS.sgd_update:
        op(weight, *arguments, velocity, **RATES)
    else:
        op(*arguments, weight, velocity, **RATES)
    return weight, velocity


#: Sizes beyond a piece of work, in each direction that is cut, and no multiples of one.
CALLS: dict[str, Callable[[], Any]] = {
    "conv2d": lambda: OPS.conv2d(
        normal(6, 8, 31, 29), normal(70, 4, 3, 3), normal(70), pad=1, groups=2
    ),
    "conv2d_backward": lambda: OPS.conv2d_backward(
        normal(6, 70, 31, 29), normal(6, 8, 31, 29), normal(70, 4, 3, 3), pad=1, groups=2
    ),
    "conv2d_backward, strided": lambda: OPS.conv2d_backward(
        normal(3, 10, 13, 12), normal(3, 6, 41, 38), normal(10, 6, 5, 5), stride=3
    ),
    "max_pool": lambda: OPS.max_pool(normal(5, 7, 21, 23), kernel=3, stride=2),
    "max_pool_backward": lambda: OPS.max_pool_backward(
        normal(5, 7, 10, 11), normal(5, 7, 21, 23), kernel=3, stride=2
    ),
    "lrn": lambda: OPS.lrn(normal(3, 9, 27, 27), **NORM),
    "lrn_backward": lambda: OPS.lrn_backward(
        normal(3, 9, 27, 27), normal(3, 9, 27, 28)[..., :27].copy(), **NORM
    ),
    "linear": lambda: OPS.linear(normal(50, 1500), normal(900, 1500), normal(900), relu=True),
    "linear of few": lambda: OPS.linear(normal(5, 1500), normal(900, 1500), None),
    "linear_backward": lambda: OPS.linear_backward(
        normal(50, 1700), normal(50, 600), normal(1700, 600)
    ),
    "linear_sgd_update": lambda: updated(OPS.linear_sgd_update, normal(50, 70), normal(50, 1500)),
    "sgd_update": lambda: updated(OPS.sgd_update, normal(70, 1500)),
    "relu": lambda: OPS.relu(normal(300, 301)),
    "relu_backward": lambda: OPS.relu_backward(
        normal(300, 301), normal(301, 300).reshape(300, 301)
    ),
    "dropout_mask": lambda: OPS.dropout_mask((300, 301), ratio=0.5, key=7),
    "dropout": lambda: OPS.dropout(
        normal(300, 301), OPS.dropout_mask((300, 301), ratio=0.5, key=7), ratio=0.5
    ),
    "l1_loss": lambda: OPS.l1_loss(normal(40_000, 4), normal(40_001, 4)[1:].copy()),
    "l2_loss": lambda: OPS.l2_loss(normal(40_000, 4), normal(40_001, 4)[1:].copy()),
}


@pytest.mark.usefixtures("restore_threads")
@pytest.mark.parametrize("name", CALLS)
def test_any_number_of_threads_gives_the_same_bits(name: str) -> None:
    results = []
    for count in (1, 2, 3, 7):
        _cpu.set_thread_count(count)
        result = CALLS[name]()
        results.append(result if isinstance(result, tuple) else (result,))
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            assert np.array_equal(one, same)


@pytest.mark.parametrize(
    "op",
    [
        name
        for name in {**vars(HostArrays), **vars(ReferenceOps)}
        if name[0] != "_" and name not in ("name", "precisions")
    ],
)
def test_no_arithmetic_is_left_to_numpy(op: str) -> None:
    for compiled in (CpuOps, CudaOps):
        assert hasattr(compiled, op)
        assert not issubclass(compiled, ReferenceOps)


# -- arrays as they lie --------------------------------------------------------------------------


def columns(ops: Ops, rows: int, width: int, start: int, stop: int) -> Any:
    """Columns start..stop of a matrix on the device, the same memory."""
    return ops.from_numpy(normal(rows, width))[:, start:stop]


@pytest.mark.parametrize("batch", [3, 50])
def test_rows_of_linear_may_lie_apart(ops: Ops, batch: int) -> None:
    dy, x = columns(ops, batch, 100, 7, 77), columns(ops, batch, 90, 3, 48)
    weight = columns(ops, 70, 80, 9, 54)
    for given in (dy, x, weight):
        assert not given.flags.c_contiguous
    copies = [ops.from_numpy(ops.to_numpy(array).copy()) for array in (dy, x, weight)]

    def same(one: Any, other: Any) -> bool:
        return np.array_equal(ops.to_numpy(one), ops.to_numpy(other))

    assert same(ops.linear(x, weight, None), ops.linear(copies[1], copies[2], None))
    for got, want in zip(
        ops.linear_backward(dy, x, weight), ops.linear_backward(*copies), strict=True
    ):
        assert same(got, want)
    results = []
    for rows in ((dy, x), copies[:2]):
        values = ops.from_numpy(ops.to_numpy(weight).copy())
        velocity = ops.from_numpy(np.zeros((70, 45), np.float32))
        ops.linear_sgd_update(*rows, values, velocity, **RATES)
        results.append((values, velocity))
    assert all(same(*pair) for pair in zip(*results, strict=True))
    assert not same(results[0][0], weight)


def zeros(ops: Ops, *shape: int) -> Any:
    return ops.from_numpy(np.zeros(shape, np.float32))


def test_an_empty_batch(ops: Ops) -> None:
    none, filters = zeros(ops, 0, 6, 9, 9), ops.from_numpy(normal(4, 3, 3, 3))
    bias = ops.from_numpy(normal(4))
    assert ops.conv2d(none, filters, bias, groups=2).shape == (0, 4, 7, 7)
    dx, dweight, dbias = ops.conv2d_backward(zeros(ops, 0, 4, 7, 7), none, filters, groups=2)
    assert dx is not None
    assert dx.shape == none.shape
    assert not ops.to_numpy(dweight).any()
    assert not ops.to_numpy(dbias).any()
    assert ops.max_pool(none, kernel=3, stride=2).shape == (0, 6, 4, 4)
    assert ops.lrn_backward(none, none, **NORM).shape == none.shape
    weight = ops.from_numpy(normal(3, 5))
    assert ops.linear(zeros(ops, 0, 5), weight, None).shape == (0, 3)
    dx, dweight, dbias = ops.linear_backward(zeros(ops, 0, 3), zeros(ops, 0, 5), weight)
    assert not ops.to_numpy(dweight).any()
    assert not ops.to_numpy(dbias).any()
    assert ops.l1_loss(zeros(ops, 0, 4), zeros(ops, 0, 4))[0] == 0.0


def test_a_batch_of_none_still_decays(ops: Ops) -> None:
    weight, velocity = (ops.from_numpy(np.ones((3, 5), np.float32)) for _ in range(2))
    none = zeros(ops, 0, 3), zeros(ops, 0, 5)
    ops.linear_sgd_update(*none, weight, velocity, rate=0.5, momentum=0.25, decay=0.5)
    assert np.all(ops.to_numpy(velocity) == 0.5)
    assert np.all(ops.to_numpy(weight) == 0.5)


def test_what_is_not_a_number_stays_so(ops: Ops) -> None:
    x = ops.from_numpy(np.array([np.nan, -1, 0, 2], np.float32))
    np.testing.assert_array_equal(ops.to_numpy(ops.relu(x)), [np.nan, 0, 0, 2])
    value, gradient = ops.l1_loss(x, zeros(ops, 4))
    assert np.isnan(value)
    np.testing.assert_array_equal(ops.to_numpy(gradient), [np.nan, -1, 0, 1])
    image = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    image[0, 0, 1, 1] = np.nan
    filters = np.ones((2, 1, 3, 3), np.float32)
    conv = [ops.from_numpy(array) for array in (image, filters, np.zeros(2, np.float32))]
    want = np.isnan(REFERENCE.conv2d(image, filters, np.zeros(2, np.float32)))
    assert 0 < want.sum() < want.size
    np.testing.assert_array_equal(np.isnan(ops.to_numpy(ops.conv2d(*conv, relu=True))), want)
    pool = {"kernel": 3, "stride": 2}
    want = REFERENCE.max_pool(image, **pool)
    assert np.isnan(want).any()
    device, dy = ops.from_numpy(image), ops.from_numpy(np.ones_like(want))
    np.testing.assert_array_equal(ops.to_numpy(ops.max_pool(device, **pool)), want)
    np.testing.assert_array_equal(
        ops.to_numpy(ops.max_pool_backward(dy, device, **pool)),
        REFERENCE.max_pool_backward(np.ones_like(want), image, **pool),
    )


def test_arrays_put_together(ops: Ops) -> None:
    """What the network does with arrays besides its layers."""
    parts = [normal(3, 5), normal(3, 1), normal(3, 8)]
    on_device = [ops.from_numpy(part.copy()) for part in parts]

    def check(got: Any, want: np.ndarray) -> None:
        assert got.flags.c_contiguous
        np.testing.assert_array_equal(ops.to_numpy(got), want)

    check(ops.concatenate(on_device, axis=1), np.concatenate(parts, axis=1))
    rows = [normal(2, 4, 3), normal(5, 4, 3)]
    check(ops.concatenate([ops.from_numpy(part) for part in rows]), np.concatenate(rows))
    check(ops.stack([ops.from_numpy(part) for part in rows[1]]), rows[1])
    check(ops.contiguous(on_device[2][:, 2:5]), parts[2][:, 2:5])
    check(ops.contiguous(on_device[2]), parts[2])
    check(ops.scale(on_device[0], 0.3), parts[0] * np.float32(0.3))
    ops.add_to(on_device[0], ops.from_numpy(parts[2][:, :5].copy()))
    check(on_device[0], parts[0] + parts[2][:, :5])
    owners = np.array([2, 0, 2, 1])
    check(ops.take_rows(on_device[2], owners), parts[2][owners])
    wanted = np.stack([rows[0][0][1], np.zeros(3, np.float32), rows[0][0][0] + rows[0][0][2]])
    taken = ops.from_numpy(rows[0][0][:3].copy())
    check(ops.sum_rows(taken, np.array([2, 0, 2]), 3), wanted)
    for outside in (3, -4):
        with pytest.raises(IndexError):
            ops.take_rows(on_device[2], np.array([0, outside]))


# -- refusals ------------------------------------------------------------------------------------

IMAGE, FILTERS, ROWS, MATRIX = normal(1, 4, 6, 6), normal(4, 4, 3, 3), normal(3, 8), normal(5, 8)
MASK = np.ones((3, 8), np.uint8)

#: (op, arrays, parameters): every array in turn is given in another form.
TAKES: list[tuple[str, tuple[np.ndarray, ...], dict[str, Any]]] = [
    ("conv2d", (IMAGE, FILTERS, normal(4)), {}),
    ("conv2d_backward", (normal(1, 4, 4, 4), IMAGE, FILTERS), {}),
    ("max_pool", (IMAGE,), {"kernel": 3, "stride": 2}),
    ("max_pool_backward", (normal(1, 4, 3, 3), IMAGE), {"kernel": 3, "stride": 2}),
    ("lrn", (IMAGE,), NORM),
    ("lrn_backward", (IMAGE, IMAGE), NORM),
    ("linear", (ROWS, MATRIX, normal(5)), {}),
    ("linear_backward", (normal(3, 5), ROWS, MATRIX), {}),
    ("relu", (ROWS,), {}),
    ("relu_backward", (ROWS, ROWS), {}),
    ("dropout", (ROWS, MASK), {"ratio": 0.5}),
    ("l1_loss", (ROWS, ROWS), {}),
    ("l2_loss", (ROWS, ROWS), {}),
    ("sgd_update", (ROWS, ROWS, ROWS), RATES),
    ("linear_sgd_update", (normal(3, 5), ROWS, MATRIX, MATRIX), RATES),
]
EACH = [
    pytest.param(op, arrays, parameters, index, id=f"{op}-{index}")
    for op, arrays, parameters in TAKES
    for index in range(len(arrays))
]


def refused(
    ops: Ops,
    error: type[Exception],
    call: tuple[str, tuple[np.ndarray, ...], dict[str, Any]],
    change: tuple[int, Any],
) -> str:
    """The sentence with which a call is refused, of whose arrays one, by its index, is changed."""
    op, arrays, parameters = call
    given: list[Any] = [ops.from_numpy(array.copy()) for array in arrays]
    given[change[0]] = change[1]
    with pytest.raises(error, match=f"^{op}: ") as caught:
        getattr(ops, op)(*given, **parameters)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("op", "arrays", "parameters", "index"), EACH)
def test_arrays_of_another_type(
    ops: Ops, op: str, arrays: tuple[np.ndarray, ...], parameters: dict[str, Any], index: int
) -> None:
    wanted, given = arrays[index].dtype, arrays[index]
    for other in (np.float64, np.float16, np.int64):
        changed = (index, ops.from_numpy(given.astype(other)))
        sentence = refused(ops, TypeError, (op, arrays, parameters), changed)
        assert sentence.endswith(f"must be an array of {wanted}; got {np.dtype(other)}")
    sentence = refused(ops, TypeError, (op, arrays, parameters), (index, given.tolist()))
    assert sentence.endswith(f"must be an array of {wanted}; got list")


@pytest.mark.parametrize(("op", "arrays", "parameters", "index"), EACH)
def test_arrays_that_do_not_lie_together(
    ops: Ops, op: str, arrays: tuple[np.ndarray, ...], parameters: dict[str, Any], index: int
) -> None:
    apart = ops.from_numpy(np.repeat(arrays[index], 2, axis=-1))[..., ::2]
    sentence = refused(ops, ValueError, (op, arrays, parameters), (index, apart))
    assert "must be C-contiguous" in sentence or "a matrix of contiguous rows" in sentence
    backwards = ops.from_numpy(arrays[index].copy())[..., ::-1]
    refused(ops, ValueError, (op, arrays, parameters), (index, backwards))


@pytest.mark.parametrize(("op", "arrays", "parameters", "index"), EACH)
def test_arrays_of_another_shape(
    ops: Ops, op: str, arrays: tuple[np.ndarray, ...], parameters: dict[str, Any], index: int
) -> None:
    """The reference refuses them too, if not always in the name of the same op."""
    for changed in (arrays[index][None], arrays[index][..., :-1].copy(), arrays[index][:, None]):
        given = [array.copy() for array in arrays]
        given[index] = changed
        outcomes = []
        for one in (REFERENCE, ops):
            try:
                getattr(one, op)(*(one.from_numpy(array.copy()) for array in given), **parameters)
                outcomes.append("")
            except ValueError as error:
                outcomes.append(str(error).partition(": ")[0])
        assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(("op", "arrays", "parameters", "index"), EACH)
def test_the_gpu_refuses_in_the_words_of_the_cpu(
    op: str, arrays: tuple[np.ndarray, ...], parameters: dict[str, Any], index: int
) -> None:
    emulated, given = load_backend("cuda-emulated"), arrays[index]
    for changed in (
        given.astype(np.float64),
        given[None],
        given[..., :-1].copy(),
        np.repeat(given, 2, axis=-1)[..., ::2],
    ):
        sentences = []
        for one in (OPS, emulated):
            values = [array.copy() for array in arrays]
            values[index] = changed
            try:
                getattr(one, op)(*values, **parameters)
                sentences.append("")
            except (TypeError, ValueError) as error:
                sentences.append(str(error))
        assert sentences[0] == sentences[1]


@pytest.mark.parametrize("backend", ["cpu", "cuda-emulated"])  # CuPy's arrays are all writeable
@pytest.mark.parametrize(
    ("op", "name"),
    [
        *(
            (op, name)
            for op in ("sgd_update", "linear_sgd_update")
            for name in ("weight", "velocity")
        ),
        *(("adam_update", name) for name in ("weight", "velocity", "square")),
    ],
)
def test_what_is_changed_must_be_writeable(backend: str, op: str, name: str) -> None:
    ops = load_backend(backend)
    given = {each: np.abs(MATRIX) for each in ("weight", "velocity", "square")}
    given[name].flags.writeable = False
    rates: dict[str, Any] = RATES
    arguments: tuple[np.ndarray, ...]
    if op == "linear_sgd_update":
        arguments = (normal(3, 5), ROWS, given["weight"], given["velocity"])
    else:
        arguments = (given["weight"], MATRIX, given["velocity"])
    if op == "adam_update":
        arguments = (*arguments, given["square"])
        rates = {**RATES, "squares": 0.999, "iteration": 1}
    with pytest.raises(ValueError, match=f"^{op}: {name} is changed in place and must be write"):
        getattr(ops, op)(*arguments, **rates)


@pytest.mark.parametrize(
    ("op", "arrays", "parameters"),
    [
        ("conv2d", (IMAGE, FILTERS, normal(4)), {"stride": 2**62}),
        ("conv2d", (IMAGE, FILTERS, normal(4)), {"pad": 2**62}),
        ("conv2d", (IMAGE, FILTERS, normal(4)), {"groups": -1}),
        ("max_pool", (IMAGE,), {"kernel": 2**62, "stride": 1, "pad": 2**62 - 1}),
        ("max_pool", (IMAGE,), {"kernel": 2**40, "stride": 1, "pad": 2**40 - 1}),
        ("lrn", (IMAGE,), {**NORM, "size": 2**62 + 1}),
        ("lrn", (IMAGE,), {**NORM, "size": -1}),
    ],
)
def test_sizes_beyond_reason(
    ops: Ops, op: str, arrays: tuple[Any, ...], parameters: dict[str, Any]
) -> None:
    given = [ops.from_numpy(array.copy()) for array in arrays]
    with pytest.raises((ValueError, MemoryError)):
        getattr(ops, op)(*given, **parameters)


def test_any_number_of_empty_groups() -> None:
    none, filters = np.zeros((1, 0, 4, 4), np.float32), np.zeros((0, 0, 3, 3), np.float32)
    dy = np.zeros((1, 0, 2, 2), np.float32)
    dx, dweight, dbias = OPS.conv2d_backward(dy, none, filters, groups=2**50)
    assert dx is not None
    assert (dx.shape, dweight.shape, dbias.shape) == (none.shape, filters.shape, (0,))


@pytest.mark.parametrize(
    ("size", "error"),
    [
        (3.5, TypeError),
        ("3", TypeError),
        (-1, ValueError),
        (2**70, MemoryError),
    ],
)
def test_sizes_of_a_mask_that_are_none(ops: Ops, size: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        ops.dropout_mask((2, size), ratio=0.5, key=1)
    assert ops.dropout_mask((2, np.int64(3)), ratio=0.5, key=1).shape == (2, 3)


def test_padding_far_wider_than_the_image(ops: Ops) -> None:
    given, far = (IMAGE, FILTERS, normal(4)), {"pad": 2**39, "stride": 2**39}
    try:
        got = ops.to_numpy(ops.conv2d(*(ops.from_numpy(array) for array in given), **far))
    except (MemoryError, ValueError):  # a device may count no further
        return
    np.testing.assert_allclose(got, REFERENCE.conv2d(*given, **far), atol=1e-4)


def test_a_window_far_wider_than_the_image(ops: Ops) -> None:
    wide = {"kernel": 2**31 - 1, "stride": 2**31, "pad": 2**30}
    pooled = ops.to_numpy(ops.max_pool(ops.from_numpy(IMAGE), **wide))
    assert np.array_equal(pooled, IMAGE.max(axis=(2, 3), keepdims=True))
