"""Label Studio: a task with its prediction, a ``VideoRectangle`` region for each object.

Import the file into a project whose labelling interface has, with the names that are used here::

    <View>
      <Labels name="videoLabels" toName="video"><Label value="object"/></Labels>
      <Video name="video" value="$video" framerate="25"/>
      <VideoRectangle name="box" toName="video"/>
    </View>

``framerate`` must be the video's own.  The task's ``video`` is the file's name: Label Studio finds it
once that is the address at which it serves the file, such as ``/data/local-files/?d=clips/clip.mp4``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from goturn.box import Box
from goturn.exports.tracks import Track, TrackFile, writable
from goturn.outputs import DEFAULT_FPS


class LabelStudioFile(TrackFile):
    """A list with one task.

    Boxes are in percent of the frame, of which what lies beyond is cut off; frames count from 1, and
    ``time`` is frame / rate, seconds, as Label Studio itself has it.  A box that is the last of a
    stretch has ``enabled`` false: the object is gone after it.
    """

    def parts(self) -> Iterator[str]:
        from goturn import __version__

        data = {"video": writable(self.clip.name)}
        model = f"goturn {__version__}"
        yield f'[{{"data": {json.dumps(data)}, "predictions": [{{"model_version": {json.dumps(model)}, '
        yield '"result": ['
        for number, (key, track) in enumerate(self.tracks.items()):
            yield from self._region(key, track, comma="," if number else "")
        yield "\n]}]}]\n"

    def _region(self, key: int, track: Track, *, comma: str) -> Iterator[str]:
        rate = self.clip.fps or DEFAULT_FPS
        head = {
            "id": f"object_{key}",
            "type": "videorectangle",
            "from_name": "box",
            "to_name": "video",
            "origin": "prediction",
        }
        value = {
            "framesCount": self.length,
            "duration": self.length / rate,
            "labels": [writable(self.clip.label)],
        }
        yield f'{comma}\n{json.dumps(head)[:-1]}, "value": {json.dumps(value)[:-1]}, "sequence": ['
        comma = ""
        sizes = self._sizes()
        for stretch in track.stretches():
            for index, box in stretch:
                entry = keyframe(index, box, sizes(index), rate, enabled=index != stretch[-1][0])
                yield f"{comma}\n{json.dumps(entry)}"
                comma = ","
        yield "\n]}}"

    def _sizes(self) -> Any:
        """A function: the size of a frame by its number, which must not go back from call to call."""
        frames = iter(self.frames)
        current = next(frames)

        def size(index: int) -> tuple[int, int]:
            nonlocal current
            while index >= current.stop:
                current = next(frames)
            return current.size

        return size


def keyframe(
    index: int, box: Box, size: tuple[int, int], rate: float, *, enabled: bool
) -> dict[str, float | bool]:
    """An entry of a region's sequence; percent with six decimals, a hundred-thousandth of a pixel."""
    x1, y1, x2, y2 = box.xyxy
    left, right = (100 * min(max(x, 0.0), size[0]) / size[0] for x in (x1, x2))
    top, bottom = (100 * min(max(y, 0.0), size[1]) / size[1] for y in (y1, y2))
    return {
        "frame": index + 1,
        "time": round((index + 1) / rate, 6),
        "enabled": enabled,
        "rotation": 0,
        "x": round(left, 6),
        "y": round(top, 6),
        "width": round(right - left, 6),
        "height": round(bottom - top, 6),
    }
