"""Training examples: pairs of crops, and where the object is in them (paper, 4.3; facts 3.1-3.2).

Items are drawn from photographs and videos in turn.  An item is a target and eleven search windows: the
one that a tracker would have looked in, and ten about boxes drawn from the motion model.  Examples of all
items follow one another, and every ``batch`` of them are an iteration's, so an item may lie in two.

Everything about item number k is a function of the seed and k alone: it does not matter who asks, in
which order, or how often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from goturn.architecture import Preprocessing
from goturn.box import Box, SearchWindow, recenter, scale, search_window
from goturn.data.model import LARGEST_PART, DataError, Photograph, Video
from goturn.ops import Array, Ops
from goturn.training.motion import MotionModel, Uniform
from goturn.training.step import Batch

T = TypeVar("T")

#: How many items in a row may turn out unusable before something must be wrong with all of them.
TRIES = 100


class Reader(Protocol):
    """What decodes images: :class:`goturn.data.images.FrameReader`."""

    def read(self, path: Path) -> np.ndarray:
        """(H, W, 3) uint8 BGR.

        Raises:
            ValueError, OSError: it cannot be decoded, or read.
        """


@dataclass(frozen=True)
class Item:
    """A target and the search windows drawn for it."""

    source: str
    """What it was drawn from: a video's name and frame, or a photograph's."""
    previous: np.ndarray
    """The target's frame, (H, W, 3) uint8 BGR."""
    current: np.ndarray
    """The searches' frame; the same array for a photograph."""
    target: SearchWindow
    """Of ``previous``."""
    searches: tuple[SearchWindow, ...]
    """Of ``current``: about the previous box first, then about those drawn."""
    labels: np.ndarray
    """(n, 4) float32: the object in each of them, x1, y1, x2, y2, 0..10 over the window."""


@dataclass(frozen=True)
class Plan:
    """The examples of one batch, as parts of items; nothing is cropped yet."""

    items: tuple[Item, ...]
    parts: tuple[slice, ...]
    """Which of each item's search windows."""

    @property
    def labels(self) -> np.ndarray:
        """(n, 4) float32."""
        return np.concatenate(
            [item.labels[part] for item, part in zip(self.items, self.parts, strict=True)]
        )

    @property
    def owners(self) -> np.ndarray:
        """(n,): the item of each example."""
        counts = [len(i.labels[p]) for i, p in zip(self.items, self.parts, strict=True)]
        return np.repeat(np.arange(len(counts)), counts)


