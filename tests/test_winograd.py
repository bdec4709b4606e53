"""The towers' convolutions by Winograd's algorithm, each held against the reference by itself.

A convolution that multiplies polynomials at points does not err in proportion to S, the sum of the
absolute products of :mod:`checks`: where a tile has large pixels and small ones, the small outputs
inherit roundings of the large ones.  Its own S, here ``magnitude``, has every matrix and every value
of the algorithm in absolute values, |A^T| ((|G| |g| |G^T|) * (|B^T| |d| |B|)) |A|, since each
rounding is of a partial sum in there.  An output passes one rounding for each input channel, at most
five in each of the four transforms of pixels and products, one of the packed weight and one of the
bias; with sqrt as in :mod:`checks`::

    |error| <= eps * sqrt(channels + 22) * (magnitude + |bias|)

That bound is wider than eps * sqrt(K) * S where an output has few products, or few beside a border.
The network's own layers have thousands; there the latter must hold as for any convolution.

On whole numbers of 16 bits (``numbers="int16"``) what is multiplied is rounded once more, to half a step
of its row's scale and of its weights'; the bound has what that can come to, product by product.
"""

from __future__ import annotations

import numpy as np
import pytest

from goturn import _cpu
from goturn.ops.compressed import to_bf16
from goturn.ops.reference import ReferenceOps
from test_cpu_engine import run_on

EPS = np.finfo(np.float32).eps

#: The points at which the algorithms for kernels of so many taps multiply, infinity apart.
POINTS = {3: (0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)), 5: (0, 0.5, -0.5, 1, -1, 2, -2)}

#: Side, kernel, stride, pad, groups, channels (3: the crop itself), outputs.
CASES = [
    (13, 3, 1, 1, 1, 24, 40),
    (13, 3, 1, 1, 2, 26, 34),
    (27, 5, 1, 2, 2, 18, 32),
    (12, 3, 1, 0, 1, 3, 70),
    (9, 3, 1, 2, 3, 9, 15),
    (5, 3, 1, 2, 1, 33, 1),
    (14, 3, 1, 1, 7, 7, 14),
    (41, 3, 1, 1, 1, 5, 3),
    (11, 5, 1, 0, 1, 3, 17),
    (8, 5, 1, 4, 1, 31, 33),
    (9, 5, 1, 3, 4, 8, 20),
    (10, 5, 1, 1, 3, 3, 6),
    (67, 11, 4, 0, 1, 3, 96),
    (66, 11, 4, 3, 1, 3, 5),
    (37, 7, 3, 1, 1, 3, 20),
    (34, 5, 2, 4, 1, 3, 9),
    (33, 9, 2, 2, 1, 3, 16),
]

#: What a tower's convolutions may multiply, of what goes by Winograd's algorithm.
NUMBERS = ["fp32", *(["int16"] if _cpu.tower_takes_int16() else [])]

needs_int16 = pytest.mark.skipif(
    not _cpu.tower_takes_int16(),
    reason="this processor does not multiply numbers of 16 bits in pairs",
)

#: conv1 to conv5 of the paper's network.
NETWORK = [
    (227, 11, 4, 0, 1, 3, 96),
    (27, 5, 1, 2, 2, 96, 256),
    (13, 3, 1, 1, 1, 256, 384),
    (13, 3, 1, 1, 2, 384, 384),
    (13, 3, 1, 1, 2, 384, 256),
]


