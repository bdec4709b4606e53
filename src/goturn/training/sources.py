"""What a run trains on, chooses by, and starts from: data sets and weights, opened and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from goturn.architecture import CAFFENET_CHANNELS, REDUCING_NAME, Architecture, goturn
from goturn.data import open_dataset
from goturn.data.loader import Progress, silent
from goturn.data.model import DataError, Dataset, Photograph, Video, check_problems
from goturn.target_policy import TargetPolicy
from goturn.training.config import TrainConfig
from goturn.training.imitation import narrowed, with_channels
from goturn.weights import Weights, load, random_weights, read_conv_layers, with_conv_layers


@dataclass(frozen=True)
class Sources:
    """The data of a run."""

    videos: tuple[Video, ...]
    photographs: tuple[Photograph, ...]
    validation: tuple[Video, ...]
    lines: tuple[str, ...]
    """What there is, and what was left out: a sentence each."""

    @property
    def files(self) -> int:
        """How many image files a run reads."""
        drawn = sum(len(video.boxes) for video in self.videos) + len(self.photographs)
        return drawn + sum(len(video.frames) for video in self.validation)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all names and boxes that training draws from."""
        hashed = hashlib.sha256()
        for video in self.videos:
            hashed.update(repr((video.name, [f.name for f in video.frames], video.boxes)).encode())
        for photograph in self.photographs:
            hashed.update(repr((photograph.name, photograph.size, photograph.boxes)).encode())
        return hashed.hexdigest()


def open_sources(config: TrainConfig, progress: Progress = silent) -> Sources:
    """Opens the data sets of a run.

    Args:
        config: names them.
        progress: wraps what loaders go through, one thing after the other.

    Raises:
        DataError: one cannot be used, or there is nothing of a kind that the configuration asks for.
        OSError: a file cannot be read.
    """
    lines: list[str] = []
    wanted_videos = config.videos if config.sources != "images" else ()
    wanted_images = config.images if config.sources != "videos" else ()
    opened = [
        _open(purpose, specs, lines, progress)
        for purpose, specs in (
            ("videos", wanted_videos),
            ("images", wanted_images),
            ("validation", config.validation),
        )
    ]
    videos = [video for each in opened[0] for video in each.videos]
    photographs = [photograph for each in opened[1] for photograph in each.photographs]
    validation = [video for each in opened[2] for video in each.videos]
    if config.max_videos:
        # Any order would do but the data sets' own, in which like videos follow one another.
        order = np.random.Generator(np.random.Philox(config.seed)).random(len(videos)).argsort()
        chosen = sorted(order[: config.max_videos])
        videos = [videos[index] for index in chosen]
        lines.append(f"training on {len(videos)} of the videos")
    for kind, found, asked in (
        ("videos", videos, wanted_videos),
        ("photographs", photographs, wanted_images),
        ("videos", validation, config.validation),
    ):
        if asked and not found:
            raise DataError(f"there are no {kind} in {', '.join(asked)}")
    without = sum(not photograph.with_room(config.largest_part) for photograph in photographs)
    if without:
        lines.append(
            f"{without:,} photographs have no box that leaves room for crops (at most "
            f"{config.largest_part:.0%} of the image); they are left out"
        )
    single = sum(not video.pairs() for video in videos)
    if single:
        lines.append(f"{single:,} videos have fewer than two labelled frames; they are left out")
    if not videos and not photographs:
        raise DataError(
            "there is nothing to train on: name data sets by --videos and --images, of which sources "
            f"({config.sources}) takes what it says"
        )
    trained = {video.frames[0].absolute() for video in videos if video.frames}
    shared = [v.name for v in validation if v.frames and v.frames[0].absolute() in trained]
    if shared:
        lines.append(
            f"warning: {len(shared)} of the validation videos are trained on too, {shared[0]} for one: "
            "validation will say little"
        )
    return Sources(tuple(videos), tuple(photographs), distinct(validation), tuple(lines))


