"""Reports of evaluations: a table for the terminal, a page, plots, and files for programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from goturn.data.loader import Progress, silent
from goturn.evaluation.report.got10k_files import write_got10k
from goturn.evaluation.report.looks import looks
from goturn.evaluation.report.machine import write_csv, write_json
from goturn.evaluation.report.page import write_page
from goturn.evaluation.report.plots import MISSING, write_plots
from goturn.evaluation.report.terminal import table
from goturn.evaluation.results import Evaluation

__all__ = ["table", "write_reports"]


def _ignore(sentence: str) -> None:
    """Says nothing."""


def write_reports(
    folder: Path,
    evaluations: Sequence[Evaluation],
    *,
    read: Callable[[Path], np.ndarray],
    progress: Progress = silent,
    say: Callable[[str], None] = _ignore,
    base: int = 0,
) -> list[Path]:
    """Writes everything about some evaluations of the same trackers to a folder.

    ========================  =======================================================================
    report.html               all of it on one page, that needs no other file
    report.json               all numbers; see :mod:`goturn.evaluation.report.machine`
    scores.csv, per-video.csv the same for spreadsheets
    plots/*.png               the charts, where matplotlib is installed
    results/, reports/        OTB and GOT-10k: boxes, times and performance.json as got10k writes them
    ========================  =======================================================================

    Each file is replaced whole; files of an earlier report that this one does not have stay.

    Args:
        folder: made where it does not exist.
        evaluations: at least one; by several protocols, or of several data sets.
        read: decodes a frame, (H, W, 3) uint8 BGR.  Where it raises ValueError or OSError, the page says
            that the frame could not be read.
        progress: wraps the videos, of which the page shows frames.
        say: given a sentence where something had to be left out.
        base: the first pixel's number in the annotation files, 1 for OTB's: got10k compares its result
            files with those as they are.

    Returns:
        The files, the page first.

    Raises:
        ValueError: there is no evaluation, or two trackers of one have the same name.
        OSError: a file cannot be written.
    """
    if not evaluations:
        raise ValueError("there is no evaluation to report on; give at least one")
    for evaluation in evaluations:
        names = [tracker.name for tracker in evaluation.trackers]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two trackers are named {twice!r}; give each a name of its own")
    folder.mkdir(parents=True, exist_ok=True)
    page = write_page(folder / "report.html", evaluations, read=read, progress=progress)
    written = [page, write_json(folder / "report.json", evaluations)]
    written += write_csv(folder, evaluations)
    plots = write_plots(folder / "plots", evaluations, looks(evaluations))
    if plots is None:
        say(MISSING)
    written += plots or []
    return written + write_got10k(folder, evaluations, base=base)
