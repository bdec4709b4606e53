"""CVAT for video 1.1: an XML file with a track for each object.

CVAT imports it as it is, or in a zip (Actions, Upload annotations, "CVAT 1.1"), into a task that has a
label of the same name.  Frames count from 0; corners are in pixels of the frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from goturn.box import Box
from goturn.exports.tracks import Track, TrackFile, writable


class CvatFile(TrackFile):
    """``annotations.xml``.

    Every box is a key frame.  CVAT shows a box until it is told otherwise: after the last of a stretch
    the frame that follows, where there is one, says "outside".
    """

    def parts(self) -> Iterator[str]:
        yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        yield self._meta()
        for key, track in self.tracks.items():
            yield from self._track(key, track)
        yield "</annotations>\n"

    def _meta(self) -> str:
        name, label = (escape(writable(text)) for text in (self.clip.name, self.clip.label))
        width, height = self.size
        return f"""\
  <meta>
    <task>
      <name>{name}</name>
      <size>{self.length}</size>
      <mode>interpolation</mode>
      <overlap>0</overlap>
      <flipped>False</flipped>
      <labels>
        <label>
          <name>{label}</name>
          <attributes></attributes>
        </label>
      </labels>
      <original_size>
        <width>{width}</width>
        <height>{height}</height>
      </original_size>
    </task>
    <source>{name}</source>
  </meta>
"""

    def _track(self, key: int, track: Track) -> Iterator[str]:
        label = quoteattr(writable(self.clip.label))
        yield f'  <track id="{key}" label={label} source="auto">\n'
        for stretch in track.stretches():
            for number, box in stretch:
                yield box_element(number, box)
            number, box = stretch[-1]
            if number + 1 < self.length:
                yield box_element(number + 1, box, outside=True)
        yield "  </track>\n"


def box_element(number: int, box: Box, *, outside: bool = False) -> str:
    """A box as an element; corners with three decimals."""
    x1, y1, x2, y2 = box.xyxy
    return (
        f'    <box frame="{number}" keyframe="1" outside="{outside:d}" occluded="0" '
        f'xtl="{x1:.3f}" ytl="{y1:.3f}" xbr="{x2:.3f}" ybr="{y2:.3f}" z_order="0"></box>\n'
    )
