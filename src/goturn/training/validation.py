"""Validation: how well the weights track videos that they have not learnt from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm

from goturn.data.images import FrameReader
from goturn.data.model import DataError, Video
from goturn.evaluation.one_pass import mean_overlap, track_video
from goturn.network import Network
from goturn.tracker import Tracker


class Validation:
    """Tracks videos, one pass each.

    Args:
        videos: to track.
        reader: decodes their frames.
        tell: told what was left out.
        stop: asked before each frame.
        bars: whether to show progress.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        reader: FrameReader,
        *,
        tell: Callable[[str], None],
        stop: Callable[[], bool],
        bars: bool,
    ) -> None:
        self._videos, self._reader = videos, reader
        self._tell, self._stop, self._bars = tell, stop, bars
        self._left_out: set[str] = set()

    def __len__(self) -> int:
        return len(self._videos)

    def mean_overlap(self, network: Network) -> float:
        """Mean over the videos of each one's mean IoU, with the weights that ``network`` has now.

        A video that cannot be tracked, for a frame that cannot be read or a first box outside of its
        frame, is named and left out.

        Raises:
            DataError: that is all of them.
            Stopped: on request.
        """
        network.compile()  # convolutions may have learnt
        tracker, values = Tracker(network), list[float]()
        for video in tqdm(self._videos, "validation", leave=False, disable=not self._bars):
            try:
                boxes = track_video(tracker, video, self._reader.read, stop=self._stop)
            except ValueError as error:
                if video.name not in self._left_out:
                    self._tell(f"left out of the validation: {video.name}: {error}")
                self._left_out.add(video.name)
            else:
                values.append(mean_overlap(video, boxes))
        if not values:
            raise DataError("none of the validation videos can be tracked; the log says why")
        return float(np.mean(values))
