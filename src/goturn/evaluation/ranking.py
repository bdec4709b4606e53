"""VOT2014's ranking of a set of trackers: who is significantly better than whom.

By each attribute trackers are sorted by accuracy and by failures; then the rank of each becomes the mean
rank of all that do not differ from it significantly, itself among them.  Accuracies differ when the
signed-rank test on the overlaps of frames that are valid for both says so, or when there are fewer than
25 such frames; and not, where practical differences are given, when the mean of difference over
practical difference is below 1.  Failures differ when the rank-sum test on the counts of all fragments (a
video's frames with the attribute) and repetitions says so.  Ranks are averaged plainly over attributes,
and the overall rank is the mean of that for accuracy and that for robustness.

Ranks belong to the set: never compare them with those of another.

Two choices are ours.  Trackers with the same figure share their mean rank, where the toolkit goes by the
order in which they were listed.  And where there are no attributes all frames are ranked together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np

from goturn.evaluation.results import Interval, TrackerResult
from goturn.evaluation.significance import mid_ranks, rank_sum, signed_rank
from goturn.evaluation.vot2014 import VideoScore, attributes_of, having

#: Probability of calling two trackers different that are not.
ALPHA = 0.05

#: Frames below which accuracies count as different.
FEWEST = 25

#: Repetitions in the rank-sum test.  A tracker with fewer, because it is deterministic, has the mean of
#: its counts in the others, as in the toolkit.
REPETITIONS = 15

#: What is ranked where there are no attributes.
ALL = "all"

#: Practical differences of overlap by video: one number, or one for each of its frames.
Practical = Mapping[str, "float | np.ndarray"]


@dataclass(frozen=True)
class Ranking:
    """Ranks by tracker; 1 is best."""

    accuracy: Mapping[str, Mapping[str, float]]
    """By attribute, then tracker."""
    robustness: Mapping[str, Mapping[str, float]]
    """Likewise."""

    def mean(self, tracker: str) -> tuple[float, float, float]:
        """Over attributes: for accuracy, for robustness, and of both."""
        accuracy = float(np.mean([ranks[tracker] for ranks in self.accuracy.values()]))
        robustness = float(np.mean([ranks[tracker] for ranks in self.robustness.values()]))
        return accuracy, robustness, (accuracy + robustness) / 2


def rank(
    trackers: Mapping[str, Sequence[VideoScore]],
    *,
    alpha: float = ALPHA,
    practical: Practical | None = None,
) -> Ranking:
    """Ranks a set of trackers.

    Args:
        trackers: by name, the scores of the same videos in the same order.
        alpha: of both tests.
        practical: differences of overlap that matter; None to go by significance alone.

    Raises:
        ValueError: no tracker or video, different videos, or practical differences that are missing for a
            video, not one for each of its frames, or not positive.
    """
    names, scores = list(trackers), list(trackers.values())
    if not names or not scores[0]:
        raise ValueError("there is nothing to rank; give at least one tracker and one video")
    videos = [video.name for video in scores[0]]
    for name, one in trackers.items():
        if [video.name for video in one] != videos:
            raise ValueError(f"{name} was scored on other videos than {names[0]}; rank alike ones")
    accuracy, robustness = {}, {}
    for attribute in attributes_of(scores[0]) or (ALL,):
        rows = [_frames(video, attribute) for video in scores[0]]
        some = [i for i, frames in enumerate(rows) if frames.any()]
        overlaps = [np.concatenate([one[i].overlaps[rows[i]] for i in some]) for one in scores]
        failures = [_failures([one[i].failed[:, rows[i]] for i in some]) for one in scores]
        limit = None
        if practical is not None:
            limit = np.concatenate([_practical(practical, scores[0][i])[rows[i]] for i in some])
        differ = _pairs(overlaps, partial(accuracies_differ, alpha=alpha, practical=limit))
        figures = np.array([-_mean(one) for one in overlaps])
        accuracy[attribute] = dict(zip(names, adapted_ranks(figures, differ), strict=True))
        differ = _pairs(failures, partial(failures_differ, alpha=alpha))
        figures = np.array([one.sum(axis=0).mean() for one in failures])
        robustness[attribute] = dict(zip(names, adapted_ranks(figures, differ), strict=True))
    return Ranking(accuracy, robustness)


def accuracies_differ(
    first: np.ndarray,
    second: np.ndarray,
    *,
    alpha: float = ALPHA,
    practical: np.ndarray | None = None,
) -> bool:
    """Whether the overlaps of two trackers in the same frames, (n,), NaN where invalid, differ.

    Args:
        first: of one tracker.
        second: of the other.
        alpha: of the test.
        practical: (n,) differences that matter, or None.
    """
    valid = ~(np.isnan(first) | np.isnan(second))
    difference = first[valid] - second[valid]
    if (
        practical is not None
        and len(difference)
        and abs(float(np.mean(difference / practical[valid]))) < 1
    ):
        return False
    return len(difference) < FEWEST or signed_rank(difference) <= alpha


def failures_differ(first: np.ndarray, second: np.ndarray, *, alpha: float = ALPHA) -> bool:
    """Whether counts of failures, (fragments, repetitions), differ."""
    return rank_sum(first, second) <= alpha


def adapted_ranks(figures: np.ndarray, differ: np.ndarray) -> list[float]:
    """Ranks, each the mean of those of all that do not differ from it.

    Args:
        figures: (n,), less is better.
        differ: (n, n) bool, symmetric, False on the diagonal.
    """
    ranks, _ = mid_ranks(figures)
    return [float(ranks[~row].mean()) for row in differ]


def with_ranks(results: Sequence[TrackerResult], ranking: Ranking) -> tuple[TrackerResult, ...]:
    """``results`` with ranks among scores and attributes' figures; intervals of ranks have no width."""
    ranked = []
    for result in results:
        accuracy, robustness, both = ranking.mean(result.name)
        named = {"accuracy rank": accuracy, "robustness rank": robustness, "rank": both}
        attributes = {
            attribute: {
                **figures,
                "accuracy rank": ranking.accuracy[attribute][result.name],
                "robustness rank": ranking.robustness[attribute][result.name],
            }
            for attribute, figures in result.attributes.items()
        }
        scores = {name: Interval(value, value, value) for name, value in named.items()}
        ranked.append(replace(result, scores={**result.scores, **scores}, attributes=attributes))
    return tuple(ranked)


