"""Geometry: worked examples, the authors' rules stated independently, and properties of wild boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from goturn.box import (
    MAX_COORDINATE,
    Box,
    as_box,
    check_initial_box,
    recenter,
    restore,
    scale,
    search_window,
    uncenter,
    unscale,
)
from thorough import many

THOROUGH = settings(
    max_examples=many(10_000), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

sizes = st.integers(1, 5000)
# Everyday coordinates, and anything up to the limit, tiny and inverted sizes included.
coordinates = st.floats(-6000, 6000) | st.floats(-MAX_COORDINATE, MAX_COORDINATE)
extents = (
    st.floats(-6000, 6000)
    | st.floats(-1e-6, 1e-6)
    | st.floats(-MAX_COORDINATE, MAX_COORDINATE)
    | st.integers(-10, 4000).map(float)
)
boxes = st.builds(Box, coordinates, coordinates, extents, extents)
anything = st.floats(allow_nan=True, allow_infinity=True, width=64)


class TestBox:
    def test_corners_and_center(self):
        box = Box.from_xyxy(2, 3, 12, 7)
        assert box == (2, 3, 10, 4)
        assert box.xyxy == (2, 3, 12, 7)
        assert box.center == (7, 5)
        assert np.asarray(box).tolist() == [2, 3, 10, 4]

    @pytest.mark.parametrize(
        ("a", "b", "overlap"),
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
    def test_iou(self, a, b, overlap):
        assert Box(*a).iou(Box(*b)) == pytest.approx(overlap, abs=1e-12)
        assert Box(*b).iou(Box(*a)) == pytest.approx(overlap, abs=1e-12)

    @pytest.mark.parametrize(
        "given_box", [[1, 2, 3, 4], (1.0, 2, 3, 4), np.array([1, 2, 3, 4], np.int32)]
    )
    def test_any_sequence_is_taken(self, given_box):
        assert as_box(given_box) == Box(1, 2, 3, 4)

    @pytest.mark.parametrize(
        "bad",
        [(1, 2, 3), (1, 2, 3, 4, 5), (math.nan, 0, 1, 1), (0, 0, 1e10, 1), (10**400, 0, 1, 1)],
    )
    def test_bad_values(self, bad):
        with pytest.raises(ValueError, match="box must be"):
            as_box(bad)

    @pytest.mark.parametrize(
        "bad", [None, 7, "abcd", "1234", b"abcd", {1, 2, 3, 4}, dict.fromkeys(range(4)), [None] * 4]
    )
    def test_bad_types(self, bad):
        with pytest.raises(TypeError, match="four numbers"):
            as_box(bad)

    @pytest.mark.parametrize("bad", [(1, 1, 0, 5), (1, 1, 5, -5)])
    def test_initial_box_has_area(self, bad):
        with pytest.raises(ValueError, match="width and height must be > 0"):
            check_initial_box(bad, 100, 100)

    @pytest.mark.parametrize("bad", [(100, 0, 5, 5), (0, 80, 5, 5), (-5, 0, 5, 5), (0, -9, 5, 9)])
    def test_initial_box_overlaps_the_frame(self, bad):
        with pytest.raises(ValueError, match="outside the 100x80 frame"):
            check_initial_box(bad, 100, 80)


class TestWorkedExamples:
    def test_box_well_inside(self):
        window = search_window(Box(40, 50, 20, 30), 200, 300)
        assert (window.x, window.y) == (30, 35)
        assert (window.width, window.height) == (40, 60)
        assert (window.left, window.top, window.columns, window.rows) == (30, 35, 40, 60)
        assert (window.edge_x, window.edge_y) == (0, 0)

    def test_fractional_box_rounds_sizes_up_and_positions_down(self):
        window = search_window(Box(40.3, 50.6, 20.25, 30.5), 200, 300)
        assert window.x == pytest.approx(40.3 - 20.25 / 2)  # 30.175
        assert (window.left, window.width, window.columns) == (30, 41, 41)
        assert window.y == pytest.approx(50.6 - 15.25)  # 35.35
        assert (window.top, window.height, window.rows) == (35, 61, 61)

    def test_overhang_at_left_and_top_is_edge_spacing(self):
        # Centre (5, 5), window 40 wide: 15 pixels of it lie left of the image.
        window = search_window(Box(-5, -5, 20, 20), 100, 100)
        assert (window.x, window.left) == (0, 0)
        assert (window.edge_x, window.paste_x, window.columns, window.width) == (15, 15, 25, 40)

    def test_overhang_at_right_is_what_remains_of_the_canvas(self):
        window = search_window(Box(85, 85, 20, 20), 100, 100)
        assert (window.x, window.edge_x, window.columns, window.width) == (75, 0, 25, 40)

    def test_no_motion_answer_is_the_middle_half(self):
        box = Box(40, 50, 20, 30)
        window = search_window(box, 200, 300)
        assert scale(recenter(box, window), window) == (2.5, 2.5, 7.5, 7.5)
        assert uncenter(unscale((2.5, 2.5, 7.5, 7.5), window), window, 200, 300) == box

    def test_uncenter_clips_one_sidedly(self):
        window = search_window(Box(40, 40, 20, 20), 100, 100)
        assert uncenter(unscale((-90, 0, 90, 10), window), window, 100, 100).xyxy[::2] == (0, 100)
        inverted = uncenter(unscale((90, 0, -90, 10), window), window, 100, 100)
        assert inverted.xyxy[::2] == (390, -330)

    def test_context_factor(self):
        window = search_window(Box(40, 50, 20, 30), 200, 300, context_factor=3)
        assert (window.width, window.height, window.x) == (60, 90, 20)


def authors_axis(x1, x2, extent):
    """One axis as the authors' code computes it, for boxes where that code does not abort."""
    center = (x1 + x2) / 2
    output = max(1.0, 2 * (x2 - x1))
    location = max(0.0, center - output / 2)
    span = max(1.0, min(output / 2, center) + min(output / 2, extent - center))
    left = math.trunc(min(location, extent - 1))
    roi = min(extent, max(1, math.ceil((location + span) - location)))
    canvas = max(math.ceil(output), roi)
    edge = min(max(0.0, output / 2 - center), canvas - 1)
    return location, edge, canvas, left, roi


