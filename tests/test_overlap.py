"""Overlaps by all four definitions: values of other tools, properties, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goturn.box import Box
from goturn.evaluation import raster
from goturn.evaluation.overlap import MODES, overlaps

GOLDEN = json.loads((Path(__file__).parent / "golden" / "evaluation.json").read_text())
SIZE = (80, 60)

coordinate = st.floats(-100, 200, allow_nan=False)
extent = st.floats(-5, 150, allow_nan=False)
# Nothing, or enough that x + w - x is w but for rounding: a quadrangle has corners alone.
solid = st.tuples(coordinate, coordinate, *[st.one_of(st.floats(-5, 0), st.floats(1e-3, 150))] * 2)
near = st.floats(-20, 60)
box = st.tuples(coordinate, coordinate, extent, extent)
corners = st.tuples(*[coordinate] * 8)
mode = st.sampled_from(MODES)


def one(found, truth, mode, size=None, corners=None) -> float:
    quadrangle = None if corners is None else np.array([corners], float)
    return float(
        overlaps(np.array([found], float), np.array([truth], float), mode, size, quadrangle)[0]
    )


def corners_of(x, y, w, h):
    return (x, y, x + w, y, x + w, y + h, x, y + h)


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        ((10, 20, 40, 30), (10, 20, 40, 30), 1),
        ((20, 20, 40, 30), (10, 20, 40, 30), 0.6),
        ((20, 30, 40, 30), (10, 20, 40, 30), 1 / 3),
        ((60, 20, 40, 30), (10, 20, 40, 30), 0),
        ((15, 25, 30, 20), (10, 20, 40, 30), 0.5),
        ((5, 5, -10, 10), (5, 5, 10, 10), 0),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0),
        ((10.4, 20.4, 40.3, 30.3), (20.6, 20.2, 40, 30), 0.588527074817),
    ],
)
def test_exact(found, truth, expected):
    assert one(found, truth, "exact") == pytest.approx(expected, abs=5e-13)
    assert one(found, truth, "polygon") == pytest.approx(expected, abs=5e-13)
    if max(truth) > 0:
        rotated = corners_of(*truth)
        assert one(found, truth, "polygon", corners=rotated) == pytest.approx(expected, abs=5e-13)


def test_half_is_not_above_half():
    """Concentric, half the area: the value a success curve's `>` must not take."""
    assert one((15, 25, 30, 20), (10, 20, 40, 30), "exact") == 0.5


def test_bounded_moves_a_box_in_instead_of_cutting_it():
    assert one((20, 20, 40, 30), (10, 20, 40, 30), "bounded", (50, 40)) == 0.75
    assert one((-10, 0, 40, 30), (0, 0, 30, 30), "bounded", (100, 100)) == 0.75
    assert one((-10, 0, 20, 30), (0, 0, 20, 30), "bounded", (100, 100)) == 1
    assert one((0, -10, 30, 20), (0, 0, 30, 20), "bounded", (100, 100)) == 1
    assert one((90, 90, 40, 40), (95, 90, 5, 10), "bounded", (100, 100)) == 0.5
    assert one((200, 0, 40, 30), (150, 0, 40, 30), "bounded", (100, 100)) == 0


def test_raster_cases():
    assert one((10.4, 20.4, 40.3, 30.3), (20.6, 20.2, 40, 30), "raster") == pytest.approx(
        0.568627450980, abs=5e-13
    )
    assert one((0, 0, 0, 0), (0, 0, 0, 0), "raster") == 1
    assert one((0, 0, 0, 0), (5, 5, 0, 0), "raster") == 0
    assert one((20, 20, 40, 30), (10, 20, 40, 30), "raster", (50, 40)) == 0.75
    assert one((-30, 0, 10, 10), (-30, 0, 10, 10), "raster", (50, 40)) == 0
    # 2.5 becomes 2, 3.5 becomes 4: columns 2, 3 of one, 4, 5 of the other.
    assert one((2.5, 0, 2, 4), (3.5, 0, 2, 4), "raster") == 0
    # Nearest in float32, which the toolkit keeps regions in, is 2.5.
    assert one((2.50000001, 0, 2, 4), (2, 0, 2, 4), "raster") == 1
    corners = (2.50000001, 0, 5, 0, 5, 3, 2.50000001, 3)
    assert one((2, 0, 4, 4), (2, 0, 4, 4), "raster", corners=corners) == 1


