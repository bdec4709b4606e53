"""The paper's ablations (section 6): trains variants with the same seeds, and puts them side by side.

python tools/ablate.py OUT --config CONFIG.toml --seeds 0 1 [--videos-counts 14 37] [--only full l2-loss]

Each run is a folder OUT/<variant>-seed<N>, trained as ``goturn train`` does and resumed if it is there.
Each is scored on the validation videos: one pass, and with restarts (VOT2014's way).  Results, in OUT:

* ``table1.csv``, ``table1.md``: the paper's Table 1 with ours beside it;
* ``videos.csv``, ``videos.png``: error by number of training videos, as Fig. 5;
* ``previous_frame.csv``, ``.png``: with and without the previous frame, for each video, as Fig. 7 has
  it for each condition.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from goturn.commands.exits import SIGNAL_BASE, stop_on_signal
from goturn.data import FrameReader, Video
from goturn.evaluation.one_pass import mean_overlaps
from goturn.evaluation.reset import ResetRun, reset_score, track_with_resets
from goturn.evaluation.session import Stopped
from goturn.tracker import Tracker
from goturn.training.config import TrainConfig
from goturn.training.diagnosis import DivergedError
from goturn.training.run_folder import RunFolder
from goturn.training.sources import open_sources
from goturn.training.trainer import train
from goturn.weights.atomic import replacing


@dataclass(frozen=True)
class Variant:
    """A row of the table."""

    name: str
    title: str
    changes: dict[str, Any]
    paper: tuple[float, float, float] | None
    """Overall, accuracy and robustness error in the paper's Table 1, on VOT2014."""


#: The rows of Table 1, and section 6.2's network without the previous frame, of which the paper gives
#: differences alone.
VARIANTS = (
    Variant("l2-loss", "L2 loss", {"loss": "l2"}, (0.43, 0.69, 0.17)),
    Variant("uniform", "no motion smoothness", {"motion": "uniform"}, (0.30, 0.48, 0.13)),
    Variant("images", "images only", {"sources": "images"}, (0.35, 0.54, 0.16)),
    Variant("videos", "videos only", {"sources": "videos"}, (0.29, 0.44, 0.13)),
    Variant("no-previous", "no previous frame", {"previous_frame": False}, None),
    Variant("full", "full method", {}, (0.24, 0.39, 0.10)),
)

