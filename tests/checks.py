"""The one checker: holds any backend's operations, forward and backward, against the float64 reference.

``check(ops, case)`` runs a row of :data:`cases.CASES` on a backend in float32 and compares it with
:class:`goturn.ops.reference.ReferenceOps` in float64 on the same numbers.  No tolerance is tuned.

Sums of products
    A float32 operation errs by at most u = eps / 2 of its result.  An output that sums K products passes
    K such steps (a product and its addition fused or not, in any order), each erring by at most u of a
    partial sum, and that is at most S, the sum of the absolute products: so K u S always, and, errors
    being independent and as often up as down, sqrt(K) u S times a small factor in practice.  The bound
    is::

        |error| <= TOLERANCE_FACTOR * eps * sqrt(K) * S

    An error uniform in +-u S has a standard deviation of u S / sqrt(3), so K of them have one of
    0.29 eps sqrt(K) S, even if every partial sum were as large as S.  Summed one after another, terms of
    one sign come to 0.17 eps sqrt(K) S, terms of both signs to far less.  The factor 1 is thus six
    standard deviations of the worst honest order of summation.  S comes from the reference itself, run
    on absolute values.  Where K is in the tens of thousands, sqrt(K) is so generous that products
    rounded to 10 bits would pass: there an op is also run on inputs of which all but a few are zero,
    K being the number of those, since products with zero add no error.

Everything else
    Counts its roundings: n of them err by at most n u times the sum of the absolute values of what is
    added up.  What only selects or compares (max, ReLU, the mask, the sign) must be exact.

Every op is run as :mod:`candidate` runs it: twice, the same bits, arguments unchanged, float32.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from candidate import Candidate, Columns
from cases import Case
from emulated import emulated_ops
from goturn.box import Box, search_window
from goturn.ops import Ops, get_ops
from goturn.ops.interface import adam_rates
from goturn.ops.reference import ReferenceOps
from goturn.ops.reference_match import EPSILON

#: Every backend whose tests run here; those this machine or build lacks are skipped.
BACKENDS = ("reference", "cpu", "cuda", "cuda-emulated")

EPS = float(np.finfo(np.float32).eps)
TOLERANCE_FACTOR = 1.0

#: Sums longer than this are also checked on inputs that are mostly zero.
SPARSE_FROM = 4000

#: Roundings granted to a power function, in u: four units in the last place.
POWER_ROUNDINGS = 8

ORACLE = ReferenceOps()


def int8_steps(ops: Ops, x: np.ndarray, weight: np.ndarray) -> Any:
    """By how much products with int8 weights may be off besides: the CPU takes each row of ``x`` as whole
    numbers of 16 bits, the nearest to multiples of the 8191st part of the row's largest.
    """
    if ops.name != "cpu":
        return 0.0
    step = np.abs(x).max(axis=1, keepdims=True) / 8191
    return 0.501 * step * np.abs(weight).sum(axis=1)


def load_backend(name: str) -> Ops:
    """The backend, or the test is skipped where there is none."""
    if name == "cuda-emulated":
        return emulated_ops()
    try:
        return get_ops(name)
    except RuntimeError as error:
        pytest.skip(f"no backend {name!r}: {error}")


def check(ops: Ops, case: Case) -> None:
    """Fails unless ``ops`` does what ``case`` asks, within the bounds above."""
    rng = np.random.default_rng(zlib.crc32(str(case).encode()))
    _CHECKS[case.op](Candidate(ops, str(case)), rng, **case.parameters)


# -- bounds --------------------------------------------------------------------------------------


def _oracle(op: str, *arguments: np.ndarray | None, **parameters: Any) -> Any:
    """The reference's answer in float64."""
    wide = [None if a is None else a.astype(np.float64) for a in arguments]
    return getattr(ORACLE, op)(*wide, **parameters)


def _oracle_of_absolutes(op: str, *arguments: np.ndarray | None, **parameters: Any) -> Any:
    """S of the module's description: the same op on absolute values."""
    return _oracle(op, *(None if a is None else np.abs(a) for a in arguments), **parameters)


