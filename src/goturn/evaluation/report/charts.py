"""The pictures of an evaluation as data: drawn by :mod:`svg` on the page, by :mod:`plots` as PNG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from goturn.evaluation.report.looks import (
    Look,
    less_is_better,
    number,
    ordered,
    rate,
    score,
    title_of,
)
from goturn.evaluation.results import Evaluation, TrackerResult


@dataclass(frozen=True)
class Series:
    """One tracker in a chart."""

    name: str
    label: str
    """For the legend: what the number in it is, the chart's ``legend`` says."""
    look: Look
    x: tuple[float, ...]
    y: tuple[float, ...]
    """As long as ``x``; of bars one for each group, NaN where there is none."""


@dataclass(frozen=True)
class Chart:
    """Axes and what is drawn in them, series with the best first."""

    kind: str
    """"lines", "points" (one a series) or "bars"."""
    key: str
    """For file names."""
    title: str
    x_label: str
    y_label: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    series: tuple[Series, ...]
    legend: str
    """What the numbers in the legend are, a few words."""
    log_x: bool = False
    groups: tuple[str, ...] = ()
    """Names of groups of bars."""


Looks = Mapping[str, Look]
ValueOf = Callable[[Mapping[str, float]], float]


def charts_of(evaluation: Evaluation, look: Looks) -> list[Chart]:
    """All charts that there are numbers for; ``look`` has that of each tracker."""
    makers: tuple[Callable[[Evaluation, Looks], Chart | None], ...] = (
        _success,
        _precision,
        _normalised_precision,
        _accuracy_robustness,
        _error_against_speed,
        _attributes,
    )
    return [chart for make in makers if (chart := make(evaluation, look)) is not None]


def error_name(evaluation: Evaluation) -> tuple[str, Callable[[TrackerResult], float]] | None:
    """What is drawn against speed, less being better: its name, and its value for a tracker.

    The paper's overall error where there is one, else 1 minus the first score, or that score itself where
    less of it is better.  None where there is no score.
    """
    names = list(dict.fromkeys(n for tracker in evaluation.trackers for n in tracker.scores))
    if not names:
        return None
    name = OVERALL_ERROR if OVERALL_ERROR in names else names[0]
    if less_is_better(evaluation, name):
        return name, lambda tracker: score(tracker, name)
    return f"1 - {name}", lambda tracker: 1 - score(tracker, name)


def _success(evaluation: Evaluation, look: Looks) -> Chart | None:
    axes = ("overlap threshold", "part of frames above it")
    return _curves(evaluation, look, "success", axes, ("AUC", "AO"))


def _precision(evaluation: Evaluation, look: Looks) -> Chart | None:
    axes = ("distance of centres, pixels", "part of frames within it")
    return _curves(evaluation, look, "precision", axes, ("P@20",))


def _normalised_precision(evaluation: Evaluation, look: Looks) -> Chart | None:
    axes = ("distance of centres, in sizes of the true box", "part of frames within it")
    return _curves(evaluation, look, "normalised precision", axes, ("norm. P AUC",))


def _curves(
    evaluation: Evaluation,
    look: Looks,
    curve: str,
    axes: tuple[str, str],
    scores: Sequence[str],
) -> Chart | None:
    """A chart of one of the curves; its legend has the first of ``scores`` that there is."""
    having = [tracker for tracker in evaluation.trackers if curve in tracker.curves]
    if not having:
        return None
    found = next((s for s in scores if any(s in tracker.scores for tracker in having)), None)
    order = [tracker for tracker in ordered(evaluation, found) if tracker in having]
    series = []
    for tracker in order:
        label = tracker.name
        if found is not None:
            label = f"{label} {number(score(tracker, found))}"
        line = tracker.curves[curve]
        series.append(Series(tracker.name, label, look[tracker.name], line.x, line.y))
    last = max((x for each in series for x in each.x), default=1.0)
    return Chart(
        "lines",
        curve.replace(" ", "-"),
        f"{curve.capitalize()}: {title_of(evaluation)}",
        *axes,
        (0.0, last or 1.0),
        (0.0, 1.0),
        tuple(series),
        found or "",
    )


def _accuracy_robustness(evaluation: Evaluation, look: Looks) -> Chart | None:
    points = []
    for tracker in ordered(evaluation):
        x, y = score(tracker, ROBUSTNESS), score(tracker, ACCURACY)
        if math.isfinite(x) and math.isfinite(y):
            label = f"{tracker.name} {number(y, 2)}, {number(x, 2)}"
            points.append(Series(tracker.name, label, look[tracker.name], (x,), (y,)))
    if not points:
        return None
    return Chart(
        "points",
        "accuracy-robustness",
        f"Accuracy and robustness: {title_of(evaluation)}",
        "robustness, exp(-30 failures / frames)",
        "accuracy, mean overlap",
        (0.0, 1.0),
        (0.0, 1.0),
        tuple(points),
        "accuracy, robustness",
    )


