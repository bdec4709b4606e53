"""Variety: nothing at the defaults, and boxes that stay on what is in them."""

from __future__ import annotations

from dataclasses import asdict, fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goturn.box import Box, search_window, uncenter, unscale
from goturn.data import open_dataset
from goturn.data.images import FrameReader
from goturn.training import augment
from goturn.training.config import TrainConfig
from goturn.training.examples import Examples, uniforms
from goturn.training.motion import MotionModel
from goturn.training.variety import LIMITS, Augmentation
from training_data import make_photographs, make_videos

ALL = Augmentation(
    mirror=0.5,
    colour=0.3,
    blur=0.5,
    occluders=0.5,
    turn=10,
    regions=0.3,
    stills=0.3,
    gap=3,
    backwards=0.5,
    target_error=0.3,
    starts=0.4,
)


@pytest.fixture
def data(tmp_path):
    videos = open_dataset(str(make_videos(tmp_path / "videos", frames=6))).videos
    photographs = open_dataset(str(make_photographs(tmp_path / "images"))).photographs
    return videos, photographs


def examples(data, augmentation, *, seed=0, drawn=3) -> Examples:
    return Examples(
        *data, FrameReader(), MotionModel(), seed=seed, drawn=drawn, augmentation=augmentation
    )


def spot(x: float, y: float, w: float, h: float) -> np.ndarray:
    """A white box on black, (60, 80, 3)."""
    image = np.zeros((60, 80, 3), np.uint8)
    image[int(y) : int(y + h), int(x) : int(x + w)] = 255
    return image