def _sum_bound(terms: int, magnitude: Any) -> Any:
    """The bound on an output that sums ``terms`` products of absolute sum ``magnitude``."""
    return TOLERANCE_FACTOR * EPS * math.sqrt(terms) * magnitude


def _rounding_bound(roundings: float, magnitude: Any) -> Any:
    """The bound on a value that passes ``roundings`` roundings."""
    return roundings * EPS / 2 * np.abs(magnitude)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)


# -- one function per op -------------------------------------------------------------------------


def _check_conv2d(
    candidate: Candidate,
    rng: np.random.Generator,
    x: tuple[int, ...],
    weight: tuple[int, ...],
    **parameters: int,
) -> None:
    image, bias = _normal(rng, x), _normal(rng, weight[:1])
    filters = _normal(rng, weight, 1 / math.sqrt(math.prod(weight[1:])))
    forward = (image, filters, bias)
    want = _oracle("conv2d", *forward, **parameters)
    size = _oracle_of_absolutes("conv2d", *forward, **parameters)
    bound = _sum_bound(math.prod(weight[1:]) + 1, size)
    candidate.compare("y", candidate.run("conv2d", *forward, **parameters), want, bound)
    rectified = candidate.run("conv2d", *forward, relu=True, **parameters)
    candidate.compare("y of ReLU", rectified, np.maximum(want, 0), bound)

    backward = (_normal(rng, want.shape), image, filters)
    per_pixel = weight[0] // parameters.get("groups", 1) * math.prod(weight[2:])
    per_weight = len(image) * math.prod(want.shape[2:])
    terms = (per_pixel, per_weight, per_weight)
    _compare_gradients(candidate, "conv2d_backward", backward, parameters=parameters, terms=terms)


def _check_linear(
    candidate: Candidate,
    rng: np.random.Generator,
    *,
    x: tuple[int, ...],
    weight: tuple[int, ...],
    columns: tuple[int, int] | None = None,
    bias: str | None = "one",
) -> None:
    rows = _normal(rng, x)
    matrix = _normal(rng, weight, 1 / math.sqrt(x[1]))
    shapes = {"one": weight[:1], "a row each": (x[0], weight[0])}
    offset = _normal(rng, shapes[bias]) if bias else None
    given: Any = matrix
    if columns is not None:
        given = Columns(matrix, *columns)
        matrix = given.view(matrix)
    want = _oracle("linear", rows, matrix, offset)
    bound = _sum_bound(x[1] + bool(bias), _oracle_of_absolutes("linear", rows, matrix, offset))
    candidate.compare("y", candidate.run("linear", rows, given, offset), want, bound)
    rectified = candidate.run("linear", rows, given, offset, relu=True)
    candidate.compare("y of ReLU", rectified, np.maximum(want, 0), bound)
    if x[1] > SPARSE_FROM:
        few = np.where(rng.random(x) < 16 / x[1], rows, np.float32(0))
        terms = int(np.count_nonzero(few, axis=1).max()) + bool(bias)
        bound = _sum_bound(terms, _oracle_of_absolutes("linear", few, matrix, offset))
        got = candidate.run("linear", few, given, offset)
        candidate.compare("y of few", got, _oracle("linear", few, matrix, offset), bound)

    dy = _normal(rng, want.shape)
    _compare_gradients(
        candidate,
        "linear_backward",
        (dy, rows, matrix),
        parameters={},
        terms=(weight[0], x[0], x[0]),
        given=(dy, rows, given),
    )
    without = candidate.run("linear_backward", dy, rows, given, need_dweight=False)
    assert without[1] is None, f"{candidate.title}: computed dweight although it is not needed"
    want = _oracle("linear_backward", dy, rows, matrix)
    size = _oracle_of_absolutes("linear_backward", dy, rows, matrix)
    for index, name, count in ((0, "dx", weight[0]), (2, "dbias", x[0])):
        bound = _sum_bound(count, size[index])
        candidate.compare(f"{name} without dweight", without[index], want[index], bound)


