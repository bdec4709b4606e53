"""Where a run's batches come from: examples of its data, fresh ones or features kept from before."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from goturn.data.images import FrameReader
from goturn.data.model import Problem, check_problems
from goturn.evaluation.session import Stopped
from goturn.network import Network
from goturn.training.config import TrainConfig
from goturn.training.examples import Examples, Plan, crop, crop_ahead
from goturn.training.features import FeatureCache
from goturn.training.loading import Batches
from goturn.training.motion import MotionModel
from goturn.training.sources import Sources
from goturn.training.step import Batch
from goturn.training.variety import Augmentation


def frame_reader(config: TrainConfig) -> FrameReader:
    """A reader that keeps as many decoded frames as the configuration says."""
    return FrameReader(config.memory << 20) if config.memory else FrameReader()


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
        augmentation=augmentation_of(config),
    )


def augmentation_of(config: TrainConfig) -> Augmentation:
    """The variety that a configuration asks for."""
    return Augmentation(**{each.name: getattr(config, each.name) for each in fields(Augmentation)})


class Supply:
    """The batches of a run, each a function of the configuration, the data and its iteration.

    Args:
        config: of the run.
        sources: its data.
        network: what the batches are for; its towers make the features that are kept.
        tell: told what was left out, and what takes long.
        stop: asked now and then in what takes long.
        bars: whether to show progress.
    """

    def __init__(
        self,
        config: TrainConfig,
        sources: Sources,
        network: Network,
        *,
        tell: Callable[[str], None],
        stop: Callable[[], bool],
        bars: bool,
    ) -> None:
        self._config, self._sources, self._network = config, sources, network
        self._tell, self._stop, self._bars = tell, stop, bars
        self.reader = frame_reader(config)
        factor = network.architecture.preprocessing.context_factor
        self._examples = examples_of(config, sources, self.reader, factor)
        self._cache: FeatureCache | None = None
        self._known_bad: set[Path] = set()

    def keep_features(self, folder: Path, towers: str) -> None:
        """Computes the features of the configuration's examples, where they are not there yet.

        Args:
            folder: where they are kept.
            towers: :func:`goturn.training.features.towers_digest` of the network's weights and of what
                learns.

        Raises:
            Stopped: on request, with what is done kept.
            DataError, OSError, ValueError, RuntimeError: see :meth:`FeatureCache.fill`.
        """
        config = self._config
        # Features that were kept before there were some of the settings stay known.
        unused, changes = config.unused_later(), asdict(augmentation_of(config))
        variety = {name: value for name, value in changes.items() if name not in unused}
        key = {
            "data": self._sources.digest,
            "examples": [
                config.motion, config.lambda_shift, config.lambda_scale, config.scale_limit,
                config.largest_part, config.seed,
            ],
            "variety": variety,
            "towers": towers,
        }  # fmt: skip
        architecture = self._network.architecture
        cache = FeatureCache(
            folder,
            count=config.cache_features,
            per_item=self._examples.per_item,
            features=math.prod(architecture.shape_after(architecture.frozen_layers(config.learn))),
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
                cache.fill(
                    self._examples,
                    self._network,
                    config.learn,
                    progress=bar.update,
                    stop=self._stop,
                )
            self.check_images()
            if not cache.complete:
                raise Stopped
        self._cache = cache

    def batches(self, start: int) -> Batches[Plan | Batch]:
        """What :meth:`finish` takes, from iteration ``start`` on."""
        config, cache = self._config, self._cache
        ops, preprocessing = self._network.ops, self._network.architecture.preprocessing

        def make(step: int) -> Plan | Batch:
            if cache:
                return cache.batch(step, config.batch, config.seed)
            plan = self._examples.plan(step, config.batch)
            return crop_ahead(plan, ops, preprocessing)

        return Batches(make, start=start, stop=config.iterations, workers=config.workers)

    def finish(self, made: Plan | Batch) -> Batch:
        """The batch, on the network's device; for the thread that trains."""
        ops = self._network.ops
        if isinstance(made, Plan):
            batch = crop(made, ops, self._network.architecture.preprocessing)
        else:  # features come from files; in host memory nothing is copied
            targets, searches = ops.from_numpy(made.targets), ops.from_numpy(made.searches)
            batch = replace(made, targets=targets, searches=searches)
        if self._config.previous_frame:
            return batch
        blank = np.zeros((1, self._network.architecture.features), np.float32)
        owners = np.zeros_like(batch.owners)
        return replace(batch, targets=ops.from_numpy(blank), owners=owners)

    def check_images(self) -> None:
        """Names images that could not be decoded since the last time.

        Raises:
            DataError: they are more than 1 % of those there are.
        """
        bad = dict(self.reader.bad)
        for path in bad.keys() - self._known_bad:
            self._tell(f"left out: {path}: {bad[path]}")
        self._known_bad |= bad.keys()
        problems = tuple(Problem(path, reason) for path, reason in sorted(bad.items()))
        check_problems("the images", problems, self._sources.files)
