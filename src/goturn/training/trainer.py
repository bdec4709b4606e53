"""Training: the loop, and what makes it something to leave running overnight (facts 3; paper, 4.3).

What comes out is a function of the configuration and the data: an interrupted run that is resumed ends in
the same bits, on the CPU, as one that was not.  What depends on the clock is kept in files of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from goturn.data.images import FrameReader
from goturn.data.model import Problem, check_problems
from goturn.evaluation.one_pass import Stopped, mean_overlaps
from goturn.network import Network
from goturn.tracker import Tracker
from goturn.training import solver
from goturn.training.checkpoint import Checkpoint, Checkpoints
from goturn.training.config import TrainConfig
from goturn.training.diagnosis import DivergedError, diagnose, has_diverged
from goturn.training.examples import Examples, Plan, crop
from goturn.training.features import FeatureCache, towers_digest
from goturn.training.loading import Batches
from goturn.training.metrics import Metrics, Row, Timing, TimingRow
from goturn.training.motion import MotionModel
from goturn.training.plots import plot_run
from goturn.training.run_folder import RunFolder
from goturn.training.sources import Sources, open_sources, start_weights
from goturn.training.step import Batch, training_step
from goturn.weights import Weights, save


@dataclass(frozen=True)
class Outcome:
    """How a run, or its part until it was stopped, ended."""

    iteration: int
    """Iterations done in all."""
    complete: bool
    """False where it was asked to stop."""
    best: Row | None
    """The row of metrics with the best validation."""
    waiting: float
    """Part of the time that iterations took in which they waited for their batch."""
    examples_per_second: float


def train(
    config: TrainConfig,
    folder: Path,
    *,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[str], None] = lambda line: None,
    progress: bool = False,
    board: bool = False,
) -> Outcome:
    """Trains, from the start or from where an earlier run in ``folder`` stopped.

    Args:
        config: all settings.
        folder: for all that the run makes; new, unless ``resume``.
        resume: go on from the newest checkpoint that is whole; from the start if there is none.
        stop: asked after every iteration, and now and then in between: true saves and ends.
        report: told what happens, in lines for people; they go to the log as well.
        progress: show bars on standard error.
        board: write TensorBoard's events too.

    Raises:
        DataError, ValueError, OSError: data, weights or folder that will not do; a full disk.
        RuntimeError: a device that is not there; another process that trains here.
        DivergedError: loss or weights are no numbers any more; the checkpoints are from before.
    """
    run = RunFolder(folder)
    if run.begun and not resume:
        raise ValueError(
            f"{folder} has a run already; resume it (--resume), or name another folder"
        )
    with run.locked():
        if resume and run.begun:
            _check_same(config, TrainConfig.from_toml(run.config), folder)
        run.write_config(config)

        def tell(line: str) -> None:
            run.write_log(line)
            report(line)

        return _Trainer(config, run, stop, tell, progress=progress).run(board=board)


def examples_of(
    config: TrainConfig, sources: Sources, reader: FrameReader, context_factor: float = 2.0
) -> Examples:
    """The sequence of examples that a configuration means, for a network of this context factor."""
    motion = MotionModel(
        config.motion,
        config.lambda_shift,
        config.lambda_scale,
        config.scale_limit,
        context_factor,
    )
    return Examples(
        sources.videos,
        sources.photographs,
        reader,
        motion,
        seed=config.seed,
        drawn=config.drawn,
        largest_part=config.largest_part,
        context_factor=context_factor,
    )


def frame_reader(config: TrainConfig) -> FrameReader:
    """A reader that keeps as many decoded frames as the configuration says."""
    return FrameReader(config.memory << 20) if config.memory else FrameReader()


class _Trainer:
    """One run, or its rest."""

    def __init__(
        self,
        config: TrainConfig,
        run: RunFolder,
        stop: Callable[[], bool],
        tell: Callable[[str], None],
        *,
        progress: bool,
    ) -> None:
        self._config, self._run, self._stop, self._tell = config, run, stop, tell
        self._bars = progress
        self._sources = open_sources(config)
        for line in self._sources.lines:
            tell(line)
        self._checkpoints = Checkpoints(run.checkpoints, keep=config.keep)
        found, damaged = self._checkpoints.load_latest(config.digest())
        for sentence in damaged:
            tell(f"warning: {sentence}")
        self._weights = found.weights if found else start_weights(config)
        self._network = Network(self._weights, config.device)
        self._architecture = self._weights.architecture
        self._step = training_step(
            self._network,
            loss=config.loss,
            towers=config.learn == "all",
            features=bool(config.cache_features) or not config.previous_frame,
        )
        self._iteration, self._losses = 0, list[float]()
        if found:
            self._step.set_velocities(found.velocities)
            self._iteration = found.iteration
            self._losses = [float(loss) for loss in found.extra["losses"]]
            tell(f"going on after iteration {self._iteration:,}")
        self._saved = found.iteration if found else None
        self._metrics = Metrics.open(run.metrics, upto=self._iteration)
        self._timing = Timing.open(run.timing)
        self._reader = frame_reader(config)
        factor = self._architecture.preprocessing.context_factor
        self._examples = examples_of(config, self._sources, self._reader, factor)
        self._known_bad: set[Path] = set()
        self._cache: FeatureCache | None = None
        self._clock = _Clock()
        self._board: Any = None

    def run(self, *, board: bool) -> Outcome:
        if board:
            from goturn.training.board import Board

            self._board = Board(self._run.path, purge_step=self._iteration + 1)
        rates = solver.rates_at(self._config, self._architecture, self._iteration)
        self._tell(f"{self._network.ops.name}, {self._architecture.parameter_count:,} parameters")
        self._tell(solver.describe(self._config, rates))
        complete = False
        try:
            if self._config.cache_features:
                self._fill_cache()
            self._iterate()
            complete = True
        except Stopped:
            pass
        finally:
            if self._board:
                self._board.close()
        if self._saved != self._iteration and self._iteration > 0:
            self._save()
        if complete:
            save(self._current(), self._run.final)
        plot_run(self._run.path, loss=self._config.loss)
        best = self._metrics.best()
        if best:
            self._tell(
                f"best validation: mean overlap {best.validation_iou:.4f} at iteration "
                f"{best.iteration:,} ({self._run.best})"
            )
        clock = self._clock
        return Outcome(self._iteration, complete, best, clock.waiting, clock.rate)

    # -- the loop --------------------------------------------------------------------------------

    def _iterate(self) -> None:
        config = self._config
        self._end_interval()  # stopped in the middle of it
        bar = tqdm(
            total=config.iterations,
            initial=self._iteration,
            unit="it",
            disable=not self._bars,
            dynamic_ncols=True,
            smoothing=0.05,
        )
        with bar, self._batches() as batches:
            while self._iteration < config.iterations:
                if self._stop():
                    raise Stopped
                waited = batches.waited
                begun = time.perf_counter()
                batch = self._finish(batches.next())
                loss = self._one(batch)
                self._clock.add(
                    time.perf_counter() - begun, batches.waited - waited, len(batch.labels)
                )
                self._losses.append(loss)
                self._iteration += 1
                bar.update()
                if self._end_interval():
                    row = self._metrics.rows[-1]
                    bar.set_postfix_str(f"loss {row.loss:.3f}, waiting {self._clock.waiting:.1%}")
                if self._iteration % config.checkpoint_every == 0:
                    self._save()

    def _one(self, batch: Batch) -> float:
        """One iteration's loss, after its update.

        Raises:
            DivergedError: it is no number any more.
        """
        config = self._config
        rates = solver.rates_at(config, self._architecture, self._iteration)
        key = solver.dropout_key(config, self._iteration)
        loss = self._step.run(batch, rates, dropout_key=key)
        if has_diverged(loss, len(batch.labels), config.loss):
            raise DivergedError(
                f"training has diverged at iteration {self._iteration + 1:,}: the loss is {loss:g}, and "
                f"{diagnose(self._network, batch)}; the last checkpoint is from iteration "
                f"{self._saved or 0:,}; try a lower rate"
            )
        return loss

    def _batches(self) -> Batches[Any]:
        config, cache = self._config, self._cache
        host = self._network.ops.name in ("cpu", "reference")

        def make(step: int) -> Plan | Batch:
            if cache:
                return cache.batch(step, config.batch, config.seed)
            plan = self._examples.plan(step, config.batch)
            # A GPU's crops are made by the thread that uses them: they are in the order of its stream.
            return self._crop(plan) if host else plan

        return Batches(make, start=self._iteration, stop=config.iterations, workers=config.workers)

    def _crop(self, plan: Plan) -> Batch:
        return crop(plan, self._network.ops, self._architecture.preprocessing)

    def _finish(self, made: Plan | Batch) -> Batch:
        batch = self._crop(made) if isinstance(made, Plan) else made
        if self._config.previous_frame:
            return batch
        blank = np.zeros((1, self._architecture.features), np.float32)
        owners = np.zeros_like(batch.owners)
        return replace(batch, targets=self._network.ops.from_numpy(blank), owners=owners)

    # -- at the end of an interval ----------------------------------------------------------------

    def _end_interval(self) -> bool:
        """Writes a row of metrics where one is due; true if it was."""
        config, iteration = self._config, self._iteration
        last = iteration == config.iterations
        if not self._losses or (iteration % config.log_every and not last):
            return False
        iou = None
        if self._sources.validation and (iteration % config.validate_every == 0 or last):
            iou = self._validate()
        values = 4 * config.batch * len(self._losses)
        factor = solver.rate_factor(config, iteration - 1)
        row = Row(iteration, sum(self._losses) / values, factor * config.rate, iou)
        best = self._metrics.best()
        self._metrics.append(row)
        self._losses = []
        self._check_images()
        self._report(row)
        if iou is not None and (best is None or iou > (best.validation_iou or 0)):
            save(self._current(), self._run.best)
        return True

    def _report(self, row: Row) -> None:
        clock = self._clock
        self._timing.append(TimingRow(row.iteration, clock.seconds, clock.rate, clock.waiting))
        if self._board:
            self._board.scalar("loss", row.loss, row.iteration)
            self._board.scalar("rate", row.rate, row.iteration)
            if row.validation_iou is not None:
                self._board.scalar("validation_iou", row.validation_iou, row.iteration)
        text = (
            f"iteration {row.iteration:,} of {self._config.iterations:,}: mean error {row.loss:.4f} of "
            f"10, rate {row.rate:g}, {clock.rate:.0f} examples/s, waiting {clock.waiting:.1%}"
        )
        if row.validation_iou is None:
            self._run.write_log(text)
        else:
            self._tell(f"{text}, validation mean overlap {row.validation_iou:.4f}")

    def _validate(self) -> float:
        """Mean overlap over the validation videos, one pass each, every video counting the same."""
        if self._config.learn == "all":
            self._network.compile()
        tracker = Tracker(self._network)
        values = mean_overlaps(
            tracker, self._sources.validation, self._reader.read, stop=self._stop
        )
        return float(np.mean(list(values.values())))

    def _check_images(self) -> None:
        """Names images that could not be decoded.

        Raises:
            DataError: they are more than 1 % of those there are.
        """
        bad = dict(self._reader.bad)
        for path in bad.keys() - self._known_bad:
            self._tell(f"left out: {path}: {bad[path]}")
        self._known_bad |= bad.keys()
        problems = tuple(Problem(path, reason) for path, reason in sorted(bad.items()))
        check_problems("the training images", problems, self._sources.files)

    def _fill_cache(self) -> None:
        config = self._config
        key = {
            "data": self._sources.digest(),
            "examples": [
                config.motion, config.lambda_shift, config.lambda_scale, config.scale_limit,
                config.largest_part, config.seed,
            ],
            "towers": towers_digest(self._weights),
        }  # fmt: skip
        cache = FeatureCache(
            Path(config.features_folder) if config.features_folder else self._run.features,
            count=config.cache_features,
            per_item=self._examples.per_item,
            features=self._architecture.features,
            key=key,
        )
        if not cache.complete:
            self._tell(
                f"computing the features of {cache.count:,} examples, once"
                + (f"; {cache.done:,} of {cache.items:,} items are there" if cache.done else "")
            )
            with tqdm(
                total=cache.count,
                initial=cache.done * self._examples.per_item,
                unit="example",
                disable=not self._bars,
                dynamic_ncols=True,
            ) as bar:
                cache.fill(self._examples, self._network, progress=bar.update, stop=self._stop)
            self._check_images()
            if not cache.complete:
                raise Stopped
        self._cache = cache

    # -- saving ----------------------------------------------------------------------------------

    def _current(self) -> Weights:
        ops = self._network.ops
        start = self._config.start or "random weights"
        return Weights(
            self._architecture,
            {name: ops.to_numpy(value) for name, value in self._network.parameters.items()},
            origin=f"goturn train, {self._iteration} iterations from {Path(start).name}",
        )

    def _save(self) -> None:
        self._metrics.sync()
        checkpoint = Checkpoint(
            self._iteration,
            self._current(),
            self._step.velocities(),
            {"losses": list(self._losses)},
        )
        self._checkpoints.save(checkpoint, self._config.digest())
        self._saved = self._iteration


class _Clock:
    """Seconds that iterations took, and waited."""

    def __init__(self) -> None:
        self.seconds = self._waited = 0.0
        self._examples = 0

    def add(self, seconds: float, waited: float, examples: int) -> None:
        self.seconds += seconds
        self._waited += waited
        self._examples += examples

    @property
    def waiting(self) -> float:
        """Part of the time that went by waiting for batches."""
        return self._waited / self.seconds if self.seconds else 0.0

    @property
    def rate(self) -> float:
        """Examples a second."""
        return self._examples / self.seconds if self.seconds else 0.0


def _check_same(config: TrainConfig, before: TrainConfig, folder: Path) -> None:
    changed = [
        each.name
        for each in fields(TrainConfig)
        if not each.metadata["free"] and getattr(config, each.name) != getattr(before, each.name)
    ]
    if changed:
        told = ", ".join(
            f"{name} was {getattr(before, name)!r}, not {getattr(config, name)!r}"
            for name in changed
        )
        raise ValueError(
            f"{folder} has a run with other settings: {told}; leave them as they were, or start a run "
            "in another folder"
        )
