"""A tracker on a video: called frame by frame, timed, and what it does written down."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from goturn.box import SHORT, Box, as_box
from goturn.data.model import Video
from goturn.evaluation.results import FAILED, SKIPPED, STARTED, TRACKED, Trajectory
from goturn.evaluation.trackers import AnyTracker

#: How many of a run's problems are kept as sentences.
MAX_PROBLEMS = 5

Read = Callable[[Path], np.ndarray]


class Stopped(Exception):
    """Somebody asked to stop."""


@dataclass(frozen=True, eq=False)
class Run:
    """A trajectory, and what went wrong on the way."""

    trajectory: Trajectory
    problems: tuple[str, ...] = ()
    """What the tracker raised, or gave instead of a box, a clause each: the first of them."""
    problem_count: int = 0
    jobs: int = 1
    """How many processes tracked at the same time: times of several cannot be compared with one's."""


class Session:
    """One tracker on one video.

    A tracker that raises, or gives anything but four finite numbers, has no box in that frame and is
    asked again in the next; one whose ``init`` raises has none until it is started again.

    Args:
        tracker: is called.
        video: with at least one labelled frame.
        read: decodes a frame; the time for it does not count.
        strict: what a tracker raises, or gives instead of a box, is raised instead of written down.
        fatal: likewise these errors alone, which are the machine's doing and not the tracker's.
        stop: asked before each frame.
        step: called after each frame.

    Raises:
        ValueError: a video without labels.
    """

    def __init__(
        self,
        tracker: AnyTracker,
        video: Video,
        read: Read,
        *,
        strict: bool = False,
        fatal: tuple[type[Exception], ...] = (MemoryError,),
        stop: Callable[[], bool] = lambda: False,
        step: Callable[[], object] = lambda: None,
    ) -> None:
        self._tracker, self._video, self._read = tracker, video, read
        self._fatal = Exception if strict else fatal
        self._stop, self._step = stop, step
        self.first = first_labelled(video)
        count = len(video.frames)
        self._boxes = np.full((count, 4), np.nan)
        self._codes = np.full(count, SKIPPED, np.uint8)
        self._seconds = np.full(count, np.nan)
        self.size = (0, 0)
        """(width, height) of the first frame tracked, pixels; (0, 0) before it."""
        self._running = False
        self._problems: list[str] = []
        self._count = 0

    def start(self, number: int, box: Box) -> None:
        """Starts the tracker on a frame.

        Raises:
            ValueError: the frame cannot be decoded.
            Stopped: on request.
        """
        frame = self._frame(number)
        if self.size == (0, 0):
            self.size = (frame.shape[1], frame.shape[0])
        self._codes[number] = STARTED
        self._boxes[number] = box
        self._running = True
        began = time.perf_counter()
        try:
            self._tracker.init(frame, box)
        except Exception as error:
            self._running = False
            self._note(number, error)
        self._seconds[number] = time.perf_counter() - began
        self._step()

    def follow(self, number: int) -> Box | None:
        """The tracker's box in a frame after the start; None where it has none.

        Raises:
            ValueError: the frame cannot be decoded.
            Stopped: on request.
        """
        frame = self._frame(number)
        self._codes[number] = TRACKED
        box = None
        if self._running:
            began = time.perf_counter()
            try:
                answer = self._tracker.update(frame)
                self._seconds[number] = time.perf_counter() - began
                box = _box_of(answer)
            except Exception as error:
                self._note(number, error)
            if box is not None:
                self._boxes[number] = box
        else:
            self._count += 1  # told of once, at the start that did not come about
        self._step()
        return box

    def fail(self, number: int) -> None:
        """Marks a frame that was followed as the one in which the object was lost."""
        self._codes[number] = FAILED

    def run(self) -> Run:
        """All of it."""
        trajectory = Trajectory(self._boxes, self._codes, self._seconds, *self.size)
        return Run(trajectory, tuple(self._problems), self._count)

    def _frame(self, number: int) -> np.ndarray:
        if self._stop():
            raise Stopped
        return self._read(self._video.frames[number])

    def _note(self, number: int, error: Exception) -> None:
        if isinstance(error, self._fatal):
            raise error
        self._count += 1
        if len(self._problems) < MAX_PROBLEMS:
            text = " ".join(str(error).split())[:300]
            kind = "" if isinstance(error, NotABoxError) else f"{type(error).__name__}: "
            self._problems.append(f"frame {number}: {kind}{text}")


class NotABoxError(ValueError):
    """A tracker's answer is no box."""


def first_labelled(video: Video) -> int:
    """The frame to start a tracker on.

    Raises:
        ValueError: there is none.
    """
    for number in video.boxes:
        return number
    raise ValueError(f"{video.name} has no labelled frame to start a tracker on")


def _box_of(answer: Any) -> Box | None:
    """A tracker's answer as a Box; None where it says that it has not found the object.

    Raises:
        NotABoxError: it is something else.
    """
    try:
        if isinstance(answer, tuple) and len(answer) == 2:  # OpenCV's (found, box)
            found, answer = answer
            if not found:
                return None
        return as_box(answer)
    except (TypeError, ValueError) as error:
        raise NotABoxError(
            f"gave {SHORT.repr(answer)} where a box was expected ({error})"
        ) from error
