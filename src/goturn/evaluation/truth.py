"""A video's truth and a trajectory's boxes as arrays, which is what scorers compute on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from goturn.box import MAX_COORDINATE
from goturn.data.model import Video
from goturn.evaluation.overlap import overlaps
from goturn.evaluation.results import Trajectory

#: Decimals in got10k's result files: what it scores are boxes rounded to these.
DECIMALS = 3


@dataclass(frozen=True, eq=False)
class Truth:
    """The labelled frames of a video, a row each."""

    name: str
    frames: int
    """Of the video, labelled or not."""
    numbers: np.ndarray
    """(m,) frame numbers, ascending."""
    boxes: np.ndarray
    """(m, 4) x, y, w, h in pixels."""
    corners: np.ndarray | None
    """(m, 8), rows of NaN where the truth is upright; None where all are."""

    @classmethod
    def of(cls, video: Video) -> Truth:
        """What ``video`` has.

        Raises:
            ValueError: it has no labelled frame.
        """
        if not video.boxes:
            raise ValueError(f"{video.name} has no labelled frame; leave it out")
        numbers = np.fromiter(video.boxes, np.int64, len(video.boxes))
        boxes = np.array(list(video.boxes.values()), np.float64)
        corners = None
        if video.corners:
            nowhere = (np.nan,) * 8
            rows = [video.corners.get(number, nowhere) for number in video.boxes]
            corners = np.array(rows, np.float64)
        return cls(video.name, len(video.frames), numbers, boxes, corners)

    def found(
        self, trajectory: Trajectory, decimals: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The trajectory's boxes at the labelled frames, (m, 4), and which of them are boxes, (m,).

        A row that is NaN, infinite or beyond :data:`goturn.box.MAX_COORDINATE` is none; it is 0 here.

        Raises:
            ValueError: the trajectory is not of this video's frames.
        """
        given = np.asarray(trajectory.boxes, np.float64)
        if given.shape != (self.frames, 4) or np.shape(trajectory.codes) != (self.frames,):
            raise ValueError(
                f"a trajectory of {self.name} has boxes {given.shape} and codes "
                f"{np.shape(trajectory.codes)}; expected a row for each of its {self.frames} frames"
            )
        boxes = given[self.numbers]
        there = (np.abs(boxes) <= MAX_COORDINATE).all(axis=1)
        boxes[~there] = 0.0
        return (boxes if decimals is None else rounded(boxes, decimals)), there

    def overlaps(
        self,
        boxes: np.ndarray,
        there: np.ndarray,
        mode: str,
        size: tuple[int, int],
        rows: np.ndarray | slice = slice(None),
    ) -> np.ndarray:
        """Overlap at ``rows`` of the labelled frames; 0 where there is no box.

        Args:
            boxes: (m, 4), and
            there: (m,), as :meth:`found` gives them.
            mode: the definition (:mod:`goturn.evaluation.overlap`).
            size: (width, height) of the frames.
            rows: which of the m.

        Raises:
            ValueError: as :func:`goturn.evaluation.overlap.overlaps`.
        """
        corners = None if self.corners is None else self.corners[rows]
        result = overlaps(boxes[rows], self.boxes[rows], mode, size, corners)
        return np.where(there[rows], result, 0.0)


def rounded(values: np.ndarray, decimals: int = DECIMALS) -> np.ndarray:
    """``values`` as they are after being written with so many decimals and read again."""
    factor = 10.0**decimals
    scaled = values * factor
    result = np.rint(scaled) / factor
    # Halves are decided by the exact value, which the product above may have rounded away.
    ties = np.abs(np.abs(scaled - np.floor(scaled)) - 0.5) < 1e-3
    result[ties] = [float(f"{value:.{decimals}f}") for value in values[ties]]
    return np.asarray(result)


def repetitions(video: Video, trajectories: Sequence[Trajectory]) -> Sequence[Trajectory]:
    """``trajectories``, of which there must be one.

    Raises:
        ValueError: there is none.
    """
    if not trajectories:
        raise ValueError(f"there is no trajectory of {video.name}; run the tracker on it first")
    return trajectories
