"""The page's part that shows what happened: of each video overlaps over time, and frames with boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from goturn.data.model import Video
from goturn.data.reading import count
from goturn.evaluation.report.frame_overlaps import frame_overlaps
from goturn.evaluation.report.looks import Look, decimals, figure_names, number
from goturn.evaluation.report.page_frames import Shown, frame_figure, mark, mark_names
from goturn.evaluation.report.shots import (
    MOST,
    Picture,
    choose_shots,
    lost_frames,
    take_pictures,
)
from goturn.evaluation.report.svg import sparkline
from goturn.evaluation.results import Evaluation

#: Characters of all pictures of a page together at most, and of one video's in all experiments.
_ALL_PICTURES = 32_000_000
_ONE_VIDEO = 400_000

#: Up to so many videos are open from the start.
OPEN = 24

#: Figures of a video that stand beside a tracker's name.
_FIGURES = 3

#: What is to be seen of a video, for the head of the part.
EXPLANATION = (
    "For each tracker its overlap over time, from 0 at the bottom to 1 at the top, with a black tick "
    "where it lost the object. Below, frames evenly spaced and those in which a tracker was lost or did "
    f"worst, at most {MOST} of each video: the truth is the white box with the black rim; under each "
    "frame stand its number, from 0, and the overlaps."
)

Read = Callable[[Path], np.ndarray]


def allowance(evaluations: Sequence[Evaluation]) -> int:
    """How many characters the pictures of a video in one of ``evaluations`` may take."""
    names = {(each.dataset, video.name) for each in evaluations for video in each.videos}
    parts = sum(len(each.videos) for each in evaluations)
    return min(_ALL_PICTURES, _ONE_VIDEO * len(names)) // max(1, parts)


def video_part(
    video: Video,
    evaluation: Evaluation,
    look: Mapping[str, Look],
    read: Read,
    *,
    room: int,
    is_open: bool,
) -> str:
    """One video: the trackers' overlaps over time, and a strip of frames.

    Args:
        video: one of the evaluation's.
        evaluation: whose trajectories are shown, the first repetition of each.
        look: of each tracker.
        read: decodes a frame; where it raises ValueError or OSError the strip says so.
        room: characters that the pictures may take.
        is_open: whether it is to be seen without a click.

    Raises:
        ValueError: a trajectory that has not a row for each frame of the video.
    """
    shown = _shown(video, evaluation, look)
    shots = choose_shots(video, shown.runs, shown.overlaps)
    size = next(((run.width, run.height) for run in shown.runs.values()), (640, 480))
    pictures = take_pictures(video, shots, read, size=size, allowance=room)
    figures = [
        frame_figure(shown, shot, picture) for shot, picture in zip(shots, pictures, strict=True)
    ]
    return (
        f"<details class=video{' open' if is_open else ''}><summary>{escape(video.name)}"
        f"<span class=small>{_facts(video, evaluation)}{_first_figures(shown, evaluation)}</span>"
        f"</summary>{_over_time(shown, evaluation)}{_missing(pictures)}"
        f"<div class=strip>{''.join(figures)}</div></details>\n"
    )


def _shown(video: Video, evaluation: Evaluation, look: Mapping[str, Look]) -> Shown:
    runs = {
        tracker.name: tracker.trajectories[video.name][0]
        for tracker in evaluation.trackers
        if tracker.trajectories.get(video.name)
    }
    for name, run in runs.items():
        if not len(run.boxes) == len(run.codes) == len(video.frames):
            raise ValueError(
                f"{name} has {len(run.boxes)} boxes of {video.name}, which has {len(video.frames)} "
                "frames; give a row for each frame"
            )
    overlaps = {name: frame_overlaps(video, run, evaluation.overlap) for name, run in runs.items()}
    return Shown(video, runs, overlaps, look, mark_names(look))


def _facts(video: Video, evaluation: Evaluation) -> str:
    facts = count(len(video.frames), "frame")
    unlabelled = len(video.frames) - len(video.boxes)
    if unlabelled:
        facts += f", {unlabelled:,} without truth"
    most = max((len(t.trajectories.get(video.name, ())) for t in evaluation.trackers), default=0)
    return f"{facts}; of up to {most} runs the first" if most > 1 else facts


def _first_figures(shown: Shown, evaluation: Evaluation) -> str:
    """The first figure of each tracker, so that one sees which videos to open."""
    figures = {t.name: t.videos.get(shown.video.name, {}) for t in evaluation.trackers}
    first = next(iter(figure_names(figures.values())), None)
    if first is None:
        return ""
    values = {name: own[first] for name, own in figures.items() if first in own}
    places = min(2, decimals(values.values()))
    texts = (
        f"<span class=of>{mark(shown.names[name])}{number(value, places)}</span>"
        for name, value in values.items()
    )
    return f"; {escape(first)}: {' '.join(texts)}"


def _missing(pictures: Sequence[Picture]) -> str:
    gone = sum(picture.uri is None for picture in pictures)
    if not gone:
        return ""
    if gone == len(pictures):
        text = "None of the frames chosen here could be read; boxes are drawn on grey."
    else:
        text = (
            f"{gone} of the {len(pictures)} frames chosen here could not be read; their boxes are "
            "drawn on grey."
        )
    return f"<p class=notes>{text}</p>"


def _over_time(shown: Shown, evaluation: Evaluation) -> str:
    """For each tracker its name, a line of its overlaps, and some figures."""
    items = []
    for tracker in evaluation.trackers:
        name = tracker.name
        if name not in shown.runs:
            continue
        own = tracker.videos.get(shown.video.name, {})
        figures = ", ".join(
            f"{escape(figure)} {number(own[figure], decimals([own[figure]]))}"
            for figure in figure_names([own])[:_FIGURES]
        )
        items.append(
            f"<li><span>{mark(shown.names[name])}{escape(name)}</span>{_line(shown, name)}"
            f"<span class=figures>{figures}</span></li>"
        )
    return f"<ul class=who>{''.join(items)}</ul>"


def _line(shown: Shown, name: str) -> str:
    values = shown.overlaps[name]
    lost = lost_frames(shown.runs[name], values)
    known = values[np.isfinite(values)]
    mean = number(float(known.mean())) if known.size else "not known"
    label = f"Overlap of {name} over {shown.video.name}: mean {mean}, lost {len(lost)} times"
    return sparkline(values, shown.looks[name], marks=lost, label=label)