def test_diamond():
    square, diamond = (0, 0, 10, 10), (5, -5, 15, 5, 5, 15, -5, 5)
    around = (-5, -5, 20, 20)
    assert one(square, around, "polygon", corners=diamond) == pytest.approx(0.5, abs=1e-15)
    # Of the diamond's 221 pixels a box of 10 by 10 covers 100; one of 11 by 11 covers what the VOT
    # toolkit makes of the square when it is given by its corners.
    assert one(square, around, "raster", corners=diamond) == 100 / 221
    assert one((0, 0, 11, 11), around, "raster", corners=diamond) == pytest.approx(
        0.547511312217, abs=5e-13
    )


@pytest.mark.parametrize(
    ("quadrangle", "expected"),
    [
        ((0, 0, 10, 0, 10, 10, 0, 10), 1.0),
        ((0, 0, 0, 10, 10, 10, 10, 0), 1.0),  # the other way round
        ((0, 0, 10, 0, 5, 5, 0, 10), 0.5),  # a dart: concave at (5, 5), half the square
        ((0, 0, 10, 10, 10, 0, 0, 10), 0.5),  # crosses itself: two triangles of 25
        ((0, 0, 10, 10, 0, 10, 10, 0), 0.5),  # the other pair of edges crosses
        ((0, 0, 10, 0, 10, 10, 10, 10), 0.5),  # a triangle
        ((3, 3, 3, 3, 3, 3, 3, 3), 0.0),  # a point
        ((0, 0, 5, 5, 10, 10, 2, 2), 0.0),  # a line
        ((20, 0, 30, 0, 30, 10, 20, 10), 0.0),  # elsewhere
        ((-10, -10, 20, -10, 20, 20, -10, 20), 1 / 9),  # all round
        ((5, 0, 15, 5, 5, 10, -5, 5), 75 / 125),  # a diamond that sticks out left and right
        ((0, 5, 5, -5, 10, 5, 5, 15), 75 / 125),  # and above and below
    ],
)
def test_polygons_of_any_kind(quadrangle, expected):
    found = one((0, 0, 10, 10), (0, 0, 10, 10), "polygon", corners=quadrangle)
    assert found == pytest.approx(expected, abs=1e-14)


def test_raster_as_the_vot_toolkit_has_it():
    """Its values, to the last bit: boxes and quadrangles on, over and outside the image's edge."""
    boxes, truth, expected = (np.array(part) for part in zip(*GOLDEN["raster boxes"], strict=True))
    assert overlaps(boxes, truth, "raster", GOLDEN["size"]).tolist() == expected.tolist()
    boxes, rotated, expected = (
        np.array(part) for part in zip(*GOLDEN["raster quadrangles"], strict=True)
    )
    found = overlaps(boxes, boxes, "raster", GOLDEN["size"], rotated)
    assert found.tolist() == expected.tolist()
    assert ((expected > 0) & (expected < 1)).sum() > 100


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", [SIZE, None])
def test_raster_against_the_vot_toolkit_itself(size):
    region = pytest.importorskip("vot.region", reason="vot-toolkit is not installed")
    rng = np.random.default_rng()
    shift = 0 if size else 300  # without bounds the toolkit is wrong where coordinates are negative
    boxes = rng.uniform(-30, 70, (3000, 4)) + np.array([shift, shift, 0, 0])
    truth = boxes + rng.normal(0, 5, boxes.shape)
    expected = [
        region.calculate_overlap(region.Rectangle(*a), region.Rectangle(*b), size)
        for a, b in zip(boxes, truth, strict=True)
    ]
    assert overlaps(boxes, truth, "raster", size).tolist() == expected
    x, y = rng.uniform(-30, 90, (2, 3000, 4)) + shift
    x[::3], y[::3] = np.round(x[::3] / 20) * 20, np.round(y[::3] / 20) * 20
    rotated = np.stack([x, y], axis=-1)
    expected = [
        region.calculate_overlap(region.Rectangle(*a), region.Polygon([tuple(p) for p in b]), size)
        for a, b in zip(boxes, rotated, strict=True)
    ]
    found = overlaps(boxes, truth, "raster", size, rotated.reshape(-1, 8))
    assert found.tolist() == expected


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-20, 40), min_size=8, max_size=8), st.integers(0, 30), st.integers(1, 30)
)
def test_convex_quadrangles_by_the_quick_way(numbers, last, rows):
    """It has the spans that the general one has."""
    points = np.array(numbers, float).reshape(1, 4, 2)
    edges = np.roll(points, -1, axis=1) - points
    after = np.roll(edges, -1, axis=1)
    turns = edges[..., 0] * after[..., 1] - edges[..., 1] * after[..., 0]
    if not ((turns > 0).all() or (turns < 0).all()):
        return
    top = max(0.0, points[..., 1].min())
    rows = int(max(0, min(points[..., 1].max(), rows) - top + 1))
    arguments = (points, np.array([top]), np.array([rows]), np.array([float(last)]))

    def pixels(spans):
        return sorted(
            (row, x)
            for low, high in spans
            for row in range(rows)
            for x in range(int(low[row]), int(high[row]) + 1)
        )

    assert pixels(raster._one_span(*arguments)) == pixels(raster._spans(*arguments))