def _compare_gradients(
    candidate: Candidate,
    op: str,
    arguments: tuple[np.ndarray, ...],
    *,
    parameters: dict[str, int],
    terms: tuple[int, int, int],
    given: tuple[Any, ...] | None = None,
) -> None:
    """Compares (dx, dweight, dbias), sums of ``terms`` products each, and what need_dx leaves out."""
    given = arguments if given is None else given
    got = candidate.run(op, *given, **parameters)
    want = _oracle(op, *arguments, **parameters)
    size = _oracle_of_absolutes(op, *arguments, **parameters)
    for index, name in enumerate(("dx", "dweight", "dbias")):
        bound = _sum_bound(terms[index], size[index])
        candidate.compare(name, got[index], want[index], bound)
    without = candidate.run(op, *given, need_dx=False, **parameters)
    assert without[0] is None, f"{candidate.title}: {op} computed dx although need_dx is False"
    for index, name in ((1, "dweight"), (2, "dbias")):
        bound = _sum_bound(terms[index], size[index])
        candidate.compare(f"{name} without dx", without[index], want[index], bound)


def _check_max_pool(
    candidate: Candidate, rng: np.random.Generator, x: tuple[int, ...], **parameters: int
) -> None:
    smooth = _normal(rng, x)
    tied = np.round(_normal(rng, x))  # a handful of values: most windows have several maxima
    per_pixel = math.ceil(parameters["kernel"] / parameters["stride"]) ** 2
    for name, image in (("", smooth), (" with ties", tied), (" below zero", smooth - 10)):
        want = _oracle("max_pool", image, **parameters)
        candidate.compare(f"y{name}", candidate.run("max_pool", image, **parameters), want)
        dy = _normal(rng, want.shape)
        got = candidate.run("max_pool_backward", dy, image, **parameters)
        want = _oracle("max_pool_backward", dy, image, **parameters)
        size = _oracle("max_pool_backward", np.abs(dy), image, **parameters)
        candidate.compare(f"dx{name}", got, want, _sum_bound(per_pixel, size))


def _check_lrn(
    candidate: Candidate, rng: np.random.Generator, x: tuple[int, ...], **parameters: Any
) -> None:
    image, dy = _normal(rng, x, 100.0), _normal(rng, x)  # so that the sum of squares matters
    size, beta = parameters["size"], parameters["beta"]
    # The scale k + alpha / size * sum: squares, sums, their factor (itself rounded), k added, all of
    # one sign.  A power multiplies its relative error by the exponent and adds the power's own.
    in_scale = size + 3
    in_power = beta * in_scale + POWER_ROUNDINGS
    want = _oracle("lrn", image, **parameters)
    bound = _rounding_bound(in_power + 1, want)
    candidate.compare("y", candidate.run("lrn", image, **parameters), want, bound)

    # dx is a difference, D - B; on absolute values D = |dy| s^-beta is known, hence B and D + B.
    got = candidate.run("lrn_backward", dy, image, **parameters)
    want = _oracle("lrn_backward", dy, image, **parameters)
    direct = np.abs(dy * _oracle("lrn", image, **parameters) / image)
    total = 2 * direct - _oracle_of_absolutes("lrn_backward", dy, image, **parameters)
    bound = _rounding_bound(in_power + in_scale + size + 6, total)
    candidate.compare("dx", got, want, bound)


