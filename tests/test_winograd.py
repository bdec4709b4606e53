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
"""

from __future__ import annotations

import numpy as np
import pytest

from goturn import _cpu
from goturn.ops.reference import ReferenceOps
from test_cpu_engine import run

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


def by_points(
    x: np.ndarray, weight: np.ndarray, groups: int, *, absolute: bool = False
) -> np.ndarray:
    """The convolution of x (N, C, H, W), stride 1 and no pad, by the algorithm as in a textbook."""
    taps = weight.shape[-1]
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
    products = np.einsum("ngcyxij,gkcij->ngkyxij", points, filters)
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


def check(case: tuple[int, ...], n: int, *, wild: bool = False) -> None:
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
    tower = _cpu.Tower(layers, side)

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
    magnitude = by_points(*gathered, groups, absolute=True)[:, :, :size, :size]
    magnitude += np.abs(bias)[:, np.newaxis, np.newaxis]
    assert (error <= EPS * np.sqrt(gathered[1].shape[1] + 22) * magnitude).all()
    if case in NETWORK:
        absolutes = (np.abs(array).astype(np.float64) for array in (inputs, weight, bias))
        terms = weight[0].size + 1
        products = ReferenceOps().conv2d(*absolutes, **shape)
        assert (error <= EPS * np.sqrt(terms) * products).all()
    # An image gives the same bits in any company.
    for i in range(n):
        assert np.array_equal(got[i].ravel(), tower(x[i : i + 1])[0])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("wild", [False, True], ids=["of one size", "wild"])
def test_awkward_shapes_are_within_the_bound(case, wild):
    for n in (1, 5):
        check(case, n, wild=wild)


@pytest.mark.parametrize("case", NETWORK, ids=[f"conv{i}" for i in range(1, 6)])
def test_layers_of_the_network_are_within_both_bounds(case):
    check(case, 1)


EVERY_CASE = """
from test_winograd import CASES, check
for case in CASES:
    check(case, 2)
print(_cpu.isa())
"""


@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512"])
def test_awkward_shapes_are_within_the_bound_on_every_instruction_set(isa):
    done = run(EVERY_CASE, GOTURN_CPU_ISA=isa)
    if "which this processor does not have" in done.stderr:
        pytest.skip(f"no {isa} here")
    assert done.stdout.split() == [isa], done.stderr


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_any_division_of_the_work_gives_the_same_bits(threads):
    """How tiles and channels are divided into pieces depends on the number of threads."""
    rng = np.random.default_rng(0)
    before = _cpu.thread_count()
    for kernel, channels in ((3, 130), (5, 20)):  # weights or pixels are more
        layers = [
            conv(normal(rng, 12, 3, 1, 1), normal(rng, 12)),
            conv(normal(rng, channels, 12, kernel, kernel), normal(rng, channels), pad=1),
        ]
        tower, x = _cpu.Tower(layers, 21), normal(rng, 4, 3, 21, 21)
        try:
            _cpu.set_thread_count(1)
            want = tower(x)
            _cpu.set_thread_count(threads)
            assert np.array_equal(tower(x), want)
        finally:
            _cpu.set_thread_count(before)