def _pairs(samples: list[np.ndarray], test: Callable[[np.ndarray, np.ndarray], bool]) -> np.ndarray:
    """(n, n) bool: which of the samples differ by a test that is the same both ways."""
    differ = np.zeros((len(samples), len(samples)), bool)
    for a, b in combinations(range(len(samples)), 2):
        differ[a, b] = differ[b, a] = test(samples[a], samples[b])
    return differ


def _frames(video: VideoScore, attribute: str) -> np.ndarray:
    return np.ones(len(video.numbers), bool) if attribute == ALL else having(video, attribute)


def _mean(overlaps: np.ndarray) -> float:
    """Over valid frames; 0 where there is none."""
    valid = overlaps[~np.isnan(overlaps)]
    return float(valid.mean()) if len(valid) else 0.0


def _failures(fragments: list[np.ndarray]) -> np.ndarray:
    """(fragments, 15 or more): failures of each in each repetition."""
    counts = [failed.sum(axis=1).astype(np.float64) for failed in fragments]
    width = max(REPETITIONS, *(len(one) for one in counts))
    return np.array(
        [np.pad(one, (0, width - len(one)), constant_values=one.mean()) for one in counts]
    )


def _practical(practical: Practical, video: VideoScore) -> np.ndarray:
    """Practical differences at the labelled frames, (m,)."""
    if video.name not in practical:
        raise ValueError(
            f"there is no practical difference for {video.name}; give one, or none at all"
        )
    values = np.asarray(practical[video.name], np.float64)
    if values.ndim and (values.ndim > 1 or len(values) <= video.numbers[-1]):
        raise ValueError(
            f"practical differences of {video.name} must be a number or one for each frame; got shape "
            f"{values.shape}"
        )
    if not (values > 0).all():
        raise ValueError(f"practical differences of {video.name} must be above 0")
    return values[video.numbers] if values.ndim else np.full(len(video.numbers), float(values))
