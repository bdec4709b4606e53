"""What there is of variety in training examples beyond the paper's, and how much of each.

The paper's training draws search windows about objects and changes nothing else.  With little data the
network soon knows every object by heart; these changes make more of the same pictures.  Each is off at
its default, and then draws no random number, so that the paper's examples stay what they are, bit by bit.

:mod:`goturn.training.augment` does them; this module has no need of OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

#: What each setting may be.
LIMITS: dict[str, tuple[float, float]] = {
    "mirror": (0, 1),
    "colour": (0, 0.9),
    "blur": (0, 1),
    "occluders": (0, 1),
    "turn": (0, 45),
    "regions": (0, 1),
    "stills": (0, 1),
    "gap": (1, 1000),
    "backwards": (0, 1),
    "target_error": (0, 1),
    "starts": (0, 1),
}


@dataclass(frozen=True)
class Augmentation:
    """How much of each change; nothing by default.

    Raises:
        ValueError: a value out of range.
    """

    mirror: float = 0.0
    """Part of the items whose pictures are mirrored, left to right."""
    colour: float = 0.0
    """Largest relative change of brightness and contrast; each channel also changes by up to half of
    that on its own."""
    blur: float = 0.0
    """Part of the current frames that are blurred."""
    occluders: float = 0.0
    """Part of the current frames in which something covers some of the object."""
    turn: float = 0.0
    """Largest turn of a photograph's second picture, degrees; it is stretched and moved a little too."""
    regions: float = 0.0
    """Part of the photographs' items whose object is any region with contrast."""
    stills: float = 0.0
    """Part of the photographs' items that are drawn from labelled frames of videos."""
    gap: int = 1
    """The target may lie so many labelled frames back; the first search window stays about the box of
    the labelled frame just before."""
    backwards: float = 0.0
    """Part of the videos' items that are played backwards."""
    target_error: float = 0.0
    """How wrong the box about which the target is cropped is: its errors are those of the motion model,
    times this.  The first search window is cropped about the same box, as a tracker's would be."""
    starts: float = 0.0
    """Part of the items whose target is one that a track starts with, for a tracker that keeps it
    (:mod:`goturn.target_policy`): its box is right, and it may lie any number of labelled frames back."""

    def __post_init__(self) -> None:
        for each in fields(self):
            low, high = LIMITS[each.name]
            value = getattr(self, each.name)
            if not low <= value <= high:
                raise ValueError(f"{each.name} must be in {low:g}..{high:g}; got {value!r}")