def _check_match(
    candidate: Candidate,
    rng: np.random.Generator,
    *,
    count: int,
    channels: int,
    cells: int,
    scale: float,
) -> None:
    # Of any size and mean, and in each example with others a cell that all channels have alike.
    maps = [_normal(rng, (count, channels, cells), 2.0) + np.float32(1) for _ in range(2)]
    if cells > 1:
        maps[0][:, :, -1] = _normal(rng, (count, 1))
    features = tuple(each.reshape(count, -1) for each in maps)
    how = {"cells": cells, "scale": scale}
    ours, theirs = (_columns_of(each) for each in maps)
    (a, a_error, *_), (b, b_error, *_) = ours, theirs

    want = _oracle("match", *features, **how)
    turned = np.abs(a).transpose(0, 2, 1)
    off = a_error.transpose(0, 2, 1) @ np.abs(b) + turned @ b_error
    size = turned @ np.abs(b)
    bound = abs(scale) * (off + _sum_bound(channels, size)).reshape(want.shape)
    bound = bound + _rounding_bound(1, want)
    got = candidate.run("match", *features, **how)
    candidate.compare("y", got, want, bound)
    alike = got.reshape(count, cells, cells)[:, cells - 1 if cells > 1 else cells :]
    assert not alike.any(), f"{candidate.title}: a cell of equal channels matches something"

    dy = _normal(rng, want.shape)
    pairs = dy.astype(np.float64).reshape(count, cells, cells)
    want = _oracle("match_backward", dy, *features, **how)
    got = candidate.run("match_backward", dy, *features, **how)
    bounds = (
        _match_gradient_bound(ours, theirs, scale * pairs.transpose(0, 2, 1)),
        _match_gradient_bound(theirs, ours, scale * pairs),
    )
    for index, name in enumerate(("d_targets", "d_searches")):
        bound = bounds[index].reshape(want[index].shape)
        candidate.compare(name, got[index], want[index], bound)


#: Columns of match in float64, bounds on their errors in float32, what they are divided by, and a bound
#: on that one's relative error.
_MatchColumns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _columns_of(maps: np.ndarray) -> _MatchColumns:
    wide, channels = maps.astype(np.float64), maps.shape[1]
    mean = wide.mean(axis=1, keepdims=True)
    centred = wide - mean
    size = np.sqrt((centred**2).sum(axis=1, keepdims=True) + EPSILON)
    # The mean and the difference round once each; a square carries its number's error twice, and a root
    # halves the relative error of its sum.
    off = _rounding_bound(1, mean) + _rounding_bound(1, centred)
    of_squares = 2 * (np.abs(centred) * off).sum(axis=1, keepdims=True) + _sum_bound(
        channels, size**2
    )
    relative = of_squares / (2 * size**2) + _rounding_bound(2, 1.0)
    unit = centred / size
    error = off / size + np.abs(unit) * (relative + _rounding_bound(2, 1.0))
    return unit, error, size, relative


def _match_gradient_bound(
    ours: _MatchColumns, others: _MatchColumns, pairs: np.ndarray
) -> np.ndarray:
    """The bound on the gradient of one side's features; see ``reference_match`` for the steps."""
    (unit, unit_error, size, relative), (other, other_error, *_) = ours, others
    channels, cells = unit.shape[1:]
    g = other @ pairs
    g_error = other_error @ np.abs(pairs) + _rounding_bound(2, g)
    g_error = g_error + _sum_bound(cells, np.abs(other) @ np.abs(pairs))
    along = (unit * g).sum(axis=1, keepdims=True)
    along_error = (np.abs(unit) * g_error + unit_error * np.abs(g)).sum(axis=1, keepdims=True)
    products = np.abs(unit * g).sum(axis=1, keepdims=True)
    along_error = along_error + _sum_bound(channels, products)
    whole = (g - unit * along) / size
    off = (g_error + np.abs(unit) * along_error + unit_error * np.abs(along)) / size
    off = off + _rounding_bound(3, (np.abs(g) + np.abs(unit * along)) / size)
    off = off + np.abs(whole) * relative
    mean = whole.mean(axis=1, keepdims=True)
    mean_error = off.mean(axis=1, keepdims=True) + _rounding_bound(1, mean)
    return off + mean_error + _rounding_bound(1, np.abs(whole) + np.abs(mean))


