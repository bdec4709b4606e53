"""Pictures of a training run, for those who have matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from goturn.training.metrics import Row, best_row, read_rows
from goturn.weights.atomic import replacing

#: Colours that people who confuse red and green tell apart, and that stay apart in grey.
_BLUE, _PALE, _ORANGE, _GREY = "#0b559f", "#9dc3e6", "#c8500a", "#5f5f5f"

#: Of more changes of the learning rate than this, none is marked: it falls all the time.
_MAX_FALLS = 8

_LOSS_AXIS = {
    "l1": "mean absolute error per coordinate\n(the search window is 10 wide)",
    "features": "squared error of the features,\nover the squares of what they should be",
    "l2": "L2 loss per coordinate\n(the search window is 10 wide)",
}


def plot_run(folder: Path, *, loss: str = "l1") -> list[Path]:
    """Draws ``loss.png`` and ``validation.png`` from the ``metrics.csv`` in a run's folder.

    Args:
        folder: the run's.
        loss: which it was trained with, "l1" or "l2": for the axis.

    Returns:
        The files written: none where matplotlib is not installed or there are no rows, and no
        ``validation.png`` where there was no validation.

    Raises:
        OSError: ``metrics.csv`` cannot be read, or a picture not written.
        ValueError: ``metrics.csv`` is not a file of ours.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        return []
    rows = read_rows(folder / "metrics.csv")
    written = []
    # Whatever style the caller draws in; a backend that was set would stay set.
    style: dict[Any, Any] = {
        name: v for name, v in mpl.rcParamsDefault.items() if name != "backend"
    }
    style |= {
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e4e4e4",
        "legend.framealpha": 0.9,
        "legend.edgecolor": "none",
    }
    with mpl.rc_context(style):
        if rows:
            written.append(_save(_loss_figure(rows, _LOSS_AXIS[loss]), folder / "loss.png"))
        if best_row(rows):
            written.append(_save(_validation_figure(rows), folder / "validation.png"))
    return written


def _loss_figure(rows: Sequence[Row], label: str) -> Any:
    figure, axes = _figure(rows)
    iterations = [row.iteration for row in rows]
    losses = [row.loss for row in rows]
    each = iterations[0] if len(rows) == 1 else iterations[1] - iterations[0]
    raw = f"mean of {each:,} iterations" if each > 1 else "each iteration"
    raw += f"; the first: {losses[0]:.3g}"
    half = len(rows) // 100
    if half:
        axes.plot(iterations, losses, color=_PALE, linewidth=0.8, label=raw)
        smooth = _running_means(losses, half)
        name = f"mean of {each * (2 * half + 1):,} iterations"
        axes.plot(iterations, smooth, color=_BLUE, linewidth=1.8, label=name)
    else:
        marker = "o" if len(rows) < 50 else ""
        style = {"linewidth": 1.8, "marker": marker, "markersize": 4}
        axes.plot(iterations, losses, color=_BLUE, label=raw, **style)
    _mark_falls(axes, rows)
    # The beginning, often far above the rest, may leave the picture; the legend has its number.
    highest = max(losses[len(losses) // 20 if len(losses) >= 50 else 0 :])
    axes.set_ylim(0, 1.15 * highest or 1)
    axes.set_ylabel(label)
    _title(axes, "Training loss")
    axes.legend(loc="upper right")
    return figure


def _validation_figure(rows: Sequence[Row]) -> Any:
    figure, axes = _figure(rows)
    points = [(row.iteration, row.validation_iou) for row in rows if row.validation_iou is not None]
    marker = {"marker": "o", "markersize": 5} if len(points) <= 60 else {}
    axes.plot(*zip(*points, strict=True), color=_BLUE, linewidth=1.8, **marker)
    best = best_row(rows)
    assert best is not None
    assert best.validation_iou is not None
    text = f"best: {best.validation_iou:.3f} after {best.iteration:,} iterations"
    axes.axhline(best.validation_iou, color=_ORANGE, linestyle="--", linewidth=1.4, label=text)
    axes.plot(best.iteration, best.validation_iou, "o", color=_ORANGE, markersize=8, zorder=3)
    _mark_falls(axes, rows)
    overlaps = [overlap for _, overlap in points]
    middle, spread = (max(overlaps) + min(overlaps)) / 2, max(overlaps) - min(overlaps)
    reach = 0.65 * max(spread, 0.1)
    axes.set_ylim(max(0, middle - reach), min(1, middle + reach))
    axes.set_ylabel("mean overlap (IoU)\nwith the true boxes, 0 to 1")
    _title(axes, "Tracking the validation videos")
    axes.legend(loc="lower right")
    return figure


def _figure(rows: Sequence[Row]) -> tuple[Any, Any]:
    """A figure of its own canvas, so that nobody's window or backend is touched, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure: Any = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    axes.set_xlim(0, max(rows[-1].iteration, 1) * 1.02)
    axes.set_xlabel("iterations (batches)")
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return figure, axes


def _mark_falls(axes: Any, rows: Sequence[Row]) -> None:
    """Where the learning rate changed, and to what."""
    from matplotlib.transforms import blended_transform_factory

    falls = [
        (after.iteration, after.rate)
        for before, after in pairwise(rows)
        if after.rate != before.rate
    ]
    if len(falls) > _MAX_FALLS:
        return
    where = blended_transform_factory(axes.transData, axes.transAxes)
    for iteration, rate in falls:
        axes.axvline(iteration, color=_GREY, linestyle=":", linewidth=1)
        axes.text(
            iteration,
            1.01,
            f"rate {rate:.3g}".replace("e-0", "e-"),
            transform=where,
            ha="center",
            va="bottom",
            fontsize=9,
            color=_GREY,
        )


def _title(axes: Any, text: str) -> None:
    """Above the marks of falling rates."""
    axes.set_title(text, loc="left", fontweight="bold", pad=22)


def _running_means(values: Sequence[float], half: int) -> list[float]:
    """For each value the mean of it and up to ``half`` on either side."""
    sums = [0.0, *accumulate(values)]
    means = []
    for index in range(len(values)):
        low, high = max(0, index - half), min(len(values), index + half + 1)
        means.append((sums[high] - sums[low]) / (high - low))
    return means


def _save(figure: Any, path: Path) -> Path:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    return path
