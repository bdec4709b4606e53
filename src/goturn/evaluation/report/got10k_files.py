"""Result files as got10k lays them out, and its ``performance.json``: its tools, and others', read them.

::

    results/OTB2015/<tracker>/<video>.txt                   x,y,w,h a line, 3 decimals
    results/OTB2015/<tracker>/times/<video>_time.txt        seconds a line
    results/GOT-10k/<tracker>/<video>/<video>_001.txt       and _002, _003 for repetitions
    results/GOT-10k/<tracker>/<video>/<video>_time.txt      a column for each repetition
    reports/OTB2015/<first tracker>/performance.json        all trackers
    reports/GOT-10k/<first tracker>/performance.json        likewise

``performance.json`` has what got10k 0.1.3 computes from these files, by its own definitions whatever
those of the evaluation: exact overlap for OTB, bounded for GOT-10k; its speed is the mean of 1/t with the
start among the frames.  Of OTB, which knows no repetitions, the first is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from goturn.box import MAX_COORDINATE, Box
from goturn.data.model import Video
from goturn.evaluation import got10k, otb
from goturn.evaluation.report.looks import keys_of, safe_names
from goturn.evaluation.results import Evaluation, Trajectory
from goturn.weights.atomic import naming, replacing, replacing_together

#: got10k's names of the data sets, by protocol.
FOLDERS = {"otb": "OTB2015", "got10k": "GOT-10k"}


def write_got10k(folder: Path, evaluations: Sequence[Evaluation], *, base: int = 0) -> list[Path]:
    """Writes the files of all evaluations by OTB's or GOT-10k's protocol.

    Those of a second evaluation by the same protocol lie in a folder of their own: ``otb-2/results``.

    Args:
        folder: where ``results`` and ``reports`` come.
        evaluations: those by other protocols are passed by.
        base: the first pixel's number in the annotation files that results will be compared with.

    Returns:
        The files.

    Raises:
        OSError: one cannot be written.
    """
    written: list[Path] = []
    seen: set[str] = set()
    for evaluation, key in zip(evaluations, keys_of(evaluations), strict=True):
        protocol = evaluation.protocol
        if protocol not in FOLDERS or not evaluation.trackers:
            continue
        written += _write(folder / key if protocol in seen else folder, evaluation, base)
        seen.add(protocol)
    return written


def _write(folder: Path, evaluation: Evaluation, base: int) -> list[Path]:
    trackers = safe_names([tracker.name for tracker in evaluation.trackers])
    videos = safe_names([video.name for video in evaluation.videos])
    results = folder / "results" / FOLDERS[evaluation.protocol]
    one_video = _otb_video if evaluation.protocol == "otb" else _got10k_video
    summary = _otb_overall if evaluation.protocol == "otb" else _got10k_overall
    written: list[Path] = []
    performance: dict[str, Any] = {}
    for tracker in evaluation.trackers:
        place = results / trackers[tracker.name]
        parts = {}
        for video in evaluation.videos:
            runs = tracker.trajectories.get(video.name, ())
            if runs:
                name = videos[video.name]
                moved = [_moved_run(run, base) for run in runs]
                paths, parts[name] = one_video(place, name, _moved_video(video, base), moved)
                written += paths
        performance[trackers[tracker.name]] = {
            "overall": summary(list(parts.values())) if parts else {},
            "seq_wise": {name: part.figures for name, part in parts.items()},
        }
    first = trackers[evaluation.trackers[0].name]
    path = folder / "reports" / FOLDERS[evaluation.protocol] / first / "performance.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(performance, indent=4), encoding="ascii")
    return [*written, path]


class _Part:
    """What one video gives: its figures, and the overlaps and times that the data set's come from."""

    def __init__(self, figures: dict[str, Any], overlaps: np.ndarray, times: np.ndarray) -> None:
        self.figures = figures
        self.overlaps = overlaps
        self.times = times


def _moved_run(run: Trajectory, base: int) -> Trajectory:
    """``run`` in coordinates whose first pixel is ``base``."""
    return replace(run, boxes=np.asarray(run.boxes, np.float64) + np.array([base, base, 0, 0]))


def _moved_video(video: Video, base: int) -> Video:
    """The truth likewise: what got10k bounds by the image are boxes as they are in the file."""
    boxes = {k: Box(x + base, y + base, w, h) for k, (x, y, w, h) in video.boxes.items()}
    return replace(video, boxes=boxes, corners={})