def distinct(videos: Sequence[Video]) -> tuple[Video, ...]:
    """The same, with names of their own: results are kept by name, which data sets may share."""
    counts: dict[str, int] = {}
    named = []
    for video in videos:
        count = counts[video.name] = counts.get(video.name, 0) + 1
        named.append(video if count == 1 else replace(video, name=f"{video.name} ({count})"))
    return tuple(named)


def _open(
    purpose: str, specs: Sequence[str], lines: list[str], progress: Progress
) -> list[Dataset]:
    sets = []
    for spec in specs:
        found = open_dataset(spec, progress=progress)
        files = sum(len(video.frames) for video in found.videos) + len(found.photographs)
        check_problems(found.name, found.problems, files + len(found.problems))
        pairs = sum(len(video.pairs()) for video in found.videos)
        boxes = sum(len(photograph.boxes) for photograph in found.photographs)
        parts = []
        if found.videos:
            parts.append(f"{len(found.videos):,} videos with {pairs:,} pairs of labelled frames")
        if found.photographs:
            parts.append(f"{len(found.photographs):,} photographs with {boxes:,} boxes")
        lines.append(f"{purpose}: {found.name}: {', '.join(parts) or 'nothing'}")
        lines.extend(found.notes)
        lines.extend(f"left out: {problem}" for problem in found.problems)
        sets.append(found)
    return sets


def start_weights(
    config: TrainConfig, tell: Callable[[str], object] = lambda line: None
) -> Weights:
    """The weights that a run begins with; ``tell`` is told what will not do, though it can be run.

    fc layers are drawn from the authors' fillers, unless ``config.start_fc`` takes the file's.

    A convolution behind the last pool, which a pretrained AlexNet lacks, is drawn as well where the file
    has none, or one of other channels; a file's may also be left out.  The run validates by the target
    policy of the weights and hands it on: ``config.target``, or what comes with the fc layers.

    Raises:
        ValueError, OSError: the file cannot be read, or does not hold what is asked of it; or there is
            no convolution of the name that ``config.learn`` gives.
    """
    if config.start_fc:
        weights = load(config.start)
        given = weights.architecture
        _check_given(config, given)
        if config.imitate:
            weights = _narrower(config, weights)
            given = weights.architecture
    else:
        conv = read_conv_layers(config.start) if config.start else {}
        tower = _up_to_the_last_pool(conv)
        given = goturn(
            config.widths,
            pool_first=config.pool_first,
            reduce=config.reduce,
            match=config.match,
            channels=config.channels or _channels_of(tower) or CAFFENET_CHANNELS,
        )
        weights = random_weights(given, config.seed)
        if config.imitate:
            weights = with_conv_layers(weights, _narrowed(config, given, tower))
        elif config.start:
            shapes = given.parameter_shapes()
            reducing = {
                name: value
                for name, value in conv.items()
                if name not in tower and shapes.get(name) == value.shape
            }
            own = _channels_of(tower)
            if config.channels and own and own != config.channels:
                raise ValueError(
                    f"{config.start} has convolutions of {_listed(own)} channels, but channels says "
                    f"{_listed(config.channels)}; leave it out, or make them narrower first (imitate)"
                )
            weights = with_conv_layers(weights, tower | reducing, keep=(REDUCING_NAME,))
            if config.reduce and config.learn == "fc" and not reducing:
                tell(
                    f"warning: {config.start} has no {REDUCING_NAME} of {config.reduce} channels; this "
                    f"one is random and will not learn; let it, with --learn {REDUCING_NAME}"
                )
    _check_learn(config, given)
    head = tuple(
        replace(layer, dropout=config.dropout if layer.relu else 0.0) for layer in given.head
    )
    parameters = dict(weights.parameters)
    if config.reduce and not config.start_fc:
        # "It has not moved", to begin with.  Its fc layers' biases start at 0, unlike the authors': what
        # makes the middle of the window of such a network is dropout, as long as there is any.
        p = given.preprocessing
        near, far = (p.output_scale * (0.5 + side / p.context_factor) for side in (-0.5, 0.5))
        bias = parameters[f"{head[-1].name}/bias"]
        parameters[f"{head[-1].name}/bias"] = np.array([near, near, far, far], bias.dtype)
    if not config.previous_frame:
        # With these columns zero, and the target's features given as zeros, they stay so: what comes out
        # is an ordinary network that does not look at its target.
        name = f"{head[0].name}/weight"
        parameters[name] = parameters[name].copy()
        parameters[name][:, : given.features] = 0
        parameters[name][:, 2 * given.features :] = 0  # of a match, which is zero as well
    policy = TargetPolicy.parse(config.target) if config.target else weights.target_policy
    return replace(
        weights,
        architecture=replace(given, head=head),
        parameters=parameters,
        target_policy=policy,
    )