def _check_relu(candidate: Candidate, rng: np.random.Generator, x: tuple[int, ...]) -> None:
    values, dy = np.round(_normal(rng, x) * 2) / 2, _normal(rng, x)  # zeros among them
    candidate.compare("y", candidate.run("relu", values), np.maximum(values, 0))
    y = np.maximum(values, 0)
    candidate.compare("dx", candidate.run("relu_backward", dy, y), np.where(values > 0, dy, 0))


def _check_dropout(
    candidate: Candidate, rng: np.random.Generator, x: tuple[int, ...], ratio: float, key: int
) -> None:
    mask = candidate.run("dropout_mask", shape=x, ratio=ratio, key=key)
    candidate.compare("mask", mask, ORACLE.dropout_mask(x, ratio=ratio, key=key))
    values = _normal(rng, x)
    want = _oracle("dropout", values, mask, ratio=ratio)
    got = candidate.run("dropout", values, mask, ratio=ratio)
    # 1 - ratio, its reciprocal if that is used, and the product round once each.
    candidate.compare("y", got, want, _rounding_bound(3, want))


def _check_l1_loss(candidate: Candidate, rng: np.random.Generator, x: tuple[int, ...]) -> None:
    prediction, label = _normal(rng, x), _normal(rng, x)
    label[:, 1] = prediction[:, 1]  # the kink
    value, gradient = candidate.run("l1_loss", prediction, label)
    want, want_gradient = _oracle("l1_loss", prediction, label)
    assert isinstance(value, float), f"{candidate.title}: the loss is a {type(value).__name__}"
    candidate.compare("loss", value, want, _sum_bound(label.size, want))
    candidate.compare("gradient", gradient, want_gradient)


def _check_l2_loss(candidate: Candidate, rng: np.random.Generator, x: tuple[int, ...]) -> None:
    prediction, label = _normal(rng, x), _normal(rng, x)
    value, gradient = candidate.run("l2_loss", prediction, label)
    want, want_gradient = _oracle("l2_loss", prediction, label)
    assert isinstance(value, float), f"{candidate.title}: the loss is a {type(value).__name__}"
    # A square carries the error of its difference twice.
    bound = _sum_bound(label.size, want) + _rounding_bound(2, want)
    candidate.compare("loss", value, want, bound)
    candidate.compare("gradient", gradient, want_gradient, _rounding_bound(1, want_gradient))


def _check_sgd_update(
    candidate: Candidate, rng: np.random.Generator, x: tuple[int, ...], **rates: float
) -> None:
    ops, start = candidate.ops, [_normal(rng, x) for _ in range(3)]
    weight, gradient, velocity = (ops.from_numpy(array.copy()) for array in start)
    ops.sgd_update(weight, gradient, velocity, **rates)
    wide = [array.astype(np.float64) for array in start]
    ORACLE.sgd_update(*wide, **rates)
    candidate.compare("gradient", ops.to_numpy(gradient), start[1])
    w, g, v = (np.abs(array.astype(np.float64)) for array in start)
    # Each of the three terms passes at most six roundings, those of the constants included.
    magnitude = rates["momentum"] * v + rates["rate"] * (g + rates["decay"] * w)
    bound = _rounding_bound(6, magnitude)
    candidate.compare("velocity", ops.to_numpy(velocity), wide[2], bound)
    bound = bound + _rounding_bound(1, w + magnitude)
    candidate.compare("weight", ops.to_numpy(weight), wide[0], bound)