#: Columns that a score is reported in.
ERRORS = ("overall", "accuracy", "robustness")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="the folder of all runs")
    parser.add_argument("--config", type=Path, required=True, help="settings of the full method")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", choices=[v.name for v in VARIANTS], metavar="VARIANT")
    parser.add_argument(
        "--videos-counts", type=int, nargs="*", default=[], metavar="N", help="for Fig. 5's curve"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    args = parse(arguments)
    base = TrainConfig.from_toml(args.config)
    if not base.validation:
        raise ValueError(f"{args.config} names no validation videos, which the table is about")
    sources = open_sources(base)
    variants = [v for v in VARIANTS if args.only is None or v.name in args.only]
    variants += [
        Variant(f"videos-{count}", f"{count} training videos", {"max_videos": count}, None)
        for count in args.videos_counts
    ]
    scores: dict[str, list[dict[str, Any]]] = {variant.name: [] for variant in variants}
    with stop_on_signal() as request:
        for seed in args.seeds:
            for variant in variants:
                config = replace(base, seed=seed, **variant.changes)
                if config.cache_features:
                    # Variants that differ in what is learnt from them share their features.
                    kind = (config.motion, config.sources, config.max_videos, seed)
                    above = Path(config.features_folder or args.output / "features")
                    shared = above / "-".join(map(str, kind))
                    config = replace(config, features_folder=str(shared))
                folder = args.output / f"{variant.name}-seed{seed}"
                try:
                    scores[variant.name].append(
                        run_one(config, folder, sources.validation, lambda: request.signal != 0)
                    )
                except DivergedError as error:
                    print(f"{folder}: {error}", flush=True)
                except Stopped:
                    return SIGNAL_BASE + request.signal
    write_table(args.output, variants, scores)
    write_videos(args.output, args.videos_counts, scores, len(sources.videos))
    write_previous_frame(args.output, scores)
    print((args.output / "table1.md").read_text())
    return 0


def run_one(
    config: TrainConfig, folder: Path, videos: Sequence[Video], stop: Any
) -> dict[str, Any]:
    """Trains where that is not done yet, and scores; what was scored before is read.

    Raises:
        Stopped: ``stop`` said so.
    """
    run = RunFolder(folder)
    result = folder / "score.json"
    if result.is_file():
        scored: dict[str, Any] = json.loads(result.read_text())
        if scored["config"] == config.digest() and scored["iterations"] == config.iterations:
            return scored
    print(f"\n## {folder.name}\n", flush=True)
    outcome = train(
        config, folder, resume=run.begun, stop=stop, report=lambda line: print(line, flush=True)
    )
    if not outcome.complete:
        raise Stopped
    scored = {
        "config": config.digest(),
        "iterations": config.iterations,
        **score(run.final, config.device, videos, stop),
    }
    with replacing(result) as temporary:
        temporary.write_text(json.dumps(scored, indent=1) + "\n")
    return scored


def score(weights: Path, device: str, videos: Sequence[Video], stop: Any) -> dict[str, Any]:
    """The errors of the last weights (the best ones by validation would be chosen by what is scored)."""
    tracker, reader = Tracker(str(weights), device=device), FrameReader()
    overlaps = mean_overlaps(tracker, videos, reader.read, stop=stop)
    runs: list[ResetRun] = [
        track_with_resets(tracker, video, reader.read, stop=stop) for video in videos
    ]
    total = reset_score(runs)
    return {
        "mean_iou": float(np.mean(list(overlaps.values()))),
        "overall": total.overall_error,
        "accuracy": total.accuracy_error,
        "robustness": total.robustness_error,
        "failures": total.failures,
        "videos": {
            video.name: {"mean_iou": overlaps[video.name], **asdict(run)}
            for video, run in zip(videos, runs, strict=True)
        },
    }


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half of what lies between the least and the largest."""
    return float(np.mean(values)), (max(values) - min(values)) / 2


def write_table(
    folder: Path, variants: Sequence[Variant], scores: dict[str, list[dict[str, Any]]]
) -> None:
    """``table1.csv``, a row for each run, and ``table1.md``."""
    with (folder / "table1.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["variant", "run", *ERRORS, "failures", "mean_iou"])
        for variant in variants:
            for number, each in enumerate(scores[variant.name]):
                values = [each[key] for key in (*ERRORS, "failures", "mean_iou")]
                writer.writerow([variant.name, number, *values])
    lines = [
        "| | paper: overall | accuracy | robustness | ours: overall | accuracy | robustness | mean IoU |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for variant in variants:
        paper = [f"{value:.2f}" for value in variant.paper] if variant.paper else ["", "", ""]
        ours = []
        if not scores[variant.name]:
            ours = ["diverged", *[""] * len(ERRORS)]
        for key in (*ERRORS, "mean_iou") if scores[variant.name] else ():
            mean, spread = mean_and_spread([each[key] for each in scores[variant.name]])
            ours.append(f"{mean:.3f} ± {spread:.3f}")
        lines.append(f"| {' | '.join([variant.title, *paper, *ours])} |")
    runs = max(len(each) for each in scores.values())
    lines.append(f"\nErrors 1 - A, 1 - R, 1 - (A + R) / 2; ± half the range over {runs} seeds.")
    (folder / "table1.md").write_text("\n".join(lines) + "\n")


def write_videos(
    folder: Path, counts: Sequence[int], scores: dict[str, list[dict[str, Any]]], every: int
) -> None:
    """Fig. 5's question: what more training videos bring."""
    if not counts or "full" not in scores:
        return
    points = [(count, scores[f"videos-{count}"]) for count in sorted(counts)]
    points = [point for point in [*points, (every, scores["full"])] if point[1]]
    with (folder / "videos.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["videos", "run", *ERRORS, "mean_iou"])
        for count, found in points:
            for number, each in enumerate(found):
                writer.writerow([count, number, *(each[key] for key in (*ERRORS, "mean_iou"))])
    figure, axes = _figure()
    if figure is None:
        return
    for key in ERRORS:
        spread = [mean_and_spread([each[key] for each in found]) for _, found in points]
        axes.errorbar(
            [count for count, _ in points],
            [mean for mean, _ in spread],
            yerr=[half for _, half in spread],
            marker="o",
            capsize=3,
            label=f"{key} error",
        )
    axes.set_xlabel("training videos (photographs the same)")
    axes.set_ylabel("error on the validation videos")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(folder / "videos.png", dpi=120)


def write_previous_frame(folder: Path, scores: dict[str, list[dict[str, Any]]]) -> None:
    """Fig. 7's question: what the previous frame brings, and where."""
    if not scores.get("full") or not scores.get("no-previous"):
        return
    names = sorted(scores["full"][0]["videos"])
    columns = {
        kind: [
            float(np.mean([each["videos"][name]["mean_iou"] for each in scores[kind]]))
            for name in names
        ]
        for kind in ("full", "no-previous")
    }
    rows = sorted(
        zip(names, columns["full"], columns["no-previous"], strict=True),
        key=lambda row: row[2] - row[1],
    )
    with (folder / "previous_frame.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video", "mean_iou_with", "mean_iou_without"])
        writer.writerows(rows)
    figure, axes = _figure(height=0.3 * len(rows) + 1.5)
    if figure is None:
        return
    places = np.arange(len(rows))
    axes.barh(places - 0.2, [row[1] for row in rows], 0.4, label="with the previous frame")
    axes.barh(places + 0.2, [row[2] for row in rows], 0.4, label="without")
    axes.set_yticks(places, [row[0] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("mean overlap, one pass")
    axes.set_xlim(0, 1)
    axes.legend()
    figure.savefig(folder / "previous_frame.png", dpi=120)


def _figure(height: float = 4.5) -> tuple[Any, Any]:
    """A figure and its axes; None where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None, None
    figure = Figure(figsize=(7, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"ablate: error: {error}")
