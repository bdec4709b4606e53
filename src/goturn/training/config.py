"""What a training run is: every setting, with the paper's value as its default, and its TOML file.

Settings that two runs share and the trajectory of weights depends on are what :meth:`TrainConfig.digest`
is of; how fast a run goes, or how often it reports, is not among them.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from goturn.target_policy import TargetPolicy
from goturn.training.motion import MODELS
from goturn.training.variety import LIMITS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Iterations and seeds whose dropout keys are distinct (:func:`goturn.training.solver.dropout_key`).
ITERATION_BITS = 26
MAX_ITERATIONS = 2**ITERATION_BITS

#: What an item of training is drawn from.
SOURCES = ("both", "videos", "images")

#: How learning rates fall: Caffe's steps, or smoothly and once.
SCHEDULES = ("step", "cosine")

#: Momentum SGD as Caffe has it, and Adam with decoupled decay, whose rates are tens to thousands of times
#: as large.
SOLVERS = ("sgd", "adam")

#: Which layers learn, besides a convolution and those behind it.
LEARNERS = ("fc", "all")


#: Settings that are lists of whole numbers.
NUMBERS = ("widths", "channels")


def _setting(default: Any, text: str, *, free: bool = False, later: bool = False) -> Any:
    """A field with what it means; ``free`` where the weights that come out do not depend on it.

    ``later`` where runs were begun before there was such a setting: their digest must stay.
    """
    return field(default=default, metadata={"help": text, "free": free, "later": later})


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run; see each field's ``help``.

    Raises:
        ValueError: a value that is out of range, or of another type.
    """

    # -- data
    videos: tuple[str, ...] = _setting((), "data sets with labelled videos, PATH or KIND:PATH")
    images: tuple[str, ...] = _setting((), "data sets with labelled photographs, PATH or KIND:PATH")
    validation: tuple[str, ...] = _setting((), "data sets whose videos are tracked to choose by")
    sources: str = _setting("both", f"what to train on: {', '.join(SOURCES)}")
    max_videos: int = _setting(0, "train on so many of the videos, 0 for all")
    largest_part: float = _setting(
        0.66,
        "leave out photographs' boxes larger than this part of the image, in width or height",
    )

    # -- examples (facts 3.1)
    motion: str = _setting("laplace", f"how search windows are drawn: {', '.join(MODELS)}")
    lambda_shift: float = _setting(5.0, "1 / b_x of the Laplace distribution of shifts, box sizes")
    lambda_scale: float = _setting(15.0, "1 / b_s of that of changes of size")
    scale_limit: float = _setting(0.4, "largest change of size")
    drawn: int = _setting(10, "examples drawn for each true one (the paper's k3)")
    mirror: float = _setting(0.0, "part of the items whose pictures are mirrored")
    colour: float = _setting(0.0, "largest relative change of brightness and contrast")
    blur: float = _setting(0.0, "part of the items whose current frame is blurred")
    occluders: float = _setting(0.0, "part of the items whose object something covers in part")
    turn: float = _setting(0.0, "largest turn of a photograph between target and search, degrees")
    regions: float = _setting(0.0, "part of photographs' items whose object is any region")
    stills: float = _setting(0.0, "part of photographs' items drawn from single video frames")
    gap: int = _setting(1, "the target lies up to so many labelled frames back")
    backwards: float = _setting(0.0, "part of videos' items played backwards")
    target_error: float = _setting(
        0.0, "errors of the target's box, as a part of the motion model's changes"
    )
    starts: float = _setting(
        0.0,
        "part of the items whose target is right, and any number of labelled frames back",
        later=True,
    )
    batch: int = _setting(50, "examples an iteration")
    seed: int = _setting(0, "chooses items, windows, dropout and initial weights")

    # -- network
    start: str = _setting("", "weights to start from: a pretrained AlexNet, or any weights file")
    start_fc: bool = _setting(False, "take the fc layers from there too: train on")
    widths: tuple[int, ...] = _setting((4096, 4096, 4096), "hidden fc layers; one to three")
    pool_first: bool = _setting(True, "CaffeNet's order, pool before LRN; false is AlexNet's")
    channels: tuple[int, ...] = _setting(
        (),
        "channels of conv1 to conv5; if not given, as in start's file, or the paper's",
        later=True,
    )
    imitate: bool = _setting(
        False,
        "let convolutions of fewer channels learn to give the features (distillation) of the file that "
        "start names, and nothing else; with start_fc that file's other layers stay as they are",
        later=True,
    )
    reduce: int = _setting(
        0, "channels of a 1x1 convolution behind the last pool, 0 for none", later=True
    )
    match: bool = _setting(
        False, "let the first fc layer read how like cells of target and search are", later=True
    )
    target: str = _setting(
        "",
        "how validation, and who uses the weights, keeps the target: SHARE,FRAMES or paper; if empty, as "
        "the file asks that fc layers come from, otherwise the paper's way",
        later=True,
    )
    dropout: float = _setting(0.5, "part of a hidden fc layer's values dropped")
    previous_frame: bool = _setting(True, "let the network see the previous frame")

    # -- solver (facts 3.3)
    loss: str = _setting("l1", "l1 or l2, summed over the batch")
    learn: str = _setting(
        "fc",
        "layers that learn: fc, all (convolutions too), or the name of a convolution, from which on",
    )
    solver: str = _setting("sgd", f"how weights are updated: {', '.join(SOLVERS)}", later=True)
    rate: float = _setting(1e-5, "learning rate of fc weights; of biases twice as much")
    conv_rate: float = _setting(1e-7, "learning rate of convolutions, where they learn")
    momentum: float = _setting(0.9, "of the velocity")
    squares: float = _setting(
        0.999, "how much stays of Adam's mean of squared gradients", later=True
    )
    decay: float = _setting(5e-4, "weight decay, of weights alone")
    schedule: str = _setting("step", f"how rates fall: {', '.join(SCHEDULES)}")
    step_size: int = _setting(100_000, "iterations after which rates fall, or in which they do")
    gamma: float = _setting(0.1, "to what part of themselves they fall")
    average: float = _setting(
        0.0,
        "average the weights, for validation and the files that come out: those of the iteration "
        "before count so much; 0 for no average",
    )
    iterations: int = _setting(500_000, "batches to train on", free=True)

    # -- the run
    cache_features: int = _setting(
        0,
        "compute features of so many examples once, and train what learns on them; 0 for fresh ones",
    )
    features_folder: str = _setting(
        "", "where they are kept, for runs to share; the run's own folder if empty", free=True
    )
    device: str = _setting("auto", "auto, cpu, cuda, cuda:N or reference", free=True)
    log_every: int = _setting(20, "iterations a row of metrics.csv stands for")
    validate_every: int = _setting(
        10_000, "iterations between two trackings of the validation videos"
    )
    checkpoint_every: int = _setting(1000, "iterations between two checkpoints", free=True)
    keep: int = _setting(2, "how many checkpoints stay", free=True)
    workers: int = _setting(1, "threads that decode and crop", free=True)
    memory: int = _setting(
        0, "MiB of decoded frames kept, 0 for a quarter of what is free, at most 2048", free=True
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, _typed(each, getattr(self, each.name)))
        _check(self)

    @classmethod
    def from_toml(cls, path: Path, changes: Mapping[str, Any] | None = None) -> TrainConfig:
        """The settings in a file, with ``changes`` to them.

        Raises:
            OSError: the file cannot be read.
            ValueError: not TOML, a key that there is not, or a value that will not do.
        """
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a TOML file ({error})") from error
        known = [each.name for each in fields(cls)]
        if tables := [key for key, value in settings.items() if isinstance(value, dict)]:
            raise ValueError(
                f"{path} has several stages of training ({', '.join(tables)}), as make_weights.py "
                "takes them; a run has settings alone"
            )
        unknown = [key for key in settings if key not in known]
        if unknown:
            raise ValueError(
                f"{path}: there is no setting {', '.join(unknown)}; there are {', '.join(known)}"
            )
        try:
            return cls(**(settings | dict(changes or {})))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def to_toml(self) -> str:
        """The settings as a TOML file, each with what it means."""
        lines = []
        for each in fields(self):
            lines.append(f"# {each.metadata['help']}")
            lines.append(f"{each.name} = {_toml(getattr(self, each.name))}\n")
        return "\n".join(lines)

    def unused_later(self) -> set[str]:
        """The settings that were added later and are at their defaults: as if there were none."""
        return {
            each.name
            for each in fields(self)
            if each.metadata["later"] and getattr(self, each.name) == each.default
        }

    @property
    def tracks(self) -> bool:
        """Whether what comes out can track: not where features are imitated without fc layers."""
        return self.start_fc or not self.imitate

    def digest(self) -> str:
        """SHA-256 of the settings that decide which weights come out."""
        settings, unused = asdict(self), self.unused_later()
        bound = {
            each.name: settings[each.name]
            for each in fields(self)
            if not each.metadata["free"] and each.name not in unused
        }
        return hashlib.sha256(json.dumps(bound, sort_keys=True).encode()).hexdigest()