def _otb_video(
    place: Path, name: str, video: Video, runs: Sequence[Trajectory]
) -> tuple[list[Path], _Part]:
    run = runs[0]
    boxes, times = place / f"{name}.txt", place / "times" / f"{name}_time.txt"
    _save({boxes: _box_lines(run, "nan,nan,nan,nan"), times: _time_lines(runs[:1])})
    score = otb.score_video(video, [run], "exact")
    seconds = _written_times(runs[:1])
    figures = {
        "success_curve": score.success.tolist(),
        "precision_curve": score.precision.tolist(),
        "success_score": float(score.success.mean()),
        "precision_score": float(score.precision[20]),
        "success_rate": float(score.success[10]),
        "speed_fps": _mean_rate(seconds),
    }
    return [boxes, times], _Part(figures, np.zeros(0), seconds)


def _otb_overall(parts: Sequence[_Part]) -> dict[str, Any]:
    """Means over videos."""
    success = np.mean([part.figures["success_curve"] for part in parts], axis=0)
    precision = np.mean([part.figures["precision_curve"] for part in parts], axis=0)
    rates = [part.figures["speed_fps"] for part in parts if part.figures["speed_fps"] > 0]
    return {
        "success_curve": success.tolist(),
        "precision_curve": precision.tolist(),
        "success_score": float(success.mean()),
        "precision_score": float(precision[20]),
        "success_rate": float(success[10]),
        "speed_fps": float(np.mean(rates)) if rates else -1,
    }


def _got10k_video(
    place: Path, name: str, video: Video, runs: Sequence[Trajectory]
) -> tuple[list[Path], _Part]:
    here = place / name
    # A box of no size, not NaN, of which got10k's average would become NaN.
    texts = {
        here / f"{name}_{number:03d}.txt": _box_lines(run, "0.000,0.000,0.000,0.000")
        for number, run in enumerate(runs, start=1)
    }
    texts[here / f"{name}_time.txt"] = _time_lines(runs)
    _save(texts)
    # got10k pools whatever repetitions it finds: those of an earlier report that had more must go.
    for old in here.glob(f"{'?' * len(name)}_[0-9]*.txt"):
        if old not in texts:
            old.unlink()
    overlaps = got10k.video_overlaps(video, runs, "bounded")
    times = _written_times(runs)
    figures = _got10k_figures(overlaps, times)
    figures["length"] = len(video.frames) - 1
    return list(texts), _Part(figures, overlaps, times)


def _got10k_overall(parts: Sequence[_Part]) -> dict[str, Any]:
    """Of all frames together."""
    overlaps = np.concatenate([part.overlaps for part in parts])
    times = np.concatenate([part.times for part in parts])
    curve = otb.success_curve(overlaps, got10k.SUCCESS_AT) if overlaps.size else np.zeros(101)
    return {**_got10k_figures(overlaps, times), "succ_curve": curve.tolist()}


def _got10k_figures(overlaps: np.ndarray, times: np.ndarray) -> dict[str, Any]:
    none = not overlaps.size
    return {
        "ao": 0.0 if none else float(overlaps.mean()),
        "sr": 0.0 if none else float((overlaps > 0.5).mean()),
        "speed_fps": _mean_rate(times),
    }


def _mean_rate(times: np.ndarray) -> float:
    """Frames per second as got10k has them; -1, its own mark, where no time is known."""
    times = times[times > 0]
    return float(np.mean(1 / times)) if times.size else -1.0


def _written_times(runs: Sequence[Trajectory]) -> np.ndarray:
    """The seconds that are in the file: 8 decimals, 0 where nothing was measured."""
    seconds = np.concatenate([np.asarray(run.seconds, np.float64) for run in runs])
    return np.array([float(f"{second:.8f}") for second in np.nan_to_num(seconds)])


def _box_lines(run: Trajectory, none: str) -> str:
    lines = []
    for x, y, w, h in np.asarray(run.boxes, np.float64):
        there = all(abs(value) <= MAX_COORDINATE for value in (x, y, w, h))
        lines.append(f"{x:.3f},{y:.3f},{w:.3f},{h:.3f}" if there else none)
    return "\n".join([*lines, ""])


def _time_lines(runs: Sequence[Trajectory]) -> str:
    columns = [np.nan_to_num(np.asarray(run.seconds, np.float64)) for run in runs]
    rows = zip(*columns, strict=True)
    return "\n".join([*(",".join(f"{second:.8f}" for second in row) for row in rows), ""])


def _save(texts: Mapping[Path, str]) -> None:
    """Writes files, those of one folder together."""
    folders: dict[Path, list[Path]] = {}
    for path in texts:
        folders.setdefault(path.parent, []).append(path)
    with ExitStack() as stack:
        for parent, paths in folders.items():
            parent.mkdir(parents=True, exist_ok=True)
            temporaries = stack.enter_context(replacing_together(paths))
            for path, temporary in zip(paths, temporaries, strict=True):
                with naming(path):
                    temporary.write_text(texts[path], encoding="ascii")
