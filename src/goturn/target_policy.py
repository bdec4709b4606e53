"""How a tracker keeps its target: the paper's way, and what else a network may have been found to need.

The paper takes the target anew from every frame, at the tracker's own estimate (section 3).  Whatever
is wrong with the estimate is in the target from then on.  Two numbers say how far from this a tracker
goes.  It is still one network, and what it learns is all offline:

* beside the latest target it may keep the one that it was started with, whose box was right, and
  answer with a mean of what the network says to either.  The search window goes through its tower once
  in any case;
* it may take the target anew every few frames alone, which leaves out a tower's work in the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

#: Frames between two targets at most: what a file may ask for.
MAX_EVERY = 1000


class TargetPolicy(NamedTuple):
    """What a tracker keeps of its target, and when it takes it anew."""

    start: float = 0.0
    """How much the answer for the target as it was at the start counts, from 0 (the paper's) to 1; the
    answer for the latest counts the rest."""
    every: int = 1
    """Frames after which the target is taken anew; 1 is the paper's."""

    @classmethod
    def of(cls, given: Iterable[float]) -> TargetPolicy:
        """One that a caller gives, as a policy or as its two numbers, checked.

        Raises:
            TypeError: not two of anything.
            ValueError: as :meth:`checked`.
        """
        try:
            start, every = given
        except (TypeError, ValueError) as error:
            raise TypeError(
                "a target policy must be a TargetPolicy, or its share of the start and its number of "
                f"frames, such as (0.5, 3), or goturn.target_policy.PAPER; got {given!r}"
            ) from error
        return cls(start, every).checked()  # type: ignore[arg-type]

    @classmethod
    def parse(cls, text: str) -> TargetPolicy:
        """One as text, as ``--target`` and settings have it: ``SHARE,FRAMES``, or ``paper``.

        Raises:
            ValueError: another text, or a number out of range.
        """
        if text == "paper":
            return PAPER
        try:
            share, frames = text.split(",")
            return cls(float(share), int(frames)).checked()
        except ValueError as error:
            raise ValueError(
                f"{text!r} is not a way to keep the target; give paper, or SHARE,FRAMES such as 0.5,3: "
                "what the first target counts, 0 to 1, and after how many frames the latest is taken anew"
            ) from error

    def checked(self) -> TargetPolicy:
        """The same, as a float and a whole number.

        Raises:
            ValueError: a number out of range, or not a number.
        """
        try:
            start, every = float(self.start), int(self.every)
            given = start == self.start and every == self.every  # no text is
            sound = given and 0 <= start <= 1 and 1 <= every <= MAX_EVERY
        except (TypeError, ValueError, OverflowError):
            sound = False
        if not sound:
            raise ValueError(
                f"a target policy must be a share of the start in 0..1 and a whole number of frames in "
                f"1..{MAX_EVERY}; got {self.start!r} and {self.every!r}"
            )
        return TargetPolicy(start, every)


#: The paper's: the latest target alone, from every frame.
PAPER = TargetPolicy()


def mean_answer(both: np.ndarray, start: float) -> np.ndarray:
    """Answers (2n, 4) for n latest targets and for them as they were at their start, as (n, 4)."""
    count = len(both) // 2
    mean: np.ndarray = (1 - start) * both[:count] + start * both[count:]
    return mean
