"""Makes the default weights, from data to the file that ships, in one command.

python tools/make_weights.py OUT --videos PATH --images PATH --validation PATH --start ALEXNET.h5

``weights/config.toml`` says how: settings for all of it, and a table of settings for each stage of
training, in order.  A stage starts from the best weights of the one before it, or of the one that its
``from`` names, the first one from ``--start``; behind one that imitates features (``imitate``) and has
no fc layers yet (``start_fc``), from its last, with new ones.  What ships is the last stage's best, or
the mean of the best of those that ``mean_of`` names.  Each stage is a run in OUT/<stage>, trained as
``goturn train`` does; run the command again after a stop, and it goes on where it was.  In the end OUT
has

* ``goturn.h5``, the weights, with fc layers in int8, and what makes a confidence of likeness, fitted to
  the training videos;
* ``metrics.csv``, the rows of all stages, and ``validation.png``, the curve of their validations;
* ``figures.json``: what the written file does on the validation videos, in one pass and with restarts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from goturn.commands.exits import SIGNAL_BASE, stop_on_signal
from goturn.confidence import Calibration
from goturn.data import FrameReader
from goturn.evaluation.calibration import brier, called_lost, fit, observe, roc_auc
from goturn.evaluation.many_starts import many_starts
from goturn.evaluation.one_pass import mean_overlaps
from goturn.evaluation.reset import reset_score, track_with_resets
from goturn.evaluation.session import Stopped
from goturn.network import Network
from goturn.tracker import Tracker
from goturn.training.config import TrainConfig
from goturn.training.metrics import Row, read_rows
from goturn.training.run_folder import RunFolder
from goturn.training.sources import open_sources
from goturn.training.trainer import train
from goturn.weights import Weights, load, save
from goturn.weights.atomic import replacing

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG = Path(__file__).parents[1] / "weights" / "config.toml"
LICENCE = "see weights/README.md"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="the folder of all of it")
    parser.add_argument(
        "--config", type=Path, default=CONFIG, help="weights/config.toml if not given"
    )
    for name in ("videos", "images", "validation"):
        parser.add_argument(f"--{name}", nargs="+", required=True, metavar="SPEC")
    parser.add_argument("--start", required=True, metavar="FILE", help="a pretrained AlexNet's")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Recipe:
    """Stages of training, and what becomes of them."""

    stages: dict[str, TrainConfig]
    """By name, in order."""
    start: dict[str, str]
    """The stage that each but the first starts from."""
    mean_of: tuple[str, ...]
    """Stages whose best weights are averaged in the end."""


def read_recipe(path: Path, common: dict[str, Any]) -> Recipe:
    """The stages in a file, by name and in order: settings before the first table are of all of them.

    Args:
        path: TOML.
        common: more settings of all.

    Raises:
        OSError, ValueError: it cannot be read, has no stage, or a setting that will not do.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file ({error})") from error
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    if not tables:
        raise ValueError(f"{path} has no stages: a table of settings for each, such as [fc]")
    shared = {name: value for name, value in content.items() if name not in tables} | common
    if "start_fc" in shared:
        raise ValueError(f"{path}: start_fc is a stage's own setting; put it into its table")
    mean_of = tuple(shared.pop("mean_of", list(tables)[-1:]))
    stages: dict[str, TrainConfig] = {}
    start: dict[str, str] = {}
    for name, own in tables.items():
        settings = shared | own
        before = settings.pop("from", next(reversed(stages), None))
        if stages:
            if before not in stages:
                raise ValueError(f"{path}: [{name}]: there is no stage {before!r} before it")
            able = stages[before].tracks
            settings.setdefault("start_fc", able)
            start[name] = before
            if settings["start_fc"] and not able:
                raise ValueError(
                    f"{path}: [{name}]: start_fc: {before} has no fc layers to take over yet"
                )
        try:
            stages[name] = TrainConfig(**settings)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: [{name}]: {error}") from error
    unknown = [name for name in mean_of if name not in stages]
    if unknown or not mean_of:
        raise ValueError(f"{path}: mean_of must name stages; got {', '.join(unknown) or 'none'}")
    if unable := [name for name in mean_of if not stages[name].tracks]:
        raise ValueError(f"{path}: {', '.join(unable)} has no fc layers to track with yet")
    if len(targets := {stages[name].target for name in mean_of}) > 1:
        raise ValueError(
            f"{path}: the stages of mean_of must have one target, which their mean asks for; got "
            f"{', '.join(map(repr, sorted(targets)))}"
        )
    return Recipe(stages, start, mean_of)


def run_stages(recipe: Recipe, output: Path, stop: Callable[[], bool], *, quiet: bool) -> Weights:
    """Trains what is not trained yet; the weights that come of it, in single precision.

    Raises:
        Stopped: on request, with all kept.
    """
    best: dict[str, Path] = {}
    for name, given in recipe.stages.items():
        before = recipe.start.get(name)
        config = replace(given, start=str(best[before])) if before else given
        run = RunFolder(output / name)
        print(f"\n## {name}\n", flush=True)
        outcome = train(
            config,
            run.path,
            resume=run.begun,
            stop=stop,
            report=lambda line: print(line, flush=True),
            progress=not quiet,
        )
        if not outcome.complete:
            raise Stopped
        best[name] = (run.best if given.tracks else run.final).absolute()
    return mean([load(best[name]) for name in recipe.mean_of])


