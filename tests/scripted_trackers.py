"""Trackers for evaluations in tests: worker processes import them by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np


class Drift:
    """Moves by as many pixels a frame as its frame's shade says, a tenth of it."""

    def __init__(self, log: str = "", sleep: float = 0.0) -> None:
        # In a folder, the log is no file that an option names, whose content would count.
        self.log = str(Path(log) / "starts") if log and Path(log).is_dir() else log
        self.sleep = sleep

    def init(self, frame, box):
        self.box = [float(value) for value in box]
        if self.log:
            with Path(self.log).open("a") as file:
                file.write(f"{os.getpid()} {int(frame[0, 0, 0])}\n")

    def update(self, frame):
        time.sleep(self.sleep)
        self.box[0] += int(frame[0, 0, 0]) / 100
        return np.array(self.box, np.float32)


class Crash(Drift):
    """Ends its process, without a word, in videos of a shade."""

    def __init__(self, shade: int = 50) -> None:
        super().__init__()
        self.shade = shade

    def update(self, frame):
        if abs(int(frame[0, 0, 0]) - self.shade) < 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().update(frame)


class Untidy(Drift):
    """Prints, writes into its frames, and raises in each third frame."""

    def init(self, frame, box):
        super().init(frame, box)
        self.number = 0

    def update(self, frame):
        print("this is not to be found among the results")
        frame[:] = 0
        self.number += 1
        if self.number % 3 == 0:
            raise KeyError("lost")
        return tuple(self.box)


class Random:
    """Another box in each run."""

    def init(self, frame, box):
        self.random = np.random.default_rng()

    def update(self, frame):
        return self.random.uniform(1, 9, 4)


def fixed(x: float = 1, y: float = 2) -> object:
    """A function that makes a tracker, with OpenCV's way of answering."""

    class Fixed:
        def init(self, frame, box):
            self.found = True

        def update(self, frame):
            self.found = not self.found
            return self.found, (x, y, 5, 6)

    return Fixed()


class NoUpdate:
    """Not a tracker."""

    def init(self, frame, box):
        pass


def broken():
    """Makes nothing."""
    raise RuntimeError("no such thing")
