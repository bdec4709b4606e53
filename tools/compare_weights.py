"""Measures weights on videos that they did not train on, to choose among them: a line for each.

python tools/compare_weights.py FILE[,SHARE,FRAMES] ... --videos SPEC

SHARE,FRAMES (or paper) is a target policy to track with (``goturn.target_policy``), instead of what the
file asks for.  The columns are

* the held-out error: mean L1 error, in units of which a search window has ten, on examples drawn from the
  videos as in training, with target boxes that are a little wrong; and of starts, whose targets' boxes
  are right and lie up to the whole video back.  Far less noisy than tracking, but it does not see drift;
* many starts (``goturn.evaluation.many_starts``), the mean IoU of one pass, and VOT2014's accuracy,
  failures and overall error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from goturn.commands.exits import SIGNAL_BASE, stop_on_signal
from goturn.data import FrameReader
from goturn.evaluation.many_starts import many_starts
from goturn.evaluation.one_pass import mean_overlaps
from goturn.evaluation.reset import reset_score, track_with_resets
from goturn.evaluation.session import Stopped
from goturn.network import Network
from goturn.target_policy import TargetPolicy
from goturn.tracker import Tracker
from goturn.training.config import TrainConfig
from goturn.training.examples import crop
from goturn.training.sources import Sources, distinct, open_sources
from goturn.training.supply import examples_of
from goturn.weights import load

#: Held-out examples: iterations of so many.
ITERATIONS, BATCH = 50, 32


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", nargs="+", metavar="FILE[,SHARE,FRAMES]")
    parser.add_argument("--videos", nargs="+", required=True, metavar="SPEC")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="int8", help="to track with (default int8)")
    return parser.parse_args(arguments)


def weights_and_policy(text: str) -> tuple[Path, TargetPolicy | None]:
    """What an argument names.

    Raises:
        ValueError: a policy that will not do.
    """
    if Path(text).is_file() or "," not in text:
        return Path(text), None
    count = 1 if text.endswith(",paper") else 2
    name, *policy = text.rsplit(",", count)
    return Path(name), TargetPolicy.parse(",".join(policy))


def held_out(
    network: Network, sources: Sources, config: TrainConfig, stop: Callable[[], bool]
) -> float:
    """Mean L1 error on a configuration's first examples.

    Raises:
        Stopped: on request.
    """
    preprocessing = network.architecture.preprocessing
    examples = examples_of(config, sources, FrameReader(), preprocessing.context_factor)
    errors = []
    for step in range(ITERATIONS):
        if stop():
            raise Stopped
        batch = crop(examples.plan(step, BATCH), network.ops, preprocessing)
        forward = network.forward(batch.targets, batch.searches, owners=batch.owners, learn="fc")
        errors.append(np.abs(network.ops.to_numpy(forward.units) - batch.labels).mean())
    return float(np.mean(errors))


def held_out_figures(
    path: Path, wrong: TrainConfig, sources: Sources, device: str, stop: Callable[[], bool]
) -> str:
    """Both held-out errors of one file, as text.

    Raises:
        Stopped: on request.
    """
    network = Network(load(path), device)
    errors = [
        held_out(network, sources, config, stop)
        for config in (wrong, replace(wrong, target_error=0.0, starts=1.0))
    ]
    return f"{errors[0]:.4f}  {errors[1]:.4f}"


def tracking_figures(tracker: Tracker, sources: Sources, stop: Callable[[], bool]) -> str:
    """What a tracker does on the videos, as text.

    Raises:
        Stopped: on request.
    """
    read, videos = FrameReader().read, distinct(sources.videos)
    starts = many_starts(tracker, videos, read, stop=stop)
    overlaps = mean_overlaps(tracker, videos, read, stop=stop)
    score = reset_score([track_with_resets(tracker, v, read, stop=stop) for v in videos])
    many = f"{np.mean(list(starts.values())):.4f}" if starts else "-"
    return (
        f"{many:6}  {np.mean(list(overlaps.values())):.4f}    {score.accuracy:.4f}  {score.failures:4}  "
        f"{score.overall_error:.4f}"
    )


def main(arguments: Sequence[str]) -> int:
    args = parse(arguments)
    given = [weights_and_policy(text) for text in args.weights]
    for path, _ in given:  # mistakes now, and not behind what takes long
        if not path.is_file():
            raise FileNotFoundError(f"{path}: there is no such file")
        Network(load(path), args.device, precision=args.precision)
    wrong = TrainConfig(videos=tuple(args.videos), drawn=3, seed=99, target_error=0.3)
    sources = open_sources(wrong)
    width = max(len(str(path)) for path, _ in given)
    print(
        f"{'weights':{width}} policy   wrong   starts  many    one pass  A       F     error\n"
        f"{'':{width}}          (held-out L1)   (mean IoU)        (VOT2014, with restarts)"
    )
    held: dict[Path, str] = {}  # the same for each policy of a file
    with stop_on_signal() as request:

        def stop() -> bool:
            return request.signal != 0

        try:
            for path, policy in given:
                if path not in held:
                    held[path] = held_out_figures(path, wrong, sources, args.device, stop)
                network = Network(load(path), args.device, precision=args.precision)
                tracker = Tracker(network, target_policy=policy)
                share, every = tracker.target_policy
                tracked = tracking_figures(tracker, sources, stop)
                # All of the path: files of runs have the same names.
                print(
                    f"{path!s:{width}} {f'{share:g},{every}':8} {held[path]}  {tracked}", flush=True
                )
        except Stopped:
            return SIGNAL_BASE + request.signal
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"compare_weights: error: {error}", file=sys.stderr)
        sys.exit(1)
