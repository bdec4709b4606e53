"""What a run was like, as it goes: ``metrics.csv``, the same for the same settings, and ``timing.csv``.

``metrics.csv`` has a row for every interval of iterations: ``iteration,loss,rate,validation_iou``.
Numbers are written in the fewest digits that read back to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from numbers import Integral
from pathlib import Path

from goturn.training.lines import Lines

_HEADER = "iteration,loss,rate,validation_iou"
_TIMING_HEADER = "iteration,seconds,examples_per_second,waiting_share"


@dataclass(frozen=True)
class Row:
    """An interval of iterations."""

    iteration: int
    """The last one of the interval; 1 is the first of the run."""
    loss: float
    """Mean over the interval's batches of the summed loss over (batch * 4): with the L1 loss, mean
    absolute error per coordinate, in units of which the search window has 10.  (Gradients are of the
    sum.)  Where features are imitated, their squared error over the squares of what they should be."""
    rate: float
    """Learning rate of the fc layers' weights at the interval's end; of convolutions' where features are
    imitated."""
    validation_iou: float | None
    """Mean overlap of the tracked with the true boxes of the validation videos, 0..1; None where they
    were not tracked."""

    def __post_init__(self) -> None:
        _check("iteration", self.iteration, 0)
        _check("loss", self.loss, 0)
        _check("rate", self.rate, 0)
        if self.validation_iou is not None:
            _check("validation_iou", self.validation_iou, 0, 1)


class Metrics:
    """The rows of a run's ``metrics.csv``, in memory and on the disk; see :meth:`open`."""

    def __init__(self, lines: Lines, rows: list[Row]) -> None:
        self._lines = lines
        self.rows = rows

    @classmethod
    def open(cls, path: Path, *, upto: int) -> Metrics:
        """The file of a run that goes on after iteration ``upto``.

        Rows of later iterations, which will come again, and a torn last line are removed from it; where
        there is no file, one is made.

        Args:
            path: the file.
            upto: iterations done; 0 for a new run.

        Raises:
            OSError: the file cannot be read or written.
            ValueError: it is not a file of ours; the message names the line.
        """
        lines = Lines(path)
        rows = _parse(lines, upto)
        kept = [_HEADER, *(_text(astuple(row)) for row in rows)]
        if lines.torn or kept != lines.lines:
            lines.replace(kept)
        return cls(lines, rows)

    def append(self, row: Row) -> None:
        """Adds a row of a later iteration, and hands it to the operating system.

        Raises:
            ValueError: it is not of a later iteration.
            OSError: writing failed; the message names the file, and ``rows`` are as before.  What there
                is of a torn line is removed by the next :meth:`append` or :meth:`open`.
        """
        if self.rows and row.iteration <= self.rows[-1].iteration:
            raise ValueError(
                f"{self._lines.path}: a row of iteration {row.iteration} cannot follow one of "
                f"{self.rows[-1].iteration}"
            )
        self._lines.append(_text(astuple(row)))
        self.rows.append(row)

    def sync(self) -> None:
        """Waits until all rows are on the disk: before a checkpoint, which stands for them.

        Raises:
            OSError: they cannot get there.
        """
        self._lines.sync()

    def best(self) -> Row | None:
        """The row with the highest ``validation_iou``, the earliest of equals; None without one."""
        return best_row(self.rows)


def read_rows(path: Path) -> list[Row]:
    """The rows of a ``metrics.csv``, which may be growing; the file stays as it is.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a file of ours; the message names the line.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; give the folder of a training run")
    return _parse(Lines(path))


def best_row(rows: Sequence[Row]) -> Row | None:
    """See :meth:`Metrics.best`."""
    best: Row | None = None
    for row in rows:
        if row.validation_iou is not None and (
            best is None or best.validation_iou is None or row.validation_iou > best.validation_iou
        ):
            best = row
    return best


@dataclass(frozen=True)
class TimingRow:
    """How fast an interval of iterations was."""

    iteration: int
    """The last one of the interval."""
    seconds: float
    """It took, wall clock."""
    examples_per_second: float
    waiting_share: float
    """Part of the time that training waited for examples, 0..1."""


class Timing:
    """A run's ``timing.csv``, which differs from run to run; see :meth:`open`.

    It only grows: iterations that were run again after a crash are in it as often.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    @classmethod
    def open(cls, path: Path) -> Timing:
        """The file at ``path``, made where there is none, without a torn last line.

        Raises:
            OSError: the file cannot be read or written.
            ValueError: it has another header.
        """
        lines = Lines(path)
        _check_header(lines, _TIMING_HEADER)
        if lines.torn or not lines.lines:
            lines.replace(lines.lines or [_TIMING_HEADER])
        return cls(lines)

    def append(self, row: TimingRow) -> None:
        """Adds a row.

        Raises:
            OSError: writing failed; the message names the file.
        """
        self._lines.append(_text(astuple(row)))


def _check_header(lines: Lines, header: str) -> None:
    if lines.lines and lines.lines[0] != header:
        raise ValueError(f"{lines.path}, line 1: expected {header!r}; got {lines.lines[0][:80]!r}")


def _parse(lines: Lines, upto: int | None = None) -> list[Row]:
    """The rows up to an iteration, in the order of their iterations, which must rise."""
    _check_header(lines, _HEADER)
    rows: list[Row] = []
    for number, line in enumerate(lines.lines[1:], 2):
        try:
            cells = line.split(",")
            if len(cells) != 4:
                raise ValueError(f"expected 4 cells; got {len(cells)}")
            overlap = float(cells[3]) if cells[3] else None
            row = Row(int(cells[0]), float(cells[1]), float(cells[2]), overlap)
            if rows and row.iteration <= rows[-1].iteration:
                raise ValueError(f"iteration {row.iteration} follows {rows[-1].iteration}")
        except ValueError as error:
            raise ValueError(
                f"{lines.path}, line {number}: {str(error)[:120]}; remove this line, or move the file "
                "away"
            ) from error
        if upto is not None and row.iteration > upto:
            break  # what follows was perhaps not on the disk at a crash
        rows.append(row)
    return rows


def _text(values: tuple[float | None, ...]) -> str:
    """A line of CSV."""
    return ",".join("" if value is None else _number(value) for value in values)


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, Integral) else repr(float(value))


def _check(name: str, value: float, low: float, high: float = math.inf) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        wanted = "0 or more" if high == math.inf else f"in {low}..{high}"
        raise ValueError(f"{name} must be a finite number, {wanted}; got {value!r}")