def box_of(image: np.ndarray) -> Box:
    """About what is brighter than grey."""
    rows, columns = np.nonzero(image[..., 0] > 127)
    return Box.from_xyxy(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_settings_are_the_configurations():
    """The configuration has each of them, with the same default: none."""
    for each in fields(Augmentation):
        assert getattr(TrainConfig(), each.name) == each.default
    assert LIMITS.keys() == asdict(Augmentation()).keys()
    with pytest.raises(ValueError, match=r"mirror must be in 0\.\.1; got 1\.5"):
        Augmentation(mirror=1.5)
    with pytest.raises(ValueError, match=r"gap must be in 1\.\.1000; got 0"):
        TrainConfig(gap=0)


def test_nothing_is_changed_by_default(data):
    """The paper's examples: no random number is drawn for what is off."""
    plain = Examples(*data, FrameReader(), MotionModel(), seed=0, drawn=3)
    # Chances of next to nothing draw a number each, and so give other examples.
    off, nearly = examples(data, Augmentation()), examples(data, Augmentation(mirror=1e-300))
    for number in range(6):
        a, b, c = plain.item(number), off.item(number), nearly.item(number)
        assert (a.source, a.target, a.searches) == (b.source, b.target, b.searches)
        assert a.searches[1:] != c.searches[1:]


def test_items_are_a_function_of_seed_and_number(data):
    for number in (5, 2, 9):
        a, b = examples(data, ALL).item(number), examples(data, ALL).item(number)
        assert (a.source, a.target, a.searches) == (b.source, b.target, b.searches)
        np.testing.assert_array_equal(a.current, b.current)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_all_labels_of_an_item_are_of_one_box(data):
    for number in range(12):
        item = examples(data, ALL).item(number)
        height, width = item.current.shape[:2]
        boxes = [
            uncenter(unscale(label, window), window, width, height)
            for label, window in zip(item.labels, item.searches, strict=True)
        ]
        np.testing.assert_allclose(boxes, [boxes[0]] * len(boxes), atol=5e-5)


def test_mirror():
    image, box = spot(10, 20, 15, 12), Box(10, 20, 15, 12)
    assert box_of(augment.mirrored(image)) == augment.mirrored_box(box, 80) == Box(55, 20, 15, 12)
    assert augment.mirrored_box(augment.mirrored_box(box, 80), 80) == box


def test_turned_boxes_hold_what_was_in_them():
    """A bright ellipse stays within its box, and touches its sides."""
    rows, columns = np.mgrid[0.5:120, 0.5:160]
    inside = ((columns - 70) / 30) ** 2 + ((rows - 60) / 15) ** 2 <= 1
    image = np.where(inside, 255, 0).astype(np.uint8)[..., np.newaxis].repeat(3, 2)
    for seed in range(20):
        found, box = augment.turned(image, Box(40, 45, 60, 30), 30.0, uniforms(seed, 0))
        np.testing.assert_allclose(box_of(found).xyxy, box.xyxy, atol=1.1)
        assert box.center == pytest.approx((70, 60))


def test_turned_by_nothing():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    found, box = augment.turned(image, Box(5, 6, 11, 7), 0.0, uniforms(0, 0))
    np.testing.assert_array_equal(found, image)
    assert box == pytest.approx((5, 6, 11, 7))


@given(seed=st.integers(0, 2**20))
@settings(max_examples=50, deadline=None)
def test_regions_lie_in_the_image_and_have_contrast(seed):
    image = np.full((60, 80, 3), 90, np.uint8)
    image[20:40, 30:60] = np.random.default_rng(0).integers(0, 256, (20, 30, 3))
    found = augment.region(image, uniforms(seed, 0))
    if found is not None:
        x1, y1, x2, y2 = found.xyxy
        assert 0 <= x1 < x2 <= 80
        assert 0 <= y1 < y2 <= 60
        assert (x1 < 60, x2 > 30, y1 < 40, y2 > 20) == (True,) * 4


def test_no_region_where_there_is_nothing():
    assert augment.region(np.full((60, 80, 3), 90, np.uint8), uniforms(0, 0)) is None


def test_colours_change_together_and_a_little_apart():
    image = np.random.default_rng(0).integers(60, 190, (20, 30, 3)).astype(np.uint8)
    both, apart = [], []
    for seed in range(60):
        first, second = augment.recoloured((image, image), 0.3, uniforms(seed, 0))
        both.append(abs(first.mean() - image.mean()))
        apart.append(abs(second.mean() - first.mean()))
    assert 5 < np.mean(both)
    assert 0.5 < np.mean(apart) < 0.7 * np.mean(both)
    same, again = augment.recoloured((image, image), 0.0, lambda: 0.5)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(again, image)


def test_occluders_cover_a_part_of_the_object():
    image, box = spot(30, 20, 20, 16), Box(30, 20, 20, 16)
    covered = []
    for seed in range(100):
        before = image.copy()
        found = augment.occluded(image, box, uniforms(seed, 0))
        np.testing.assert_array_equal(image, before)
        covered.append(np.mean(found[20:36, 30:50] == 0))
    assert max(covered) < 0.5
    assert np.mean(covered) > 0.05


def test_blur_is_of_the_objects_size():
    image = spot(30, 20, 20, 16)
    small, large = (
        augment.blurred(image, Box(30, 20, side, side), lambda: 1.0) for side in (2, 100)
    )
    assert 0 < np.abs(small.astype(int) - image).mean() < np.abs(large.astype(int) - image).mean()


def test_backwards_and_with_gaps(data):
    """Neighbours in either direction, and targets up to three labelled frames back."""
    videos = (data[0], ())
    seen = set()
    for number in range(300):
        text = examples(videos, Augmentation(gap=3, backwards=0.5), drawn=0).item(number).source
        frames = text.partition(", frames ")[2].split(" and ")
        seen.add(tuple(int(frame) for frame in frames))
    steps = {now - target for target, now in seen}
    assert steps == {-3, -2, -1, 1, 2, 3}
    only = {
        examples(videos, Augmentation(backwards=1), drawn=0).item(n).source.partition("s ")[2]
        for n in range(100)
    }
    assert only == {"1 and 0", "2 and 1", "3 and 2", "4 and 3"}


def test_the_first_window_is_about_the_frame_just_before(data):
    source = examples((data[0], ()), Augmentation(gap=4), drawn=0)
    for number in range(30):
        item = source.item(number)
        name, _, frames = item.source.partition(", frames ")
        boxes = next(video for video in data[0] if video.name == name).boxes
        now = int(frames.split(" and ")[1])
        assert item.searches[0] == search_window(boxes[now - 1], 80, 60)


def test_errors_of_the_targets_box(data):
    """Target and first window are wrong alike; the label is not."""
    plain, wrong = (
        examples(data, Augmentation(target_error=error), drawn=0) for error in (0.0, 0.3)
    )
    shifts = []
    for number in range(200):
        a, b = plain.item(number), wrong.item(number)
        assert a.source == b.source
        assert b.searches[0] == b.target or "frames" in b.source
        shifts.append((b.target.x - a.target.x) / (a.target.width / 2))
        truth = [
            uncenter(unscale(i.labels[0], i.searches[0]), i.searches[0], *i.current.shape[1::-1])
            for i in (a, b)
        ]
        np.testing.assert_allclose(*truth, atol=5e-5)
    # The model's mean shift is 1/5 of the size, and of the origin's both shift and half the size's.
    assert 0.03 < np.mean(np.abs(shifts)) < 0.12


def test_targets_of_starts(data):
    """Right, however wrong the others are, and any number of labelled frames back."""
    both = Augmentation(target_error=0.3, starts=0.5, gap=2, backwards=0.5)
    mixed = examples(data, both, drawn=0)
    every, none = (
        examples(data, Augmentation(starts=1, target_error=error), drawn=0) for error in (0.3, 0.0)
    )
    for number in range(60):
        a, b = every.item(number), none.item(number)
        assert (a.source, a.target, a.searches) == (b.source, b.target, b.searches)
    boxes = {video.name: video.boxes for video in data[0]}
    right, far, count = 0, set(), 0
    for number in range(1, 400, 2):
        item = mixed.item(number)
        name, _, frames = item.source.partition(", frames ")
        target, now = map(int, frames.split(" and "))
        exact = item.target == search_window(boxes[name][target], 80, 60)
        right, count = right + exact, count + 1
        far.add((exact, abs(now - target)))
    assert 0.4 < right / count < 0.6
    assert {steps for exact, steps in far if exact} == {1, 2, 3, 4}
    assert {steps for exact, steps in far if not exact} == {1, 2}


@pytest.mark.parametrize("backwards", [0, 1])
def test_targets_of_starts_are_any_before(data, backwards):
    """Every labelled frame before the current one, or where a video is played backwards behind it."""
    how = Augmentation(starts=1, backwards=backwards)
    sources = (examples(data, how, drawn=0).item(number).source for number in range(1, 400, 2))
    seen = {tuple(map(int, source.partition(", frames ")[2].split(" and "))) for source in sources}
    # Of five labelled frames, (target, current).
    pairs = {(a, b) for a in range(5) for b in range(5) if (a > b if backwards else a < b)}
    assert seen == pairs


def test_moved_likewise():
    moved = augment.moved_likewise(Box(0, 0, 10, 20), Box(5, 5, 20, 20), Box(7, 5, 10, 30))
    # The middle went by -3/20 and 5/20 of the sizes, which were halved and grew by a half.
    assert moved == pytest.approx((5 - 1.5 - 2.5, 10 + 5 - 15, 5, 30))
    assert augment.moved_likewise(
        Box(1, 2, 3, 4), Box(1, 2, 3, 4), Box(5, 6, 7, 8)
    ) == pytest.approx((5, 6, 7, 8))


def test_stills_and_regions_are_drawn(data):
    names = {p.name for p in data[1]}
    stills = [examples(data, Augmentation(stills=1), drawn=0).item(2 * n) for n in range(10)]
    assert all(", frame " in item.source for item in stills)
    assert all(item.previous is item.current for item in stills)
    regions = [examples(data, Augmentation(regions=1), drawn=0).item(2 * n) for n in range(30)]
    assert {item.source for item in regions} <= names
    assert len({item.target for item in regions}) > 20  # there are three boxes
