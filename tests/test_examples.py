"""Training examples: a pure function of seed and number, with labels that lead back to the truth."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from goturn.architecture import Preprocessing
from goturn.box import Box, search_window, uncenter, unscale
from goturn.data import open_dataset
from goturn.data.images import FrameReader
from goturn.data.model import DataError, Photograph, Video
from goturn.ops import get_ops
from goturn.training.examples import TRIES, Examples, crop
from goturn.training.motion import MotionModel
from training_data import make_photographs, make_videos


@pytest.fixture
def data(tmp_path):
    videos = open_dataset(str(make_videos(tmp_path / "videos"))).videos
    photographs = open_dataset(str(make_photographs(tmp_path / "images"))).photographs
    return videos, photographs


def examples(videos, photographs, *, seed=0, drawn=10, reader=None) -> Examples:
    reader = reader or FrameReader()
    return Examples(videos, photographs, reader, MotionModel(), seed=seed, drawn=drawn)


def same(a, b) -> bool:
    return (
        a.source == b.source
        and a.target == b.target
        and a.searches == b.searches
        and np.array_equal(a.labels, b.labels)
        and np.array_equal(a.previous, b.previous)
    )


def test_items_are_a_function_of_seed_and_number(data):
    forward = [examples(*data).item(number) for number in range(8)]
    source = examples(*data)
    backward = [source.item(number) for number in reversed(range(8))][::-1]
    assert all(same(a, b) for a, b in zip(forward, backward, strict=True))
    other = [examples(*data, seed=1).item(number) for number in range(8)]
    assert not any(same(a, b) for a, b in zip(forward, other, strict=True))
    assert not any(same(a, b) for a, b in zip(forward, forward[2:], strict=False))


def test_photographs_and_videos_in_turn(data):
    source = examples(*data)
    kinds = ["frames" in source.item(number).source for number in range(10)]
    assert kinds == [False, True] * 5
    assert all("frames" in examples(data[0], ()).item(n).source for n in range(4))
    assert not any("frames" in examples((), data[1]).item(n).source for n in range(4))


def test_everything_is_drawn(data):
    """Every photograph and every pair of successive labelled frames, about equally often."""
    source = examples(*data, drawn=0)
    counts = Counter(source.item(number).source for number in range(1200))
    photographs = [count for name, count in counts.items() if "frames" not in name]
    pairs = [count for name, count in counts.items() if "frames" in name]
    assert len(photographs) == 3
    assert len(pairs) == 4  # two videos of three labelled frames each
    assert min(photographs) > 150
    assert min(pairs) > 100
    assert not any("and 3" in name for name in counts)  # unlabelled


def test_labels_lead_back_to_the_true_box(data):
    source = examples(*data)
    for number in (0, 1, 2, 3):
        item = source.item(number)
        height, width = item.current.shape[:2]
        boxes = [
            uncenter(unscale(label, window), window, width, height)
            for label, window in zip(item.labels, item.searches, strict=True)
        ]
        np.testing.assert_allclose(boxes, [boxes[0]] * 11, atol=2e-5)
        if "frames" not in item.source:
            # Far from the edges a photograph's true example is centred.
            np.testing.assert_allclose(item.labels[0], [2.5, 2.5, 7.5, 7.5], atol=1e-6)
            assert item.previous is item.current
        assert len({tuple(window) for window in item.searches}) == 11


def test_the_true_search_window_is_about_the_previous_box(data):
    item = examples(data[0], ()).item(0)
    assert item.searches[0] == item.target  # same box, frames of one size
    name, _, frames = item.source.partition(", frames ")
    before, now = map(int, frames.split(" and "))
    video = next(video for video in data[0] if video.name == name)
    assert item.target == search_window(video.boxes[before], 80, 60)
    found = uncenter(unscale(item.labels[0], item.searches[0]), item.searches[0], 80, 60)
    np.testing.assert_allclose(found, video.boxes[now], atol=1e-5)


def test_drawn_windows_are_about_the_current_box(data):
    """The motion model moves the current box, not the previous one (facts 3.1)."""

    class Still(MotionModel):
        def draw(self, box, frame_width, frame_height, uniform):
            assert (frame_width, frame_height) == (80, 60)
            return box

    item = Examples(data[0], (), FrameReader(), Still(), seed=0, drawn=2).item(0)
    name, _, frames = item.source.partition(", frames ")
    before, now = map(int, frames.split(" and "))
    boxes = next(video for video in data[0] if video.name == name).boxes
    windows = [search_window(boxes[number], 80, 60) for number in (before, now, now)]
    assert list(item.searches) == windows
    assert windows[0] != windows[1]


def test_batches_go_through_items_in_order(data):
    """Batches of 50 of items of 11: whole items and parts, as the authors stream them (facts 3.2)."""
    source = examples(*data)
    rows = np.concatenate([source.plan(step, 50).labels for step in range(11)])
    expected = np.concatenate([source.item(number).labels for number in range(50)])
    np.testing.assert_array_equal(rows, expected)
    plan = source.plan(1, 50)
    assert [part.stop - part.start for part in plan.parts] == [5, 11, 11, 11, 11, 1]
    assert plan.owners.tolist() == [0] * 5 + [1] * 11 + [2] * 11 + [3] * 11 + [4] * 11 + [5]


def test_crops_of_a_plan(data):
    source = examples(*data, drawn=2)
    plan = source.plan(0, 4)
    preprocessing = Preprocessing(input_size=35)
    ops = get_ops("reference")
    batch = crop(plan, ops, preprocessing)
    assert batch.targets.shape == (2, 3, 35, 35)
    assert batch.searches.shape == (4, 3, 35, 35)
    item = plan.items[1]
    expected = ops.crop_resize(
        item.current, [item.searches[0]], size=35, mean=preprocessing.mean, colour_order="BGR"
    )
    np.testing.assert_array_equal(batch.searches[3:], expected)
    np.testing.assert_array_equal(batch.labels, plan.labels)


def test_images_that_cannot_be_decoded_are_passed_over(data):
    videos, photographs = data
    path = photographs[0].path
    path.write_bytes(path.read_bytes()[:200])
    reader = FrameReader()
    source = examples(videos, photographs, reader=reader)
    names = {source.item(number).source for number in range(0, 40, 2)}
    assert names == {photographs[1].name, photographs[2].name}
    assert list(reader.bad) == [path]


def test_nothing_but_bad_images(data):
    _, photographs = data
    for photograph in photographs:
        photograph.path.write_bytes(b"no image")
    with pytest.raises(DataError, match=f"{TRIES} images in a row cannot be used for training"):
        examples((), photographs).item(0)


def test_nothing_to_draw_from():
    single = Video("a", (Path("a.jpg"),), {0: Box(0, 0, 5, 5)})
    full = Photograph("b", Path("b.jpg"), (10, 10), (Box(0, 0, 7, 2),))
    with pytest.raises(DataError, match="there is nothing to train on"):
        examples((single,), (full,))