def _narrowed(
    config: TrainConfig, given: Architecture, tower: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """:func:`goturn.training.imitation.narrowed`, whose errors name the file."""
    try:
        return narrowed(given.trunk, tower)
    except ValueError as error:
        raise ValueError(f"{config.start}: {error}") from error


def _narrower(config: TrainConfig, weights: Weights) -> Weights:
    """``weights`` with convolutions of ``config.channels``; all else stays.

    Raises:
        ValueError: they cannot have them.
    """
    given = weights.architecture
    if not given.shared_towers:
        raise ValueError(
            f"{config.start} has a tower of its own for target and search each, and imitate trains one; "
            "leave start_fc out"
        )
    convs = given.trunk.convs
    if len(convs) != len(config.channels):
        raise ValueError(
            f"{config.start} has {len(convs)} convolutions up to the last pool, but channels names "
            f"{len(config.channels)}"
        )
    narrow = with_channels(given, config.channels)
    names = [f"{layer.name}/{kind}" for layer in convs for kind in ("weight", "bias")]
    own = _narrowed(config, narrow, {name: weights.parameters[name] for name in names})
    return replace(weights, architecture=narrow, parameters=weights.parameters | own)


def read_tower(path: str) -> dict[str, np.ndarray]:
    """The convolutions of a file up to the last pool, by parameter."""
    return _up_to_the_last_pool(read_conv_layers(path))


def _up_to_the_last_pool(conv: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {n: value for n, value in conv.items() if not n.startswith(f"{REDUCING_NAME}/")}


def _check_given(config: TrainConfig, given: Architecture) -> None:
    """That the settings of the network are those of the file that all of it comes from.

    Raises:
        ValueError: they are not.
    """
    widths = tuple(layer.features for layer in given.head[:-1])
    if widths != config.widths:
        raise ValueError(
            f"{config.start} has fc layers of {_times(widths)}, but widths says "
            f"{_times(config.widths)}; give its own, or leave start_fc out"
        )
    channels = tuple(layer.channels for layer in given.trunk.convs)
    if config.channels and channels != config.channels and not config.imitate:
        raise ValueError(
            f"{config.start} has convolutions of {_listed(channels)} channels, but channels says "
            f"{_listed(config.channels)}; leave it out, to have its own"
        )
    for name, own in (("reduce", given.reduce), ("match", given.match is not None)):
        if getattr(config, name) != own:
            raise ValueError(
                f"{config.start} has a network of {name} {_shown(own)}, but the setting says "
                f"{_shown(getattr(config, name))}; give its own, or leave start_fc out"
            )


def _check_learn(config: TrainConfig, given: Architecture) -> None:
    """That what ``learn`` names is there, and leaves something to keep features of.

    Raises:
        ValueError: it is not, or does not.
    """
    if given.frozen_layers(config.learn) == 0 and config.cache_features:
        raise ValueError(
            f"cache_features is for convolutions that do not learn, and from {config.learn} on all do; "
            "leave it out, or set learn to fc"
        )


def _shown(value: bool | int) -> str:
    return str(value).lower()


def _channels_of(tower: dict[str, np.ndarray]) -> tuple[int, ...]:
    """Of conv1 to conv5 in a file; none where it lacks one."""
    weights = [tower.get(f"conv{number}/weight") for number in range(1, 6)]
    return (
        () if any(w is None for w in weights) else tuple(len(w) for w in weights if w is not None)
    )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _times(widths: Sequence[int]) -> str:
    return " x ".join(map(str, widths))