@settings(max_examples=40, deadline=None)
@given(box, box)
def test_exact_is_what_boxes_say(a, b):
    assert one(a, b, "exact") == Box(*a).iou(Box(*b))


@settings(max_examples=40, deadline=None)
@given(box, box, mode)
def test_symmetric(a, b, mode):
    assert one(a, b, mode, SIZE) == one(b, a, mode, SIZE)


@settings(max_examples=40, deadline=None)
@given(box, box, corners, mode)
def test_between_nothing_and_everything(a, b, quadrangle, mode):
    for rotated in (None, quadrangle):
        assert 0 <= one(a, b, mode, SIZE, rotated) <= 1


@settings(max_examples=40, deadline=None)
@given(coordinate, coordinate, st.floats(3, 150), st.floats(3, 150), mode)
def test_itself(x, y, w, h, mode):
    size = (10_000, 10_000) if mode == "bounded" else None
    assert one((x + 100, y + 100, w, h), (x + 100, y + 100, w, h), mode, size) == pytest.approx(1)


@settings(max_examples=40, deadline=None)
@given(solid, solid)
def test_an_upright_quadrangle_is_a_box(a, b):
    truth = (b[0], b[1], max(0, b[2]), max(0, b[3]))
    found = one(a, truth, "polygon", corners=corners_of(*truth))
    assert found == pytest.approx(one(a, truth, "exact"), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(box, corners)
def test_corners_may_begin_anywhere_and_go_either_way(a, quadrangle):
    points = np.array(quadrangle).reshape(4, 2)
    first = one(a, a, "polygon", corners=quadrangle)
    turned = one(a, a, "polygon", corners=np.roll(points, 1, axis=0).ravel())
    back = one(a, a, "polygon", corners=points[::-1].ravel())
    assert turned == pytest.approx(first, abs=1e-9)
    assert back == pytest.approx(first, abs=1e-9)


def clipped_area(polygon, low, high):
    """Area of a polygon inside a box, by cutting it along each of the box's sides in turn."""
    for axis, limit, keep in ((0, low[0], 1), (1, low[1], 1), (0, high[0], -1), (1, high[1], -1)):
        cut = []
        for a, b in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            inside = keep * (a[axis] - limit), keep * (b[axis] - limit)
            if inside[0] >= 0:
                cut.append(a)
            if inside[0] * inside[1] < 0:
                s = inside[0] / (inside[0] - inside[1])
                cut.append((a[0] + s * (b[0] - a[0]), a[1] + s * (b[1] - a[1])))
        polygon = cut
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in pairs)) / 2


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(near, near, st.floats(20, 100), st.floats(20, 100)),
    st.tuples(near, near, st.floats(20, 100), st.floats(20, 100), st.floats(0, 6.3)),
)
def test_rotated_boxes_by_cutting(a, rotated):
    """Against another algorithm, on what VOT2014's truths are; most overlap."""
    x, y, w, h, angle = rotated
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2 @ turn.T + [x, y]
    intersection = clipped_area(
        [tuple(p) for p in points.tolist()], a[:2], (a[0] + a[2], a[1] + a[3])
    )
    expected = intersection / (a[2] * a[3] + w * h - intersection)
    assert one(a, a, "polygon", corners=points.ravel()) == pytest.approx(expected, abs=1e-9)