def mean(weights: Sequence[Weights]) -> Weights:
    """The mean of weights of one architecture, each parameter by itself."""
    parameters: dict[str, np.ndarray] = {
        name: np.asarray(
            np.mean([each.parameters[name] for each in weights], 0, np.float64), np.float32
        )
        for name in weights[0].parameters
    }
    origin = " and ".join(dict.fromkeys(each.origin for each in weights))
    return replace(weights[0], parameters=parameters, origin=origin)


def join_metrics(stages: Sequence[str], output: Path) -> list[tuple[str, Row]]:
    """Writes ``metrics.csv`` of all stages; returns their rows."""
    rows = [(name, row) for name in stages for row in read_rows(output / name / "metrics.csv")]
    with replacing(output / "metrics.csv") as temporary, temporary.open("w") as file:
        file.write("stage,iteration,loss,rate,validation_iou\n")
        for name, row in rows:
            iou = "" if row.validation_iou is None else f"{row.validation_iou:.4f}"
            file.write(f"{name},{row.iteration},{row.loss:.5g},{row.rate:.3g},{iou}\n")
    return rows


def draw_validation(rows: Sequence[tuple[str, Row]], path: Path) -> None:
    """The validations of all stages, one after the other; nothing without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        print("no validation.png: matplotlib is not installed (pip install matplotlib)")
        return
    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    before = 0
    for stage in dict.fromkeys(name for name, _ in rows):
        own = [row for name, row in rows if name == stage]
        validated = [row for row in own if row.validation_iou is not None]
        axes.plot(
            [before + row.iteration for row in validated],
            [row.validation_iou or 0.0 for row in validated],
            "o-",
            label=stage,
        )
        before += own[-1].iteration
    axes.set_xlabel("iterations, of all stages")
    axes.set_ylabel("mean overlap (IoU) on the validation videos")
    axes.grid(alpha=0.3)
    axes.legend(title="stage")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def calibrate(
    weights: Weights, config: TrainConfig, stop: Callable[[], bool]
) -> Calibration | None:
    """The curve of confidence that fits the training videos; None where they tell nothing."""
    network = Network(weights, config.device, precision="int8")
    seen = observe(network, open_sources(config).videos, FrameReader().read, stop=stop)
    try:
        return fit(seen)
    except ValueError as error:
        print(f"no calibration: {error}", flush=True)
        return None


def measure(
    weights: Weights, config: TrainConfig, precision: str, stop: Callable[[], bool]
) -> dict[str, Any]:
    """What weights do on the validation videos."""
    videos, reader = open_sources(config).validation, FrameReader()
    network = Network(weights, config.device, precision=precision)
    tracker = Tracker(network)
    overlaps = mean_overlaps(tracker, videos, reader.read, stop=stop)
    starts = many_starts(tracker, videos, reader.read, stop=stop)
    seen = observe(network, videos, reader.read, stop=stop)
    of_lost, of_held = called_lost(seen, network.calibration)
    score = reset_score([track_with_resets(tracker, v, reader.read, stop=stop) for v in videos])
    return {
        "mean_iou": round(float(np.mean(list(overlaps.values()))), 4),
        "many_starts": round(float(np.mean(list(starts.values()))), 4) if starts else None,
        "accuracy": round(score.accuracy, 4),
        "failures": score.failures,
        "frames": score.frames,
        "robustness": round(score.robustness, 4),
        "overall_error": round(score.overall_error, 4),
        "confidence": {
            "roc_auc": round(roc_auc(seen), 4),
            "brier": round(brier(seen, network.calibration), 4),
            "lost": int((~seen.held).sum()),
            "called_lost": round(of_lost, 4),
            "called_lost_wrongly": round(of_held, 4),
            "frames": len(seen.held),
        },
        "overlaps": {name: round(value, 3) for name, value in overlaps.items()},
    }


def main(arguments: Sequence[str]) -> int:
    args = parse(arguments)
    common = {
        "videos": tuple(args.videos),
        "images": tuple(args.images),
        "validation": tuple(args.validation),
        "start": args.start,
        "device": args.device,
        "features_folder": str(args.output / "features"),
    }
    recipe = read_recipe(args.config, common)
    stages = recipe.stages
    with stop_on_signal() as request:

        def stop() -> bool:
            return request.signal != 0

        try:
            best = run_stages(recipe, args.output, stop, quiet=args.quiet)
            origin = f"goturn's default weights: tools/make_weights.py, {best.origin}; {LICENCE}"
            path = args.output / "goturn.h5"
            best = replace(best, origin=origin)
            save(best, path, precision="int8", compress=True)
            last = list(stages.values())[-1]
            print("calibrating the confidence on the training videos", flush=True)
            calibration = calibrate(load(path), last, stop)
            save(replace(best, calibration=calibration), path, precision="int8", compress=True)
            draw_validation(join_metrics(list(stages), args.output), args.output / "validation.png")
            shipped = load(path)
            figures: dict[str, Any] = {"digest": shipped.digest, "bytes": path.stat().st_size}
            for precision in ("fp32", "int8"):
                print(f"measuring the file in {precision}", flush=True)
                figures[precision] = measure(shipped, last, precision, stop)
        except Stopped:
            print("stopped; the same command goes on")
            return SIGNAL_BASE + request.signal
    with replacing(args.output / "figures.json") as temporary:
        temporary.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"make_weights: error: {error}", file=sys.stderr)
        sys.exit(1)
