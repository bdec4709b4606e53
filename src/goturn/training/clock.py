"""How fast training is, and how much of the time it waits."""

from __future__ import annotations


class Clock:
    """Seconds that iterations took, and waited."""

    def __init__(self) -> None:
        self.seconds = self._waited = 0.0
        self._examples = 0

    def add(self, seconds: float, waited: float, examples: int) -> None:
        """One more iteration."""
        self.seconds += seconds
        self._waited += waited
        self._examples += examples

    @property
    def waiting(self) -> float:
        """Part of the time that went by waiting for batches."""
        return self._waited / self.seconds if self.seconds else 0.0

    @property
    def rate(self) -> float:
        """Examples a second."""
        return self._examples / self.seconds if self.seconds else 0.0
