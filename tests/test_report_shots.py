"""Which frames a report shows, how large their pictures are, and lines of overlaps."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goturn.box import Box
from goturn.evaluation.report.frame_overlaps import frame_overlaps
from goturn.evaluation.report.looks import look_of
from goturn.evaluation.report.page_videos import allowance
from goturn.evaluation.report.shots import (
    EVEN,
    MOST,
    Shot,
    choose_shots,
    lost_frames,
    take_pictures,
)
from goturn.evaluation.report.svg import SPARK, sparkline
from report_cases import evaluation, trajectory, video


def chosen(v, **runs):
    overlaps = {name: frame_overlaps(v, run, "exact") for name, run in runs.items()}
    return choose_shots(v, runs, overlaps)


def test_even_frames_and_where_a_tracker_was_lost():
    v = video("one", 100)
    shots = chosen(v, a=trajectory(v, lost=37), b=trajectory(v, lost=61))
    numbers = [shot.number for shot in shots]
    assert numbers == sorted({*(round(k) for k in np.linspace(0, 99, 8)), 37, 61})
    assert {s.number: s.reasons for s in shots if s.reasons} == {37: ("a: lost",), 61: ("b: lost",)}


def test_the_lowest_overlap_where_nothing_was_lost():
    v = video("one", 100)
    run = trajectory(v)
    run.boxes[42, 0] += 9
    reasons = {shot.number: shot.reasons for shot in chosen(v, a=run)}
    assert reasons[42] == ("a: its lowest overlap",)


def test_each_trackers_first_failure_comes_before_anothers_second():
    v = video("one", 1000)
    often = trajectory(v, failed=range(100, 900, 10))
    seldom = trajectory(v, failed=[555])
    shots = chosen(v, often=often, seldom=seldom)
    assert len(shots) == MOST
    assert sum("often: lost" in shot.reasons for shot in shots) == MOST - EVEN - 1
    assert Shot(555, ("seldom: lost",)) in shots
    assert shots[-1].number == 999


@given(st.integers(1, 40), st.integers(0, 3), st.integers(0, 39))
def test_shots_are_frames_of_the_video(frames, trackers, lost):
    v = video("one", frames)
    runs = {f"t{k}": trajectory(v, lost=lost + k) for k in range(trackers)}
    shots = chosen(v, **runs)
    numbers = [shot.number for shot in shots]
    assert numbers == sorted(set(numbers))
    assert set(numbers) <= set(range(frames))
    assert {0, frames - 1} <= set(numbers)
    assert min(frames, EVEN) <= len(numbers) <= MOST
    assert chosen(replace(v, boxes={}), **runs) == []


def test_lost():
    v = video("one", 12)
    run = trajectory(v, lost=4)
    overlaps = frame_overlaps(v, run, "exact")
    assert lost_frames(run, overlaps) == [4]
    overlaps[[6, 7]] = 0.5, np.nan  # found again, then a frame without truth
    assert lost_frames(run, overlaps) == [4, 8]
    assert lost_frames(trajectory(v, failed=[3, 9]), overlaps) == [3, 9]
    assert lost_frames(trajectory(v), np.full(12, np.nan)) == []


def test_overlaps_of_frames():
    v = replace(video("one", 6), boxes={k: Box(10, 10, 20, 10) for k in (1, 2, 3, 4)})
    run = trajectory(v, shift=0)
    run.codes[:] = (0, 1, 3, 3, 2, 0)
    run.boxes[2] = (20, 10, 20, 10)
    run.boxes[3] = np.nan
    run.boxes[4] = (500, 10, 20, 10)
    found = frame_overlaps(v, run, "exact")
    np.testing.assert_allclose(found, [np.nan, 1, 1 / 3, 0, 0, np.nan])
    diamond = {2: (20, 5, 30, 15, 20, 25, 10, 15)}
    tilted = frame_overlaps(replace(v, corners=diamond), run, "polygon")
    assert tilted[2] not in (1 / 3, 0)
    with pytest.raises(ValueError, match="unknown definition of overlap 'other'"):
        frame_overlaps(v, run, "other")


def noisy(path):
    """A frame that JPEG cannot make small."""
    return np.random.default_rng(int(path.stem)).integers(0, 256, (480, 640, 3), np.uint8)


def test_pictures_fit_in_what_a_video_may_take():
    v = video("one")
    shots = [Shot(k) for k in range(8)]
    for room in (400_000, 100_000, 60_000):
        pictures = take_pictures(v, shots, noisy, size=(1, 1), allowance=room)
        assert room / 4 < sum(len(p.uri) for p in pictures) <= room
        assert {(p.width, p.height) for p in pictures} == {(640, 480)}
    tiny = take_pictures(v, shots, noisy, size=(1, 1), allowance=0)
    assert sum(len(p.uri) for p in tiny) < 60_000


@pytest.mark.parametrize("shape", [(1, 1), (2000, 3), (3, 2000), (50, 40)])
def test_frames_of_any_shape(shape):
    def odd(path):
        return np.zeros((*shape, 3), np.uint8)

    picture = take_pictures(video("one"), [Shot(0)], odd, size=(9, 9), allowance=10_000)[0]
    assert (picture.height, picture.width) == shape
    assert len(picture.uri) < 10_000


def test_a_frame_that_cannot_be_read_has_the_trackers_size():
    def bad(path):
        raise ValueError("no image")

    picture = take_pictures(video("one"), [Shot(0)], bad, size=(160, 120), allowance=1)[0]
    assert (picture.uri, picture.width, picture.height) == (None, 160, 120)


def test_allowances_bound_the_page():
    """Sixteen videos under 8 MB, a hundred under 40, a thousand too; in all experiments together."""
    few = [evaluation(videos=tuple(video(str(k), 2) for k in range(16)))]
    many = [evaluation(videos=tuple(video(str(k), 2) for k in range(n))) for n in (100, 1000)]
    assert allowance(few) * 16 <= 6.5e6
    assert allowance(few * 3) * 48 <= 6.5e6
    assert allowance(many[:1]) * 100 <= 33e6
    assert allowance(many[1:]) * 1000 <= 33e6
    assert allowance(many[:1]) > 300_000


def points(svg):
    path = re.search(r'class="run" d="([^"]*)"', svg)[1]
    return [
        [tuple(float(v) for v in p.split()) for p in piece.split("L")]
        for piece in path.split("M")
        if piece
    ]


def test_lines_of_overlaps():
    values = np.array([1, 0.5, np.nan, 0, np.nan, 0.25])
    svg = sparkline(values, look_of(0), marks=[3], label='a "b"')
    assert points(svg) == [[(0, 0), (60, 12)], [(180, 24)] * 2, [(300, 18)] * 2]
    assert 'class="lost" d="M180 24v-9"' in svg
    assert 'aria-label="a &quot;b&quot;"' in svg
    assert points(sparkline(np.array([0.5]), look_of(0), marks=[], label="")) == [[(0, 12)] * 2]
    assert points(sparkline(np.full(3, np.nan), look_of(0), marks=[], label="")) == []


def test_long_videos_are_averaged():
    values = np.repeat([1.0, 0.0], 5000)
    svg = sparkline(values, look_of(0), marks=[5000], label="")
    (piece,) = points(svg)
    assert len(piece) == SPARK[0]
    assert {y for _, y in piece} == {0, 24}
    assert len(svg) < 5000


def test_a_line_of_a_long_video_stays_short():
    """However many frames lost the object: as many ticks as can be seen are drawn."""
    drawn = sparkline(np.zeros(100_000), look_of(0), marks=range(100_000), label="x")
    assert drawn.count("v-9") > 300
    assert len(drawn) < 60_000