class Examples:
    """The endless sequence of examples of a seed.

    Args:
        videos: those with fewer than two labelled frames are left out.
        photographs: with their boxes; those without room for crops are left out.
        reader: decodes images.
        motion: the motion model.
        seed: of everything that is drawn.
        drawn: examples drawn for each true one.
        largest_part: see :meth:`goturn.data.model.Photograph.with_room`.
        context_factor: side of a search window over that of its box.

    Raises:
        DataError: nothing to draw from.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        photographs: Sequence[Photograph],
        reader: Reader,
        motion: MotionModel,
        *,
        seed: int,
        drawn: int = 10,
        largest_part: float = LARGEST_PART,
        context_factor: float = 2.0,
    ) -> None:
        self._pairs = [(video, pairs) for video in videos if (pairs := video.pairs())]
        self._photographs = [
            (photograph, boxes)
            for photograph in photographs
            if (boxes := photograph.with_room(largest_part))
        ]
        if not self._pairs and not self._photographs:
            raise DataError(
                "there is nothing to train on: no video with two labelled frames, and no photograph "
                "with an object that leaves room around it"
            )
        self._reader, self._motion, self._seed = reader, motion, seed
        self._factor = context_factor
        self.per_item = drawn + 1

    def item(self, number: int) -> Item:
        """Item ``number``, from 0: photographs and videos in turn, where there are both.

        An image that cannot be decoded is passed over for another one.

        Raises:
            DataError: none of ``TRIES`` in a row could be used.
        """
        uniform = uniforms(self._seed, number)
        of_photographs = bool(self._photographs) and (number % 2 == 0 or not self._pairs)
        for _ in range(TRIES):
            try:
                if of_photographs:
                    return self._from_photograph(uniform)
                return self._from_video(uniform)
            except (ValueError, OSError) as error:
                reason = error
        raise DataError(
            f"{TRIES} images in a row cannot be used for training; the last one: {reason}"
        )

    def plan(self, step: int, batch: int) -> Plan:
        """The examples of iteration ``step``, from 0."""
        begin, end = step * batch, (step + 1) * batch
        first, last = begin // self.per_item, (end - 1) // self.per_item
        items, parts = [], []
        for number in range(first, last + 1):
            start = number * self.per_item
            items.append(self.item(number))
            parts.append(slice(max(begin - start, 0), min(end - start, self.per_item)))
        return Plan(tuple(items), tuple(parts))

    def _from_photograph(self, uniform: Uniform) -> Item:
        photograph, boxes = _choose(self._photographs, uniform)
        drawn = _choose(boxes, uniform)
        image = self._reader.read(photograph.path)
        box = photograph.fitted(drawn, len(image))
        return self._make(photograph.name, (image, image), (box, box), uniform)

    def _from_video(self, uniform: Uniform) -> Item:
        video, pairs = _choose(self._pairs, uniform)
        before, now = _choose(pairs, uniform)
        source = f"{video.name}, frames {before} and {now}"
        frames = (self._reader.read(video.frames[before]), self._reader.read(video.frames[now]))
        return self._make(source, frames, (video.boxes[before], video.boxes[now]), uniform)

    def _make(
        self,
        source: str,
        frames: tuple[np.ndarray, np.ndarray],
        truth: tuple[Box, Box],
        uniform: Uniform,
    ) -> Item:
        """The item of a previous and a current frame, with the true box in each."""
        (previous, current), (before, now) = frames, truth
        height, width = current.shape[:2]
        # The motion model moves the current box, so drawn examples do not have the video's own motion.
        boxes = [before]
        for _ in range(self.per_item - 1):
            boxes.append(self._motion.draw(now, width, height, uniform))
        searches = tuple(search_window(box, width, height, self._factor) for box in boxes)
        labels = [scale(recenter(now, window), window) for window in searches]
        target = search_window(before, previous.shape[1], previous.shape[0], self._factor)
        return Item(source, previous, current, target, searches, np.array(labels, np.float32))


def uniforms(seed: int, number: int) -> Uniform:
    """Independent uniform numbers in [0, 1), a sequence for each pair of arguments.

    Philox is a function of key and counter, so any item can be begun at once.
    """
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
    draw: Callable[[], float] = generator.random
    return draw


def crop(plan: Plan, ops: Ops, preprocessing: Preprocessing) -> Batch:
    """The plan's crops on a device.

    Args:
        plan: the examples.
        ops: of the device.
        preprocessing: how a crop becomes input.
    """
    p = preprocessing

    def crops(frame: Array, windows: Sequence[SearchWindow]) -> Array:
        return ops.crop_resize(
            frame, windows, size=p.input_size, mean=p.mean, colour_order=p.colour_order
        )

    targets, searches = [], []
    for item, part in zip(plan.items, plan.parts, strict=True):
        current = ops.from_numpy(item.current)  # to the device once, for both of a photograph's
        previous = current if item.previous is item.current else ops.from_numpy(item.previous)
        targets.append(crops(previous, [item.target]))
        searches.append(crops(current, item.searches[part]))
    return Batch(ops.concatenate(targets), ops.concatenate(searches), plan.owners, plan.labels)


def crop_ahead(plan: Plan, ops: Ops, preprocessing: Preprocessing) -> Plan | Batch:
    """The plan's crops, where any thread may make them, as one that works ahead; else the plan.

    A GPU's crops are for the thread that uses them to make: they are in the order of its stream.
    """
    return crop(plan, ops, preprocessing) if ops.on_host else plan


def _choose(things: Sequence[T], uniform: Uniform) -> T:
    """One of ``things``, all equally likely."""
    return things[min(int(uniform() * len(things)), len(things) - 1)]
