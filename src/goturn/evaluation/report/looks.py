"""What all forms of a report share: the trackers' order and looks, how numbers and names are written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from goturn.evaluation.results import Evaluation, Interval, TrackerResult

#: Colours that people who confuse red and green tell apart (after Okabe and Ito), dark enough on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc3d92", "#b8860b", "#3aa0dc", "#4d4d4d")

#: Lengths of dashes and gaps, in widths of the line; the first is solid.
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5), (7, 2, 1.5, 2))

#: Shapes of a point, by matplotlib's letters.
MARKERS = ("o", "s", "^", "D", "v", "P")

#: Protocols as people write them.
TITLES = {"otb": "OTB", "got10k": "GOT-10k", "vot2014": "VOT2014"}


@dataclass(frozen=True)
class Look:
    """How a tracker is drawn: colour is never its only mark."""

    colour: str
    dashes: tuple[float, ...]
    marker: str


def look_of(index: int) -> Look:
    """The look of the tracker that was asked for as number ``index``; the first 84 all differ."""
    colour = COLOURS[index % len(COLOURS)]
    return Look(colour, DASHES[index % len(DASHES)], MARKERS[index % len(MARKERS)])


def looks(evaluations: Sequence[Evaluation]) -> dict[str, Look]:
    """Each tracker's look, by its name: the same in all pictures of a report."""
    names = dict.fromkeys(tracker.name for each in evaluations for tracker in each.trackers)
    return {name: look_of(index) for index, name in enumerate(names)}


def title_of(evaluation: Evaluation) -> str:
    """Protocol, and the experiment where there are several: OTB, VOT2014 baseline."""
    name = TITLES.get(evaluation.protocol, evaluation.protocol)
    if evaluation.experiment == "one-pass":
        return name
    return f"{name} {spaced(evaluation.experiment)}"


def score_names(evaluation: Evaluation) -> list[str]:
    """All scores that any tracker has, in the order of the first that has each."""
    names = (name for tracker in evaluation.trackers for name in tracker.scores)
    return list(dict.fromkeys(names))


def score(tracker: TrackerResult, name: str) -> float:
    """A score's value; NaN where the tracker has none."""
    interval = tracker.scores.get(name)
    return math.nan if interval is None else float(interval.value)


def ordered(evaluation: Evaluation, by: str | None = None) -> list[TrackerResult]:
    """The trackers, best first by one score; those without it last, ties as they were asked for.

    Args:
        evaluation: whose trackers.
        by: a score's name; None for the first.

    Raises:
        ValueError: no tracker has the score.
    """
    names = score_names(evaluation)
    if by is not None and by not in names:
        raise ValueError(
            f"no tracker has a score named {by!r}; order by one of {', '.join(names) or 'none'}"
        )
    if not names:
        return list(evaluation.trackers)
    name = names[0] if by is None else by
    sign = 1 if less_is_better(evaluation, name) else -1

    def key(tracker: TrackerResult) -> tuple[bool, float]:
        value = score(tracker, name)
        return math.isnan(value), 0.0 if math.isnan(value) else sign * value

    return sorted(evaluation.trackers, key=key)


#: Figures of videos of which less is better, in protocols all of whose scores are better high.
_LOW_FIGURES = frozenset({"centre error"})


def less_is_better(evaluation: Evaluation, name: str) -> bool:
    """Of a score, or of a figure of videos or attributes."""
    return name in evaluation.better_low or name in _LOW_FIGURES


#: Figures that say how much there was, not how well it went.
COUNTS = frozenset({"frames", "valid frames"})


def figure_names(all_figures: Iterable[Mapping[str, float]]) -> list[str]:
    """Names of the figures of videos or attributes, without those that merely count frames."""
    names = dict.fromkeys(name for figures in all_figures for name in figures)
    return [name for name in names if name not in COUNTS]


def best(values: Mapping[str, float], *, low: bool) -> set[str]:
    """Whose value is the best, several where they tie; none where there is nothing to compare."""
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    if len(values) < 2 or not finite:
        return set()
    top = min(finite.values()) if low else max(finite.values())
    return {name for name, value in finite.items() if value == top}


def decimals(values: Iterable[float]) -> int:
    """How many decimals show a column: 3 of parts of one, fewer of larger numbers."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return 3 if largest <= 1 else 2 if largest < 100 else 1


def number(value: float, places: int = 3) -> str:
    """``value`` with ``places`` decimals; a dash where there is none."""
    return f"{value:.{places}f}" if math.isfinite(value) else "-"


def rate(value: float) -> str:
    """Frames per second: three figures, a dash where none was measured."""
    if not math.isfinite(value) or value <= 0:
        return "-"
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def printable(name: str) -> str:
    """``name`` on one line: characters that move a cursor, or are nothing to see, become "?"."""
    return "".join(c if c.isprintable() else "?" for c in name)


def interval_text(interval: Interval | None, places: int, dash: str) -> str:
    """The ends of an interval; nothing where there is none, or it has no width, as a rank's."""
    if interval is None or not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return ""
    if interval.low == interval.high:
        return ""
    return f"{interval.low:.{places}f}{dash}{interval.high:.{places}f}"


def spaced(name: str) -> str:
    """An attribute's name as words: "camera motion"."""
    return name.replace("_", " ")


def safe_names(names: Sequence[str]) -> dict[str, str]:
    """A file name for each of ``names``, all different, upper and lower case apart or not.

    Letters, digits and ``._+=@-`` stay as they are, so that a sequence or a tracker of a usual name
    keeps it; anything else, slashes above all, becomes a dash.
    """
    given: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        if name in given:
            continue
        stem = re.sub(r"[^\w.+=@-]+", "-", name)
        stem = stem.encode()[:120].decode(errors="ignore").strip("-") or "unnamed"
        if stem.startswith("."):
            stem = f"_{stem}"
        chosen, count = stem, 1
        while chosen.casefold() in taken:
            count += 1
            chosen = f"{stem}-{count}"
        taken.add(chosen.casefold())
        given[name] = chosen
    return given


def keys_of(evaluations: Sequence[Evaluation]) -> list[str]:
    """A short name for each evaluation, for files and links: "otb", "vot2014-baseline", "otb-2"."""
    keys: list[str] = []
    for each in evaluations:
        parts = (
            [each.protocol] if each.experiment == "one-pass" else [each.protocol, each.experiment]
        )
        stem = "-".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
        same = sum(
            key == stem or re.fullmatch(rf"{re.escape(stem)}-\d+", key) is not None for key in keys
        )
        keys.append(f"{stem}-{same + 1}" if same else stem)
    return keys
