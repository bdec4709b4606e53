"""Training: the loop, and what makes it something to leave running overnight (facts 3; paper, 4.3).

What comes out is a function of the configuration and the data: an interrupted run that is resumed ends in
the same bits, on the CPU, as one that was not.  What depends on the clock is kept in files of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from goturn.data.model import DataError
from goturn.evaluation.session import Stopped
from goturn.network import Network
from goturn.training import solver
from goturn.training.averaging import Averages
from goturn.training.checkpoint import Checkpoint, Checkpoints
from goturn.training.clock import Clock
from goturn.training.config import TrainConfig
from goturn.training.diagnosis import DivergedError, diagnose, has_diverged
from goturn.training.features import towers_digest
from goturn.training.imitation import ImitationStep
from goturn.training.metrics import Metrics, Row, Timing, TimingRow
from goturn.training.plots import plot_run
from goturn.training.run_folder import RunFolder
from goturn.training.sources import open_sources, read_tower, start_weights
from goturn.training.step import Batch, TrainingStep, training_step
from goturn.training.supply import Supply
from goturn.training.validation import Validation
from goturn.weights import Weights, WeightsError, save
from goturn.weights.model import tensor_digest

T = TypeVar("T")

#: Ends the sentence of a run that has diverged.
OTHER_RATE = (
    "begin another run with a lower rate, from the start, or from the weights.h5 of a checkpoint by "
    "--start FILE --start-fc"
)


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

        def tell(line: str) -> None:
            run.write_log(line)
            report(line)

        try:
            trainer = _Trainer(config, run, stop, tell, progress=progress)
        except Stopped:
            return Outcome(0, False, None, 0.0, 0.0)
        run.write_config(config)  # a run has begun once its settings are known to do
        return trainer.run(board=board)


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
        # A run that imitates needs it to the end.
        needed = config.start and (config.imitate or not run.begun)
        if needed and not Path(config.start).is_file():
            raise FileNotFoundError(f"{config.start}: there is no such file to start from")
        self._sources = open_sources(config, self._watched)
        for line in self._sources.lines:
            tell(line)
        self._checkpoints = Checkpoints(run.checkpoints, keep=config.keep)
        found, damaged = self._checkpoints.load_latest(config.digest())
        for sentence in damaged:
            tell(f"warning: {sentence}")
        if damaged and not found:
            raise ValueError(
                f"{run.checkpoints}: none of the checkpoints can be used; put a good one there, or "
                "remove them to train from the start"
            )
        if found and found.iteration > config.iterations:
            raise ValueError(
                f"{run.path} has done {found.iteration} iterations already; iterations must be at least "
                f"as many, got {config.iterations}"
            )
        validation = self._sources.validation if config.tracks else ()
        if not config.tracks:
            tell("note: there are no fc layers to track with yet, so there will be no best.h5")
        elif not validation:
            tell(
                "note: no validation videos, so there will be no best.h5; final.h5 has the last weights"
            )
        self._weights = found.weights if found else start_weights(config, tell)
        self._architecture = self._weights.architecture
        if not config.start and self._architecture.frozen_layers(config.learn):
            before = "" if config.learn == "fc" else f" before {config.learn}"
            tell(
                f"warning: convolutions{before} are random and will not learn; name an AlexNet's with "
                "--start"
            )
        self._network = Network(self._weights, config.device)
        self._teacher = read_tower(config.start) if config.imitate else {}
        self._learnt_from = {name: tensor_digest(value) for name, value in self._teacher.items()}
        if found and found.extra.get("teacher", {}) != self._learnt_from:
            raise ValueError(
                f"{config.start} is not what it was when this run began to learn from it; put the file "
                "back, or start a run in another folder"
            )
        self._step = self._make_step()
        self._iteration, self._losses = 0, list[float]()
        self._averages = Averages(config.average, found.averages if found else None)
        if found:
            self._step.set_velocities(found.velocities)
            if found.squares:
                self._step.set_squares(found.squares)
            self._iteration = found.iteration
            self._losses = [float(loss) for loss in found.extra["losses"]]
            tell(f"going on after iteration {self._iteration:,}")
            if found.extra.get("data") != self._sources.digest:
                tell(
                    "warning: the training data are not what they were when this run was stopped; it "
                    "will not end as it would have without the stop"
                )
        self._saved = found.iteration if found else None
        # Losses wait for their interval's row.  If it is there, it was written after the checkpoint.
        upto = self._iteration - 1 if self._losses else self._iteration
        self._metrics = Metrics.open(run.metrics, upto=upto)
        self._timing = Timing.open(run.timing)
        self._supply = Supply(
            config, self._sources, self._network, tell=tell, stop=stop, bars=progress
        )
        self._validation = Validation(
            validation,
            self._supply.reader,
            tell=tell,
            stop=stop,
            bars=progress,
        )
        self._clock, self._interval = Clock(), Clock()
        self._board: Any = None

    def _make_step(self) -> TrainingStep:
        config = self._config
        if config.imitate:
            return ImitationStep(self._network, self._teacher, learn=config.learn)
        return training_step(
            self._network,
            loss=config.loss,
            learn=config.learn,
            features=bool(config.cache_features) or not config.previous_frame,
            adam=config.solver == "adam",
        )

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
                folder = Path(self._config.features_folder or self._run.features)
                towers = towers_digest(self._weights, self._config.learn)
                self._supply.keep_features(folder, towers)
            self._iterate()
            complete = True
        except Stopped:
            pass
        except (DataError, OSError):
            with suppress(Exception):  # a full disk, say; the first error is the one to tell
                self._save_rest()
            raise
        finally:
            if self._board:
                self._board.close()
        self._save_rest()
        if complete:
            save(self._result(), self._run.final)
        try:
            loss = "features" if self._config.imitate else self._config.loss
            plot_run(self._run.path, loss=loss)
        except Exception as error:  # a run is worth more than its pictures
            self._tell(f"warning: no plots: {error}")
        best = self._metrics.best()
        if best:
            self._tell(
                f"best validation: mean overlap {best.validation_iou:.4f} at iteration "
                f"{best.iteration:,} ({self._run.best})"
            )
        clock = self._clock
        return Outcome(self._iteration, complete, best, clock.waiting, clock.rate)

    def _watched(self, things: Sequence[T], label: str, /) -> Iterable[T]:
        """``things``, with a bar; ends where a stop is asked for.

        Raises:
            Stopped: it was.
        """
        for thing in tqdm(things, label, leave=False, disable=not self._bars):
            if self._stop():
                raise Stopped
            yield thing

    # -- the loop --------------------------------------------------------------------------------

    def _iterate(self) -> None:
        config = self._config
        if self._end_interval():  # stopped in the middle of it
            self._save()  # what was saved then still waits for its row
        bar = tqdm(
            total=config.iterations,
            initial=self._iteration,
            unit="it",
            disable=not self._bars,
            dynamic_ncols=True,
            smoothing=0.05,
        )
        with bar, self._supply.batches(self._iteration) as batches:
            while self._iteration < config.iterations:
                if self._stop():
                    raise Stopped
                waited = batches.waited
                begun = time.perf_counter()
                batch = self._supply.finish(batches.next())
                loss = self._one(batch)
                spent = (time.perf_counter() - begun, batches.waited - waited, len(batch.labels))
                self._clock.add(*spent)
                self._interval.add(*spent)
                self._losses.append(loss)
                self._iteration += 1
                if config.average and Averages.due(self._iteration):
                    self._averages.add(self._iteration, self._learning())
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
                f"{diagnose(self._network, batch, config.learn)}; the last checkpoint is from iteration "
                f"{self._saved or 0:,}; {self._other_rate()}"
            )
        return loss

    def _other_rate(self) -> str:
        return "begin another run with a lower conv_rate" if self._config.imitate else OTHER_RATE

    # -- at the end of an interval ----------------------------------------------------------------

    def _end_interval(self) -> bool:
        """Writes a row of metrics where one is due; true if it was."""
        config, iteration = self._config, self._iteration
        last = iteration == config.iterations
        if not self._losses or (iteration % config.log_every and not last):
            return False
        iou = None
        if self._validation and (iteration % config.validate_every == 0 or last):
            weights = self._result()  # which looks at them
            own = Network(weights, self._network.ops) if self._averages.values else self._network
            iou = self._validation.mean_overlap(own)
            best = self._metrics.best()
            if best is None or iou > (best.validation_iou or 0):
                save(weights, self._run.best)  # before its row, which says that it is there
        values = self._step.values * config.batch * len(self._losses)
        rate = config.conv_rate if config.imitate else config.rate
        rate *= solver.rate_factor(config, iteration - 1)
        row = Row(iteration, sum(self._losses) / values, rate, iou)
        self._metrics.append(row)
        self._losses = []
        self._supply.check_images()
        self._report(row)
        return True

    def _report(self, row: Row) -> None:
        clock, self._interval = self._interval, Clock()
        if clock.seconds:
            self._timing.append(TimingRow(row.iteration, clock.seconds, clock.rate, clock.waiting))
        if self._board:
            self._board.scalar("loss", row.loss, row.iteration)
            self._board.scalar("rate", row.rate, row.iteration)
            if row.validation_iou is not None:
                self._board.scalar("validation_iou", row.validation_iou, row.iteration)
        error = f"mean error {row.loss:.4f} of 10"
        if self._config.imitate:
            error = f"squared error {row.loss:.4f} of the features' own squares"
        text = (
            f"iteration {row.iteration:,} of {self._config.iterations:,}: {error}, rate {row.rate:g}, "
            f"{clock.rate:.0f} examples/s, waiting {clock.waiting:.1%}"
        )
        if row.validation_iou is None:
            self._run.write_log(text)
        else:
            self._tell(f"{text}, validation mean overlap {row.validation_iou:.4f}")

    # -- saving ----------------------------------------------------------------------------------

    def _current(self) -> Weights:
        """The weights as they are.

        Raises:
            DivergedError: some are no numbers any more, which the next iteration's loss would tell.
        """
        ops = self._network.ops
        start = Path(self._config.start or "random weights").name
        if not self._config.tracks:
            start += "; its fc layers are random, and it cannot track yet"
        try:
            return Weights(
                self._architecture,
                {name: ops.to_numpy(value) for name, value in self._network.parameters.items()},
                origin=f"goturn train, {self._iteration} iterations from {start}",
                target_policy=self._weights.target_policy,  # which validation tracks by
            )
        except WeightsError as error:
            raise DivergedError(
                f"training has diverged at iteration {self._iteration:,}: {error}; the last checkpoint "
                f"is from iteration {self._saved or 0:,}; {OTHER_RATE}"
            ) from error

    def _result(self) -> Weights:
        """What the run has to show for itself: averaged weights, where there are any yet.

        Raises:
            DivergedError: see :meth:`_current`.
        """
        weights = self._current()
        if not self._averages.values:
            return weights
        # Weights are taken over as they lie, and averaging goes on in place.
        own = {name: value.copy() for name, value in self._averages.values.items()}
        return replace(weights, parameters=weights.parameters | own)

    def _learning(self) -> dict[str, np.ndarray]:
        """The parameters that learn, in host memory."""
        rates = solver.rates_at(self._config, self._architecture, self._iteration)
        parameters, ops = self._network.parameters, self._network.ops
        return {name: ops.to_numpy(parameters[name]) for name in rates}

    def _save_rest(self) -> None:
        if self._saved != self._iteration and self._iteration > 0:
            self._save()

    def _save(self) -> None:
        self._metrics.sync()
        checkpoint = Checkpoint(
            self._iteration,
            self._current(),
            self._step.velocities(),
            {
                "losses": list(self._losses),
                "data": self._sources.digest,
                **({"teacher": self._learnt_from} if self._learnt_from else {}),
            },
            self._averages.values,
            self._step.squares(),
        )
        self._checkpoints.save(checkpoint, self._config.digest())
        self._saved = self._iteration


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