@settings(THOROUGH, max_examples=many(3000))
@given(sizes, st.floats(-200, 5200), st.floats(0.5, 3000))
def test_equals_the_authors_arithmetic(extent, x, w):
    box = Box(x, x, w, w)
    x1, _, x2, _ = box.xyxy
    location, edge, canvas, left, roi = authors_axis(x1, x2, extent)
    assume(left + roi <= extent and math.trunc(edge) + roi <= canvas)  # where it would abort
    window = search_window(box, extent, extent)
    assert (window.x, window.edge_x, window.width) == (location, edge, canvas)
    assert (window.left, window.columns) == (left, roi)


def test_region_of_interest_never_passes_the_image():
    # A box for which the authors' code asks for one pixel beyond the image, found by search.
    rng = np.random.default_rng(1)
    seen = 0
    for _ in range(60_000):
        extent = int(rng.integers(2, 2000))
        x1, x2 = rng.uniform(0, 2 * extent), rng.uniform(-extent, extent)
        _, _, _, left, roi = authors_axis(x1, x2, extent)
        if left + roi > extent:
            seen += 1
            window = search_window(Box.from_xyxy(x1, x1, x2, x2), extent, extent)
            assert window.left + window.columns <= extent
    assert seen > 0


@THOROUGH
@given(boxes, sizes, sizes)
def test_window_of_any_box_is_sound(box, width, height):
    try:
        window = search_window(box, width, height)
    except ValueError:
        assert not all(abs(value) <= MAX_COORDINATE for value in box)
        return
    for left, count, extent, paste, canvas in (
        (window.left, window.columns, width, window.paste_x, window.width),
        (window.top, window.rows, height, window.paste_y, window.height),
    ):
        assert 0 <= left
        assert 1 <= count
        assert left + count <= extent
        assert 0 <= paste
        assert paste + count <= canvas
        assert canvas <= 2 * 2 * MAX_COORDINATE


@THOROUGH
@given(boxes, sizes, sizes, st.lists(st.floats(-1e30, 1e30), min_size=4, max_size=4))
def test_any_prediction_gives_a_usable_box(box, width, height, units):
    window = search_window(box, width, height)
    found = restore(uncenter(unscale(units, window), window, width, height), width, height)
    assert all(map(math.isfinite, found))
    assert found.w >= 1
    assert found.h >= 1
    x1, y1, x2, y2 = found.xyxy
    assert x1 >= 0
    assert y1 >= 0
    assert x2 <= width * (1 + 1e-12)
    assert y2 <= height * (1 + 1e-12)
    search_window(found, width, height)  # and the next window exists


@settings(THOROUGH, max_examples=many(2000))
@given(st.tuples(anything, anything, anything, anything), sizes, sizes)
def test_initial_box_is_four_finite_numbers_or_refused(values, width, height):
    try:
        box = check_initial_box(values, width, height)
    except ValueError:
        return
    assert all(map(math.isfinite, box))
    assert box.w > 0
    assert box.h > 0


@THOROUGH
@given(
    st.builds(Box, st.floats(0, 500), st.floats(0, 400), st.floats(1, 500), st.floats(1, 400)),
    st.builds(
        Box, st.floats(-100, 700), st.floats(-100, 600), st.floats(1, 500), st.floats(1, 400)
    ),
)
def test_there_and_back(box, prior):
    """Labels and predictions pass the same functions: one direction undoes the other."""
    window = search_window(prior, 1000, 800)
    assert unscale(scale(box, window), window) == pytest.approx(box, abs=1e-9)
    assert uncenter(recenter(box, window), window, 1000, 800) == pytest.approx(box, abs=1e-9)
    units = scale(recenter(box, window), window)
    assert uncenter(unscale(units, window), window, 1000, 800) == pytest.approx(box, abs=1e-9)


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_empty_frame(size):
    with pytest.raises(ValueError, match="at least one pixel"):
        search_window(Box(0, 0, 1, 1), *size)


@pytest.mark.parametrize(
    ("box", "restored"),
    [
        ((3, 4, 10, 20), (3, 4, 10, 20)),
        ((3, 4, 0.5, 20), (2.75, 4, 1, 20)),
        ((150, 4, -100, 20), (99, 4, 1, 20)),  # middle 100, moved to 99.5
        ((0, 10, 5, -40), (0, 0, 5, 1)),
    ],
)
def test_restore(box, restored):
    assert restore(Box(*box), 100, 50) == restored