def transforms(taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A^T, G, B^T: powers of the points; the filter's values at the points over the product of each
    point's distances from the others; and polynomials that are 0 at all points but one.
    """
    points = POINTS[taps]
    tile = len(points) + 1
    side = tile - taps + 1
    a, g, b = np.zeros((side, tile)), np.zeros((tile, taps)), np.zeros((tile, tile))
    for i, point in enumerate(points):
        others = [other for other in points if other != point]
        a[:, i] = [point**j for j in range(side)]
        g[i] = [point**j / np.prod([point - other for other in others]) for j in range(taps)]
        b[i, :-1] = np.poly(others)[::-1]
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = np.poly(points)[::-1]
    return a, g, b


#: The largest whole number of an input, and the most that a channel's weights may sum up to.
MOST, MOST_WEIGHTS = 8191, (2**31 - 1) // 8191


def whole(points: np.ndarray, filters: np.ndarray) -> tuple[np.ndarray, ...]:
    """The steps to which inputs (N, groups, channels, ..) and filters (groups, outputs, channels, ..) at
    points are rounded: the statement of kernels.h and conv2d_winograd.cpp.
    """
    inputs = np.abs(points).max(2, keepdims=True) / MOST
    sizes, count = np.abs(filters), filters.shape[2]
    room = MOST_WEIGHTS - count / 2
    weights = np.maximum(sizes.max(2, keepdims=True) / 32767, sizes.sum(2, keepdims=True) / room)
    return inputs, weights


def bf16(values: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 of each, as float64."""
    bits = to_bf16(np.asarray(values, np.float32)).astype(np.uint32) << 16
    return bits.view(np.float32).astype(np.float64)


def rounded(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    return np.round(values / np.where(steps > 0, steps, 1)) * steps


def by_points(x: np.ndarray, weight: np.ndarray, groups: int, *, how: str = "exact") -> np.ndarray:
    """The convolution of x (N, C, H, W), stride 1 and no pad, by the algorithm as in a textbook.

    ``how``: "exact"; "absolute", with every matrix and value in absolute values; "whole", with what is
    multiplied rounded; "steps", the most that this rounding can make of a difference.
    """
    taps = weight.shape[-1]
    absolute = how == "absolute"
    a, g, b = (np.abs(m) if absolute else m for m in transforms(taps))
    if absolute:
        x, weight = np.abs(x), np.abs(weight)
    side, tile = a.shape
    height, width = (size - taps + 1 for size in x.shape[2:])
    rows, columns = -(-height // side), -(-width // side)
    fill = (rows * side + taps - 1 - x.shape[2], columns * side + taps - 1 - x.shape[3])
    x = np.pad(x, ((0, 0), (0, 0), (0, fill[0]), (0, fill[1])))
    tiles = np.lib.stride_tricks.sliding_window_view(x, (tile, tile), (2, 3))[:, :, ::side, ::side]
    points = (b @ tiles @ b.T).reshape(len(x), groups, -1, rows, columns, tile, tile)
    filters = (g @ weight @ g.T).reshape(groups, -1, points.shape[2], tile, tile)

    def multiplied(points: np.ndarray, filters: np.ndarray) -> np.ndarray:
        return np.einsum("ngcyxij,gkcij->ngkyxij", points, filters)

    if how in ("whole", "steps"):
        inputs, weights = whole(points, filters)
    if how == "whole":
        points, filters = rounded(points, inputs), rounded(filters, weights)
    if how == "steps":
        # |pq - xy| <= |x| |q - y| + |y| |p - x| + |p - x| |q - y|
        half, halves = (
            np.broadcast_to(steps / 2, of.shape)
            for steps, of in ((inputs, points), (weights, filters))
        )
        points, filters = np.abs(points), np.abs(filters)
        products = multiplied(points, halves) + multiplied(half, filters) + multiplied(half, halves)
        a = np.abs(a)
    else:
        products = multiplied(points, filters)
    pixels = np.moveaxis(a @ products @ a.T, 5, 4)
    return pixels.reshape(len(x), len(weight), rows * side, columns * side)[:, :, :height, :width]


def squares(x: np.ndarray, stride: int) -> np.ndarray:
    """Squares of stride x stride as single pixels of more channels, (N, C * stride * stride, ..)."""
    fill = [-size % stride for size in x.shape[2:]]
    x = np.pad(x, ((0, 0), (0, 0), (0, fill[0]), (0, fill[1])))
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // stride, stride, w // stride, stride)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(n, -1, h // stride, w // stride)


def conv(weight: np.ndarray, bias: np.ndarray, **parameters: int) -> dict[str, object]:
    shape = {"kind": "conv", "channels": len(weight), "kernel": weight.shape[-1]}
    return {
        **shape,
        "stride": 1,
        "pad": 0,
        "groups": 1,
        **parameters,
        "weight": weight,
        "bias": bias,
    }


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def check(case: tuple[int, ...], n: int, *, wild: bool = False, numbers: str = "fp32") -> None:
    """Fails unless the last convolution of a tower is within the bounds; `wild`: on pixels of sizes
    from 1e-3 to 1e3.
    """
    side, kernel, stride, pad, groups, channels, outputs = case
    rng = np.random.default_rng(1)
    x = normal(rng, n, 3, side, side)
    if wild:
        x *= (10.0 ** rng.uniform(-3, 3, (n, 1, side, side))).astype(np.float32)
    layers = []
    if channels != 3:  # a layer that makes more of them
        layers = [conv(normal(rng, channels, 3, 1, 1), np.zeros(channels, np.float32))]
        inputs = _cpu.Tower(layers, side)(x).reshape(n, channels, side, side).astype(np.float64)
    else:
        inputs = x.astype(np.float64)
    weight, bias = normal(rng, outputs, channels // groups, kernel, kernel), normal(rng, outputs)
    weight /= np.sqrt(weight[0].size, dtype=np.float32)
    layers.append(conv(weight, bias, stride=stride, pad=pad, groups=groups))
    # The layer that makes channels has a kernel of 1, and goes in single precision in any case.
    tower = _cpu.Tower(layers, side, numbers)

    shape = {"stride": stride, "pad": pad, "groups": groups}
    wide = weight.astype(np.float64)
    want = ReferenceOps().conv2d(inputs, wide, bias.astype(np.float64), **shape)
    padded = np.pad(inputs, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    gathered = squares(padded, stride), squares(wide, stride)
    size = want.shape[2]
    again = by_points(*gathered, groups)[:, :, :size, :size] + bias[:, np.newaxis, np.newaxis]
    np.testing.assert_allclose(
        again, want, rtol=0, atol=1e-12 * np.abs(inputs).max()
    )  # the test's own

    got = tower(x).reshape(want.shape)
    error = np.abs(got - np.maximum(want, 0))
    magnitude = by_points(*gathered, groups, how="absolute")[:, :, :size, :size]
    magnitude += np.abs(bias)[:, np.newaxis, np.newaxis]
    bound = EPS * np.sqrt(gathered[1].shape[1] + 22) * magnitude
    if numbers == "int16":
        bound += by_points(*gathered, groups, how="steps")[:, :, :size, :size]
    assert (error <= bound).all()
    if numbers == "int16" and case in NETWORK:
        plain = by_points(*gathered, groups, how="whole")[:, :, :size, :size]
        plain += bias[:, np.newaxis, np.newaxis]
        own, statement = (
            np.sqrt(np.mean((np.maximum(y, 0) - np.maximum(want, 0)) ** 2)) for y in (got, plain)
        )
        # Its roundings are those of the statement, and below those of a convolution in bfloat16.
        assert 0.9 * statement < own < 1.1 * statement
        halves = ReferenceOps().conv2d(bf16(inputs), bf16(weight), bias.astype(np.float64), **shape)
        assert own < np.sqrt(np.mean((np.maximum(halves, 0) - np.maximum(want, 0)) ** 2))
    elif case in NETWORK:
        absolutes = (np.abs(array).astype(np.float64) for array in (inputs, weight, bias))
        terms = weight[0].size + 1
        products = ReferenceOps().conv2d(*absolutes, **shape)
        assert (error <= EPS * np.sqrt(terms) * products).all()
    # An image gives the same bits in any company.
    for i in range(n):
        assert np.array_equal(got[i].ravel(), tower(x[i : i + 1])[0])


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("wild", [False, True], ids=["of one size", "wild"])
def test_awkward_shapes_are_within_the_bound(case, wild, numbers):
    for n in (1, 5):
        check(case, n, wild=wild, numbers=numbers)


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("case", NETWORK, ids=[f"conv{i}" for i in range(1, 6)])
def test_layers_of_the_network_are_within_both_bounds(case, numbers):
    check(case, 1, numbers=numbers)


EVERY_CASE = """
from test_winograd import CASES, NUMBERS, check
for case in CASES:
    for numbers in NUMBERS:
        check(case, 2, numbers=numbers)
print(_cpu.isa())
"""


@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512", "avx512_vnni"])
def test_awkward_shapes_are_within_the_bound_on_every_instruction_set(isa):
    done = run_on(isa, EVERY_CASE)
    assert done.stdout.split() == [isa], done.stderr


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("numbers", NUMBERS)
def test_what_is_not_finite_stays_so(numbers, bad):
    """Everything that its tile touches; a tracker refuses such an answer."""
    rng = np.random.default_rng(0)
    weight, bias = normal(rng, 20, 3, 3, 3), normal(rng, 20)
    x = normal(rng, 2, 3, 16, 16)
    x[1, 2, 8, 8] = bad
    got = _cpu.Tower([conv(weight, bias, pad=1)], 16, numbers)(x).reshape(2, 20, 16, 16)
    assert np.isfinite(got[0]).all()
    assert not np.isfinite(got[1, :, 8, 8]).any()
    weight[7, 1, 2, 2] = bad
    got = _cpu.Tower([conv(weight, bias, pad=1)], 16, numbers)(x[:1]).reshape(20, 16, 16)
    assert np.isfinite(np.delete(got, 7, axis=0)).all()
    assert not np.isfinite(got[7]).any()


@needs_int16
@pytest.mark.parametrize("size", [0, 1e-35, 1e-20, 1e20, 1e30])
def test_whole_numbers_of_any_size(size):
    """A tile's scale takes the size of its values, the smallest and the largest numbers included."""
    rng = np.random.default_rng(0)
    weight, bias = normal(rng, 20, 3, 3, 3), np.zeros(20, np.float32)
    x = normal(rng, 1, 3, 16, 16)
    layers = [conv(weight, bias, pad=1)]
    want = _cpu.Tower(layers, 16, "fp32")(x) * np.float32(size)
    got = _cpu.Tower(layers, 16, "int16")(x * np.float32(size))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-2 * size)
    layers = [conv(weight * np.float32(size), bias, pad=1)]
    got = _cpu.Tower(layers, 16, "int16")(x)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-2 * size)


@needs_int16
def test_sums_at_their_largest_fit_32_bits():
    """All pixels and all weights alike: no other sum of products is as large."""
    layers = [conv(np.ones((600, 3, 1, 1), np.float32), np.zeros(600, np.float32))]
    for sign in (1, -1):
        wide = np.full((17, 600, 3, 3), sign, np.float32)
        for last in (wide, wide[:, :, ::-1] * np.float32(0.3)):
            tower = _cpu.Tower([*layers, conv(last, np.zeros(17, np.float32), pad=1)], 12, "int16")
            got = tower(np.full((1, 3, 12, 12), 2.5, np.float32)).reshape(17, 12, 12)
            want = max(0, 7.5 * 600 * 9 * float(last[0, 0, 0, 0]))
            np.testing.assert_allclose(got[:, 1:-1, 1:-1], want, rtol=2e-3)  # of 436 steps


def test_unknown_numbers_are_refused():
    with pytest.raises(ValueError, match="numbers must be fp32 or int16; got int4"):
        _cpu.Tower([conv(np.zeros((1, 3, 3, 3), np.float32), np.zeros(1, np.float32))], 8, "int4")


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_any_division_of_the_work_gives_the_same_bits(threads, numbers):
    """How tiles and channels are divided into pieces depends on the number of threads."""
    rng = np.random.default_rng(0)
    before = _cpu.thread_count()
    for kernel, channels in ((3, 130), (5, 20)):  # weights or pixels are more
        layers = [
            conv(normal(rng, 12, 3, 1, 1), normal(rng, 12)),
            conv(normal(rng, channels, 12, kernel, kernel), normal(rng, channels), pad=1),
        ]
        tower, x = _cpu.Tower(layers, 21, numbers), normal(rng, 4, 3, 21, 21)
        try:
            _cpu.set_thread_count(1)
            want = tower(x)
            _cpu.set_thread_count(threads)
            assert np.array_equal(tower(x), want)
        finally:
            _cpu.set_thread_count(before)