def _typed(each: Any, value: Any) -> Any:
    """``value`` as the type of the field's default; lists from TOML become tuples."""
    kind = type(each.default)
    if kind is tuple and isinstance(value, (list, tuple)):
        item = int if each.name in NUMBERS else str
        if all(isinstance(v, item) and not isinstance(v, bool) for v in value):
            return tuple(value)
    elif kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
    elif type(value) is kind:
        return value
    names = {
        tuple: "a list",
        float: "a finite number",
        int: "a whole number",
        bool: "true or false",
    }
    texts = " of texts" if kind is tuple else ""
    of = " of whole numbers" if each.name in NUMBERS else texts
    raise ValueError(f"{each.name} must be {names.get(kind, 'a text')}{of}; got {value!r}")


def _check(config: TrainConfig) -> None:
    for name, choices in (
        ("sources", SOURCES),
        ("motion", MODELS),
        ("loss", ("l1", "l2")),
        ("solver", SOLVERS),
        ("schedule", SCHEDULES),
    ):
        if getattr(config, name) not in choices:
            raise ValueError(
                f"{name} must be one of {', '.join(choices)}; got {getattr(config, name)!r}"
            )
    least = {
        **dict.fromkeys(("batch", "step_size", "log_every", "validate_every"), 1),
        **dict.fromkeys(("checkpoint_every", "keep", "workers"), 1),
        **dict.fromkeys(
            ("max_videos", "drawn", "seed", "iterations", "cache_features", "memory", "reduce"), 0
        ),
    }
    for name, low in least.items():
        if getattr(config, name) < low:
            raise ValueError(f"{name} must be at least {low}; got {getattr(config, name)}")
    if config.iterations > MAX_ITERATIONS:
        raise ValueError(f"iterations must be at most {MAX_ITERATIONS}; got {config.iterations}")
    if config.seed >= 2**32:
        raise ValueError(f"seed must be below 2**32; got {config.seed}")
    ranges: dict[str, tuple[float, float]] = {
        **LIMITS,
        "largest_part": (0, 1),
        "dropout": (0, 0.99),
        "momentum": (0, 0.9999),
        "squares": (0.5, 0.999999),
        "average": (0, 0.999999),
        "gamma": (0, 1),
        "rate": (0, math.inf),
        "conv_rate": (0, math.inf),
        "decay": (0, math.inf),
    }
    for name, (lowest, highest) in ranges.items():
        if not lowest <= getattr(config, name) <= highest:
            raise ValueError(f"{name} must be in {lowest}..{highest}; got {getattr(config, name)}")
    if config.start_fc and not config.start:
        raise ValueError("start_fc takes fc layers from the file that start names; name one")
    if not 1 <= len(config.widths) <= 3 or min(config.widths) < 1:
        raise ValueError(f"widths must be one to three numbers from 1 on; got {config.widths}")
    if config.channels and (len(config.channels) != 5 or min(config.channels) < 1):
        raise ValueError(f"channels must be five numbers from 1 on; got {config.channels}")
    if config.imitate:
        _check_imitation(config)
    if config.target:
        try:
            TargetPolicy.parse(config.target)
        except ValueError as error:
            raise ValueError(f"target: {error}") from error
    if not config.learn.isidentifier():
        raise ValueError(
            f"learn must be {', '.join(LEARNERS)} or the name of a convolution; got {config.learn!r}"
        )
    if not config.previous_frame and config.learn not in LEARNERS:
        raise ValueError(
            f"without the previous frame (previous_frame), learn must be {' or '.join(LEARNERS)}; got "
            f"{config.learn!r}"
        )
    if config.cache_features and config.learn == "all":
        raise ValueError(
            "cache_features is for convolutions that do not learn: their features would change; "
            "leave it out, or set learn to fc"
        )
    if config.log_every > 1 and config.validate_every % config.log_every:
        raise ValueError(
            f"validate_every ({config.validate_every}) must be a multiple of log_every "
            f"({config.log_every}), so that each row of metrics stands for as many iterations"
        )


def _check_imitation(config: TrainConfig) -> None:
    if not config.start:
        raise ValueError("imitate learns from the tower in the file that start names; name one")
    if config.learn == "fc":
        raise ValueError("imitate is for convolutions: learn must be all, or the first that learns")
    if not config.channels:
        raise ValueError("imitate makes a tower narrower: say how narrow, with channels")
    # With the file's fc layers, these are the file's, too.
    for name in ("cache_features", *(() if config.start_fc else ("match", "reduce"))):
        if getattr(config, name):
            kept = ", or keep the file's fc layers (start_fc)" if name != "cache_features" else ""
            raise ValueError(f"imitate is for convolutions alone; leave {name} out{kept}")
    if not config.previous_frame:
        raise ValueError("imitate is for convolutions alone; leave previous_frame as it is")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # TOML's basic strings escape as JSON's do
    return repr(value)
