"""The reader of images: what it gives, keeps, counts, and does when threads share it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import encoded, write
from goturn.data import DataError, FrameReader
from goturn.data import images as module
from goturn.data.images import default_capacity, free_memory

#: Width and height of the images of the property test; their bytes decoded are three times the area.
SIZES = ((8, 8), (16, 8), (16, 16), (32, 16), (40, 40))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    return [
        write(folder / f"{n}.png", encoded(*size, shade=40 * n, suffix=".png"))
        for n, size in enumerate(SIZES)
    ]


def test_an_image_is_decoded_once(pictures):
    reader = FrameReader()
    image = reader.read(pictures[3])
    assert image.shape == (16, 32, 3)
    assert image.dtype == np.uint8
    assert (image == 120).all()
    assert reader.read(pictures[3]) is image
    assert (reader.hits, reader.misses, reader.held) == (1, 1, 16 * 32 * 3)


def test_channels_are_bgr(tmp_path):
    import cv2

    blue = np.zeros((4, 6, 3), np.uint8)
    blue[..., 0] = 200
    path = write(tmp_path / "blue.png", cv2.imencode(".png", blue)[1].tobytes())
    assert (FrameReader().read(path) == blue).all()
    grey = write(tmp_path / "grey.png", cv2.imencode(".png", blue[..., 0])[1].tobytes())
    assert FrameReader().read(grey).shape == (4, 6, 3)


@pytest.mark.parametrize("capacity", [0, 1 << 20])
def test_images_are_shared_and_so_cannot_be_written_to(pictures, capacity):
    image = FrameReader(capacity).read(pictures[0])
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0, 0] = 1


def test_the_one_used_longest_ago_goes_first(pictures):
    small = 8 * 8 * 3  # the images take 1, 2, 4 and 8 times that
    reader = FrameReader(6 * small)
    for n in (
        0,
        1,
        0,
        2,
    ):  # to make room for the third the second goes, not the first, which came before
        reader.read(pictures[n])
    assert (reader.hits, reader.misses, reader.held) == (1, 3, 5 * small)
    reader.read(pictures[0])
    reader.read(pictures[3])  # larger than all there is: not kept, and nothing goes for it
    assert (reader.hits, reader.misses, reader.held) == (2, 4, 5 * small)
    reader.read(pictures[1])
    assert (reader.hits, reader.misses, reader.held) == (2, 5, 3 * small)


def test_nothing_is_kept_without_capacity(pictures):
    reader = FrameReader(0)
    for _ in range(2):
        assert reader.read(pictures[0]).shape == (8, 8, 3)
    assert (reader.hits, reader.misses, reader.held) == (0, 2, 0)
    with pytest.raises(ValueError, match="capacity must be"):
        FrameReader(-1)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, len(SIZES) - 1), max_size=30))
def test_what_is_kept_stays_within_the_bound(pictures, capacity, order):
    reader = FrameReader(capacity)
    kept: list[int] = []  # by last use, as it should be
    bytes_of = [3 * w * h for w, h in SIZES]
    for n in order:
        hits = reader.hits
        image = reader.read(pictures[n])
        assert image.shape == (SIZES[n][1], SIZES[n][0], 3)
        assert (image == 40 * n).all()
        assert reader.hits - hits == (n in kept)
        if n in kept:
            kept.remove(n)
            kept.append(n)
        elif bytes_of[n] <= capacity:
            kept.append(n)
            while sum(bytes_of[k] for k in kept) > capacity:
                kept.pop(0)
        assert reader.held == sum(bytes_of[k] for k in kept) <= capacity
    assert reader.hits + reader.misses == len(order)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a whole image"),
        (b"no image", "not a whole image"),
        (encoded(64, 64)[:200], "not a whole image"),
        (None, "No such file"),
    ],
)
def test_bad_images_are_named_and_not_tried_again(tmp_path, monkeypatch, content, reason):
    path = tmp_path / "bad.jpg"
    if content is not None:
        write(path, content)
    reader = FrameReader()
    with pytest.raises(DataError, match=reason) as caught:
        reader.read(path)
    assert str(path) in str(caught.value)
    assert reader.bad == {path: str(caught.value)}
    monkeypatch.setattr(module, "read_image", lambda _: pytest.fail("tried again"))
    with pytest.raises(DataError, match=reason):
        reader.read(path)
    assert (reader.hits, reader.misses, reader.held) == (0, 1, 0)


def test_threads_that_want_the_same_image_decode_it_once(pictures, monkeypatch):
    decoded = []

    def slow(path):
        decoded.append(path)
        time.sleep(0.05)
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(module, "read_image", slow)
    reader = FrameReader()
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(reader.read, [pictures[0]] * 8))
    assert decoded == [pictures[0]]
    assert all(image is images[0] for image in images)
    assert (reader.hits, reader.misses) == (7, 1)


def test_threads_that_want_the_same_bad_image_all_hear_of_it(tmp_path, monkeypatch):
    def slow(path):
        time.sleep(0.05)
        raise ValueError(f"{path}: bad")

    monkeypatch.setattr(module, "read_image", slow)
    reader = FrameReader()

    def attempt(_):
        with pytest.raises(DataError, match="bad"):
            reader.read(tmp_path / "a.jpg")
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(attempt, range(8)))
    assert len(reader.bad) == 1


def test_a_thread_that_is_stopped_leaves_the_image_to_the_next(pictures, monkeypatch):
    begun, real = threading.Event(), module.read_image

    def first_is_stopped(path):
        if not begun.is_set():
            begun.set()
            time.sleep(0.05)
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(module, "read_image", first_is_stopped)
    reader = FrameReader()

    def stopped():
        with pytest.raises(KeyboardInterrupt):
            reader.read(pictures[0])

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(stopped)
        begun.wait(5)
        two = pool.submit(reader.read, pictures[0])
        one.result(5)
        assert two.result(5).shape == (8, 8, 3)
    assert reader.bad == {}


def test_many_threads_get_what_they_ask_for(pictures):
    reader = FrameReader(3 * (64 + 128 + 256))  # too little for all: images come and go
    order = np.random.default_rng(5).integers(0, len(pictures), 800)

    def right(n):
        image = reader.read(pictures[n])
        return image.shape[:2] == SIZES[n][::-1] and bool((image == 40 * n).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, order))
    assert reader.hits + reader.misses == 800
    assert reader.held <= reader.capacity


def test_how_much_is_kept_by_default(tmp_path, monkeypatch):
    report = write(tmp_path / "meminfo", "MemTotal: 9 kB\nMemAvailable:    4096 kB\n")
    assert free_memory(report) == 4 << 20
    assert free_memory(tmp_path / "nowhere") is None
    assert free_memory(write(tmp_path / "odd", "MemAvailable: much\n")) is None
    for free, expected in ((4 << 20, 1 << 20), (1 << 40, 2 << 30), (None, 256 << 20)):
        monkeypatch.setattr(module, "free_memory", lambda free=free: free)
        assert default_capacity() == FrameReader().capacity == expected