def test_truths_of_both_kinds():
    """A row of NaN among corners is a truth that is upright."""
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], float)
    rotated = np.array([[5, -5, 15, 5, 5, 15, -5, 5], [np.nan] * 8])
    assert overlaps(boxes, boxes, "polygon", None, rotated).tolist() == pytest.approx([0.5, 1.0])
    assert overlaps(boxes, boxes, "raster", None, rotated)[1] == 1


def test_many_chunks(monkeypatch):
    """How many frames are worked on at once changes nothing."""
    boxes, rotated, expected = (
        np.array(part) for part in zip(*GOLDEN["raster quadrangles"], strict=True)
    )
    monkeypatch.setattr(raster, "CHUNK", 40)
    found = overlaps(boxes, boxes, "raster", GOLDEN["size"], rotated)
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("mode", MODES)
def test_arguments_are_not_written_into(mode):
    boxes = np.array([[-10.0, -10, 700, 700], [1, 2, 3, 4]])
    truth, rotated = boxes + 1, np.array([[-5.0, 0, 9, 0, 9, 9, 0, 9], [np.nan] * 8])
    before = boxes.copy(), truth.copy(), rotated.copy()
    overlaps(boxes, truth, mode, SIZE, rotated)
    for now, then in zip((boxes, truth, rotated), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2e9])
def test_refuses_what_is_no_number(mode, bad):
    good = np.array([[1.0, 2, 3, 4]] * 3)
    boxes = good.copy()
    boxes[1, 2] = bad
    with pytest.raises(ValueError, match=r"boxes must be finite .*; row 1 is .*misses"):
        overlaps(boxes, good, mode, SIZE)
    with pytest.raises(ValueError, match="truth must be finite"):
        overlaps(good, boxes, mode, SIZE)


def test_refuses_what_does_not_fit():
    good = np.ones((2, 4))
    with pytest.raises(ValueError, match="'iou'; there are exact, bounded, raster, polygon"):
        overlaps(good, good, "iou")
    with pytest.raises(ValueError, match="2 boxes and 3 true boxes"):
        overlaps(good, np.ones((3, 4)), "exact")
    with pytest.raises(ValueError, match=r"\(n, 4\) array; got shape \(2, 3\)"):
        overlaps(np.ones((2, 3)), good, "exact")
    with pytest.raises(ValueError, match=r"give size=\(width, height\)"):
        overlaps(good, good, "bounded")
    with pytest.raises(ValueError, match="at least one pixel; got 0x5"):
        overlaps(good, good, "exact", (0, 5))
    with pytest.raises(ValueError, match=r"corners must be a \(2, 8\) array"):
        overlaps(good, good, "polygon", None, np.ones((1, 8)))
    half = np.array([[np.nan] + [1.0] * 7, [np.nan] * 8])
    with pytest.raises(ValueError, match="corners must be finite"):
        overlaps(good, good, "polygon", None, half)
    tall = np.array([[0, 0, 9, 0, 9, 1e8, 0, 1e8]] * 2)
    with pytest.raises(ValueError, match="100000001 pixels high"):
        overlaps(good, good, "raster", None, tall)
    assert overlaps(good, good, "raster", SIZE, tall).shape == (2,)


@pytest.mark.parametrize("mode", MODES)
def test_no_frame_at_all(mode):
    assert overlaps(np.zeros((0, 4)), np.zeros((0, 4)), mode, SIZE).shape == (0,)
