"""Training examples: pairs of crops, and where the object is in them (paper, 4.3; facts 3.1-3.2).

Items are drawn from photographs and videos in turn.  An item is a target and eleven search windows: the
one that a tracker would have looked in, and ten about boxes drawn from the motion model.  Examples of all
items follow one another, and every ``batch`` of them are an iteration's, so an item may lie in two.

Everything about item number k is a function of the seed and k alone: it does not matter who asks, in
which order, or how often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from goturn.architecture import Preprocessing
from goturn.box import Box, SearchWindow, recenter, scale, search_window
from goturn.data.model import LARGEST_PART, DataError, Photograph, Video
from goturn.ops import Array, Ops
from goturn.training import augment
from goturn.training.motion import MotionModel, Uniform
from goturn.training.step import Batch
from goturn.training.variety import Augmentation

T = TypeVar("T")

#: The paper's examples.
PLAIN = Augmentation()

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
        augmentation: variety beyond the paper's; none by default.

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
        augmentation: Augmentation = PLAIN,
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
        self._factor, self._augmentation, self._largest = context_factor, augmentation, largest_part
        error = augmentation.target_error
        self._error = error and replace(
            motion,
            lambda_shift=motion.lambda_shift / error,
            lambda_scale=motion.lambda_scale / error,
        )
        self.per_item = drawn + 1

    def item(self, number: int) -> Item:
        """Item ``number``, from 0: photographs and videos in turn, where there are both.

        An image that cannot be decoded is passed over for another one.

        Raises:
            DataError: none of ``TRIES`` in a row could be used.
        """
        uniform = uniforms(self._seed, number)
        of_photographs = bool(self._photographs) and (number % 2 == 0 or not self._pairs)
        part = self._augmentation.starts
        start = bool(part) and uniform() < part
        for _ in range(TRIES):
            try:
                if of_photographs:
                    return self._from_photograph(uniform, start)
                return self._from_video(uniform, start)
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

    def _from_photograph(self, uniform: Uniform, start: bool) -> Item:
        how = self._augmentation
        still = self._still(uniform) if how.stills and uniform() < how.stills else None
        if still:
            source, image, box = still
        else:
            photograph, boxes = _choose(self._photographs, uniform)
            drawn = _choose(boxes, uniform)
            source, image = photograph.name, self._reader.read(photograph.path)
            box = photograph.fitted(drawn, len(image))
        if how.regions and uniform() < how.regions:
            box = augment.region(image, uniform) or box
        current, now = image, box
        if how.turn:
            current, now = augment.turned(image, box, how.turn, uniform)
        return self._make(source, (image, current), (box, box, now), uniform, start)

    def _still(self, uniform: Uniform) -> tuple[str, np.ndarray, Box] | None:
        """A labelled frame of a video in place of a photograph; None where it leaves no room."""
        if not self._pairs:
            return None
        video, _ = _choose(self._pairs, uniform)
        number = _choose(list(video.boxes), uniform)
        image, box = self._reader.read(video.frames[number]), video.boxes[number]
        height, width = image.shape[:2]
        if max(box.w / width, box.h / height) > self._largest or min(box.w, box.h) <= 0:
            return None
        return f"{video.name}, frame {number}", image, box

    def _from_video(self, uniform: Uniform, start: bool) -> Item:
        how = self._augmentation
        video, pairs = _choose(self._pairs, uniform)
        before, now = _choose(pairs, uniform)
        target = before
        if how.gap > 1 or how.backwards or start:
            numbers = list(video.boxes)
            at, step = numbers.index(now), 1
            if how.backwards and uniform() < how.backwards:
                at, step = at - 1, -1
            farthest = how.gap
            if start:
                farthest = at if step == 1 else len(numbers) - 1 - at
            back = 1 + int(uniform() * farthest)
            now, before = numbers[at], numbers[at - step]
            target = numbers[min(max(at - step * back, 0), len(numbers) - 1)]
        source = f"{video.name}, frames {target} and {now}"
        frames = (self._reader.read(video.frames[target]), self._reader.read(video.frames[now]))
        boxes = video.boxes[target], video.boxes[before], video.boxes[now]
        return self._make(source, frames, boxes, uniform, start)

    def _make(
        self,
        source: str,
        frames: tuple[np.ndarray, np.ndarray],
        boxes: tuple[Box, Box, Box],
        uniform: Uniform,
        start: bool,
    ) -> Item:
        """The item of a target's and a current frame.

        ``boxes`` are the object's in the target's frame, the one that a tracker would look about, and the
        object's in the current frame; ``start`` says that the target's is to stay right.
        """
        (previous, current), (target, before, now) = frames, boxes
        if self._augmentation != PLAIN:
            previous, current, boxes = self._changed(previous, current, boxes, uniform, start)
            target, before, now = boxes
        height, width = current.shape[:2]
        # The motion model moves the current box, so drawn examples do not have the video's own motion.
        looked = [before]
        for _ in range(self.per_item - 1):
            looked.append(self._motion.draw(now, width, height, uniform))
        searches = tuple(search_window(box, width, height, self._factor) for box in looked)
        labels = [scale(recenter(now, window), window) for window in searches]
        window = search_window(target, previous.shape[1], previous.shape[0], self._factor)
        return Item(source, previous, current, window, searches, np.array(labels, np.float32))

    def _changed(
        self,
        previous: np.ndarray,
        current: np.ndarray,
        boxes: tuple[Box, Box, Box],
        uniform: Uniform,
        start: bool,
    ) -> tuple[np.ndarray, np.ndarray, tuple[Box, Box, Box]]:
        """Frames and boxes of :meth:`_make` with what the augmentation does to any item."""
        how, (target, before, now) = self._augmentation, boxes
        if how.occluders and uniform() < how.occluders:
            current = augment.occluded(current, now, uniform)
        if how.blur and uniform() < how.blur:
            current = augment.blurred(current, now, uniform)
        if how.colour:
            previous, current = augment.recoloured((previous, current), how.colour, uniform)
        if how.mirror and uniform() < how.mirror:
            before = augment.mirrored_box(before, current.shape[1])
            target = augment.mirrored_box(target, previous.shape[1])
            now = augment.mirrored_box(now, current.shape[1])
            same = previous is current
            previous = augment.mirrored(previous)
            current = previous if same else augment.mirrored(current)
        if self._error and not start:
            height, width = previous.shape[:2]
            wrong = self._error.draw(target, width, height, uniform)
            target, before = wrong, augment.moved_likewise(before, target, wrong)
        return previous, current, (target, before, now)


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
