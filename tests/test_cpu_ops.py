"""The compiled operations beyond their values, which test_ops.py checks: threads, strides, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from goturn import _cpu
from goturn.ops.cpu import CpuOps
from goturn.ops.reference import ReferenceOps

OPS, REFERENCE = CpuOps(), ReferenceOps()
NORM: dict[str, Any] = {"size": 5, "alpha": 1e-2, "beta": 0.75}
RATES = {"rate": 0.01, "momentum": 0.9, "decay": 5e-4}


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape, dtype=np.float32)


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


@pytest.mark.parametrize("op", [name for name in vars(ReferenceOps) if not name.startswith("_")])
def test_no_arithmetic_is_left_to_numpy(op: str) -> None:
    assert op in vars(CpuOps)
    assert not issubclass(CpuOps, ReferenceOps)


# -- arrays as they lie --------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [3, 50])
def test_rows_of_linear_may_lie_apart(batch: int) -> None:
    dy, x, weight = normal(batch, 100)[:, 7:77], normal(batch, 90)[:, 3:48], normal(70, 80)[:, 9:54]
    for given in (dy, x, weight):
        assert not given.flags.c_contiguous
    copies = [array.copy() for array in (dy, x, weight)]
    assert np.array_equal(OPS.linear(x, weight, None), OPS.linear(copies[1], copies[2], None))
    for got, want in zip(
        OPS.linear_backward(dy, x, weight), OPS.linear_backward(*copies), strict=True
    ):
        assert np.array_equal(got, want)
    velocity, other = np.zeros((2, 70, 45), np.float32)
    first, second = weight.copy(), weight.copy()
    OPS.linear_sgd_update(dy, x, first, velocity, **RATES)
    OPS.linear_sgd_update(*copies[:2], second, other, **RATES)
    assert np.array_equal(first, second)
    assert np.array_equal(velocity, other)
    assert not np.array_equal(first, weight)


def test_an_empty_batch() -> None:
    none = np.zeros((0, 6, 9, 9), np.float32)
    assert OPS.conv2d(none, normal(4, 3, 3, 3), normal(4), groups=2).shape == (0, 4, 7, 7)
    dx, dweight, dbias = OPS.conv2d_backward(
        none[:, :4, :7, :7].copy(), none, normal(4, 3, 3, 3), groups=2
    )
    assert dx is not None
    assert dx.shape == none.shape
    assert not dweight.any()
    assert not dbias.any()
    assert OPS.max_pool(none, kernel=3, stride=2).shape == (0, 6, 4, 4)
    assert OPS.lrn_backward(none, none, **NORM).shape == none.shape
    dx, dweight, dbias = OPS.linear_backward(
        np.zeros((0, 3), np.float32), np.zeros((0, 5), np.float32), normal(3, 5)
    )
    assert not dweight.any()
    assert not dbias.any()
    assert OPS.l1_loss(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32))[0] == 0.0


def test_a_batch_of_none_still_decays() -> None:
    weight, velocity = np.ones((3, 5), np.float32), np.ones((3, 5), np.float32)
    none = np.zeros((0, 3), np.float32), np.zeros((0, 5), np.float32)
    OPS.linear_sgd_update(*none, weight, velocity, rate=0.5, momentum=0.25, decay=0.5)
    assert np.all(velocity == 0.5)
    assert np.all(weight == 0.5)


def test_what_is_not_a_number_stays_so() -> None:
    x = np.array([np.nan, -1, 0, 2], np.float32)
    np.testing.assert_array_equal(OPS.relu(x), [np.nan, 0, 0, 2])
    assert np.isnan(OPS.l1_loss(x, np.zeros_like(x))[0])
    np.testing.assert_array_equal(OPS.l1_loss(x, np.zeros_like(x))[1], [np.nan, -1, 0, 1])
    image = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    image[0, 0, 1, 1] = np.nan
    pool = {"kernel": 3, "stride": 2}
    want = REFERENCE.max_pool(image, **pool)
    assert np.isnan(want).any()
    np.testing.assert_array_equal(OPS.max_pool(image, **pool), want)
    np.testing.assert_array_equal(
        OPS.max_pool_backward(np.ones_like(want), image, **pool),
        REFERENCE.max_pool_backward(np.ones_like(want), image, **pool),
    )


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
    error: type[Exception],
    op: str,
    arrays: tuple[np.ndarray, ...],
    parameters: dict[str, Any],
    change: tuple[int, Any],
) -> str:
    """The sentence with which ``op`` refuses ``arrays``, one of which, by its index, is changed."""
    given = [array.copy() for array in arrays]
    given[change[0]] = change[1]
    with pytest.raises(error, match=f"^{op}: ") as caught:
        getattr(OPS, op)(*given, **parameters)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("op", "arrays", "parameters", "index"), EACH)
def test_arrays_of_another_type(
    op: str, arrays: tuple[np.ndarray, ...], parameters: dict[str, Any], index: int
) -> None:
    wanted = arrays[index].dtype
    for other in (np.float64, np.float16, np.int64):
        sentence = refused(TypeError, op, arrays, parameters, (index, arrays[index].astype(other)))
        assert sentence.endswith(f"must be an array of {wanted}; got {np.dtype(other)}")
    refused(TypeError, op, arrays, parameters, (index, arrays[index].tolist()))


@pytest.mark.parametrize(("op", "arrays", "parameters", "index"), EACH)
def test_arrays_that_do_not_lie_together(
    op: str, arrays: tuple[np.ndarray, ...], parameters: dict[str, Any], index: int
) -> None:
    apart = np.repeat(arrays[index], 2, axis=-1)[..., ::2]
    sentence = refused(ValueError, op, arrays, parameters, (index, apart))
    assert "must be C-contiguous" in sentence or "a matrix of contiguous rows" in sentence
    backwards = arrays[index][..., ::-1]
    refused(ValueError, op, arrays, parameters, (index, backwards))


@pytest.mark.parametrize(("op", "arrays", "parameters", "index"), EACH)
def test_arrays_of_another_shape(
    op: str, arrays: tuple[np.ndarray, ...], parameters: dict[str, Any], index: int
) -> None:
    """The reference refuses them too, if not always in the name of the same op."""
    for changed in (arrays[index][None], arrays[index][..., :-1].copy(), arrays[index][:, None]):
        given = [array.copy() for array in arrays]
        given[index] = changed
        outcomes = []
        for ops in (REFERENCE, OPS):
            try:
                getattr(ops, op)(*given, **parameters)
                outcomes.append("")
            except ValueError as error:
                outcomes.append(str(error).partition(": ")[0])
        assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("op", ["sgd_update", "linear_sgd_update"])
@pytest.mark.parametrize("name", ["weight", "velocity"])
def test_what_is_changed_must_be_writeable(op: str, name: str) -> None:
    given = {"weight": MATRIX.copy(), "velocity": MATRIX.copy()}
    given[name].flags.writeable = False
    if op == "sgd_update":
        arguments = (given["weight"], MATRIX, given["velocity"])
    else:
        arguments = (normal(3, 5), ROWS, given["weight"], given["velocity"])
    with pytest.raises(ValueError, match=f"^{op}: {name} is changed in place and must be write"):
        getattr(OPS, op)(*arguments, **RATES)


@pytest.mark.parametrize(
    ("op", "arrays", "parameters"),
    [
        ("conv2d", (IMAGE, FILTERS, normal(4)), {"stride": 2**62}),
        ("conv2d", (IMAGE, FILTERS, normal(4)), {"pad": 2**62}),
        ("conv2d", (IMAGE, FILTERS, normal(4)), {"pad": 2**39, "stride": 2**39}),
        ("conv2d", (IMAGE, FILTERS, normal(4)), {"groups": -1}),
        ("max_pool", (IMAGE,), {"kernel": 2**62, "stride": 1, "pad": 2**62 - 1}),
        ("max_pool", (IMAGE,), {"kernel": 2**40, "stride": 1, "pad": 2**40 - 1}),
        ("lrn", (IMAGE,), {**NORM, "size": 2**62 + 1}),
        ("lrn", (IMAGE,), {**NORM, "size": -1}),
    ],
)
def test_sizes_beyond_reason(op: str, arrays: tuple[Any, ...], parameters: dict[str, Any]) -> None:
    with pytest.raises((ValueError, MemoryError)):
        getattr(OPS, op)(*arrays, **parameters)


def test_a_window_far_wider_than_the_image() -> None:
    wide = {"kernel": 2**31 - 1, "stride": 2**31, "pad": 2**30}
    assert np.array_equal(OPS.max_pool(IMAGE, **wide), IMAGE.max(axis=(2, 3), keepdims=True))