def _error_against_speed(evaluation: Evaluation, look: Looks) -> Chart | None:
    found = error_name(evaluation)
    if found is None:
        return None
    name, value = found
    points = []
    for tracker in ordered(evaluation):
        x, y = tracker.speed.frames_over_time, value(tracker)
        if math.isfinite(x) and x > 0 and math.isfinite(y):
            label = f"{tracker.name} {number(y, 2)}, {rate(x)}"
            points.append(Series(tracker.name, label, look[tracker.name], (x,), (y,)))
    if not points:
        return None
    rates = [point.x[0] for point in points]
    top = max(point.y[0] for point in points)
    return Chart(
        "points",
        "error-speed",
        f"Error against speed: {title_of(evaluation)}",
        "frames per second (frames / time), more is better",
        f"{name}, less is better",
        (
            10 ** math.floor(math.log10(min(rates) * 0.99)),
            10 ** math.ceil(math.log10(max(rates) * 1.01)),
        ),
        (0.0, 1.0 if 0.5 < top <= 1 else _ceiling(top)),
        tuple(points),
        "error, frames per second",
        log_x=True,
    )


def _attributes(evaluation: Evaluation, look: Looks) -> Chart | None:
    groups = attribute_names(evaluation)
    figure = _attribute_figure(evaluation)
    if not groups or figure is None:
        return None
    name, value_of = figure
    series = []
    for tracker in ordered(evaluation):
        y = tuple(value_of(tracker.attributes.get(group, {})) for group in groups)
        if any(math.isfinite(value) for value in y):
            x = tuple(float(i) for i in range(len(groups)))
            series.append(Series(tracker.name, tracker.name, look[tracker.name], x, y))
    if not series:
        return None
    top = max(value for each in series for value in each.y if math.isfinite(value))
    low = name == OVERALL_ERROR or less_is_better(evaluation, name)
    return Chart(
        "bars",
        "attributes",
        f"By attribute: {title_of(evaluation)}",
        "",
        f"{name}{', less is better' if low else ''}",
        (0.0, float(len(groups))),
        (0.0, _ceiling(top)),
        tuple(series),
        "",
        groups=tuple(groups),
    )


def attribute_names(evaluation: Evaluation) -> list[str]:
    """All attributes that any tracker has figures of."""
    return list(
        dict.fromkeys(name for tracker in evaluation.trackers for name in tracker.attributes)
    )


def _attribute_figure(evaluation: Evaluation) -> tuple[str, ValueOf] | None:
    """What is drawn by attribute: its name, and its value from an attribute's figures.

    The paper's overall error, 1 - (A + R) / 2, where accuracy and robustness are there, else the first
    figure.  None where there is none.
    """
    names = list(
        dict.fromkeys(
            name
            for tracker in evaluation.trackers
            for figures in tracker.attributes.values()
            for name in figures
        )
    )
    if ACCURACY in names and ROBUSTNESS in names:
        return (
            OVERALL_ERROR,
            lambda figures: (
                1 - (figures.get(ACCURACY, math.nan) + figures.get(ROBUSTNESS, math.nan)) / 2
            ),
        )
    if not names:
        return None
    return names[0], lambda figures: figures.get(names[0], math.nan)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most ``most`` of them."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    step = 10.0 ** math.floor(math.log10(span / most))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10, 20) if span / (step * factor) <= most - 1)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """The powers of ten from ``low`` to ``high``; 2 and 5 times them too where they are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 3 else (1,)
    values = [factor * 10.0**power for power in powers for factor in factors]
    return [value for value in values if low * 0.999 <= value <= high * 1.001]


def tick_text(value: float) -> str:
    """A number beside an axis: "0.25", "50", "2k", "1M"."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _ceiling(value: float) -> float:
    """A round number that is not below ``value``: where an axis ends."""
    if value <= 0:
        return 1.0
    step = 10.0 ** math.floor(math.log10(value))
    return next(step * f for f in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * f >= value * 0.999999)


#: Names of VOT2014's scores that charts look for.
ACCURACY, ROBUSTNESS, OVERALL_ERROR = "accuracy", "robustness", "overall error"


def finite_points(series: Series) -> Sequence[tuple[float, float]]:
    """The points of a series that can be drawn."""
    pairs = zip(series.x, series.y, strict=True)
    return [(x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