def _check_adam_update(
    candidate: Candidate, rng: np.random.Generator, x: tuple[int, ...], **how: Any
) -> None:
    ops, start = candidate.ops, [_normal(rng, x) for _ in range(4)]
    start[3] = np.abs(start[3])  # a mean of squares
    start[1].reshape(-1)[0] = 0.0
    weight, gradient, velocity, square = (ops.from_numpy(array.copy()) for array in start)
    ops.adam_update(weight, gradient, velocity, square, **how)
    wide = [array.astype(np.float64) for array in start]
    ORACLE.adam_update(*wide, **how)
    candidate.compare("gradient", ops.to_numpy(gradient), start[1])
    w, g, v, s = (np.abs(array.astype(np.float64)) for array in start)
    rates = adam_rates(**how)
    # Each term passes three roundings, those of the constants included; a square has one more.
    moved = rates["momentum"] * v + rates["fresh"] * g
    squared = rates["squares"] * s + rates["fresh_squares"] * g**2
    candidate.compare("velocity", ops.to_numpy(velocity), wide[2], _rounding_bound(3, moved))
    candidate.compare("square", ops.to_numpy(square), wide[3], _rounding_bound(4, squared))
    # A root halves an error; root, its product, the sum, the step, its product and the quotient follow,
    # and then the shrinking (three) and the two sums.
    step = rates["step"] * moved / (rates["root"] * np.sqrt(squared) + rates["epsilon"])
    shrunk = rates["shrink"] * w
    bound = _rounding_bound(15, step) + _rounding_bound(4, shrunk)
    bound = bound + _rounding_bound(1, w + step + shrunk)
    candidate.compare("weight", ops.to_numpy(weight), wide[0], bound)


def _check_linear_sgd_update(
    candidate: Candidate,
    rng: np.random.Generator,
    x: tuple[int, int],
    outputs: int,
    **rates: float,
) -> None:
    ops = candidate.ops
    shapes = ((x[0], outputs), x, (outputs, x[1]), (outputs, x[1]))  # dy, x, weight, velocity
    start = [_normal(rng, shape) for shape in shapes]
    wide = [array.astype(np.float64) for array in start]
    ORACLE.linear_sgd_update(*wide, **rates)
    runs = []
    for _ in range(2):
        arrays = [ops.from_numpy(array.copy()) for array in start]
        ops.linear_sgd_update(*arrays, **rates)
        runs.append([ops.to_numpy(array) for array in arrays])
    got = runs[0]
    for index, name in enumerate(("dy", "x", "weight", "velocity")):
        candidate.compare(f"{name} of another run", runs[1][index], got[index])
    candidate.compare("dy", got[0], start[0])
    candidate.compare("x", got[1], start[1])
    dy, inputs, w, v = (np.abs(array.astype(np.float64)) for array in start)
    # As sgd_update, with the error of a sum of products in the gradient.
    size = dy.T @ inputs
    magnitude = rates["momentum"] * v + rates["rate"] * (size + rates["decay"] * w)
    bound = _rounding_bound(6, magnitude) + rates["rate"] * _sum_bound(x[0], size)
    candidate.compare("velocity", got[3], wide[3], bound)
    candidate.compare("weight", got[2], wide[2], bound + _rounding_bound(1, w + magnitude))


def _check_crop_resize(
    candidate: Candidate,
    rng: np.random.Generator,
    frame: tuple[int, int, int],
    boxes: tuple[tuple[float, float, float, float], ...],
    **parameters: Any,
) -> None:
    pixels = rng.integers(0, 256, frame, np.uint8)
    given: dict[str, Any] = {
        "windows": [search_window(Box(*box), frame[1], frame[0]) for box in boxes],
        "mean": (104.0, 117.0, 123.0),
        **parameters,
    }
    got = candidate.run("crop_resize", pixels, **given)
    candidate.compare("crops", got, ORACLE.crop_resize(pixels, **given))


_CHECKS: dict[str, Callable[..., None]] = {
    "conv2d": _check_conv2d,
    "max_pool": _check_max_pool,
    "lrn": _check_lrn,
    "match": _check_match,
    "linear": _check_linear,
    "relu": _check_relu,
    "dropout": _check_dropout,
    "l1_loss": _check_l1_loss,
    "l2_loss": _check_l2_loss,
    "sgd_update": _check_sgd_update,
    "adam_update": _check_adam_update,
    "linear_sgd_update": _check_linear_sgd_update,
    "crop_resize": _check_crop_resize,
}
