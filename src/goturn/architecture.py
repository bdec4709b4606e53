"""The network as data: layers, shapes and preprocessing.

This is the only file that knows a layer's size.  An :class:`Architecture` describes the paper's network
and its relatives alike: OpenCV's model, AlexNet's order of LRN and pool, narrower fc layers, a match of
the two towers' outputs beside them.  Everything else (running it, storing its weights, importing Caffe's
files) reads the description.

Sources: the paper, section 3 and Fig. 2; the authors' ``tracker.prototxt``; OpenCV's ``goturn.prototxt``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Real
from typing import Any

#: Ends the search tower's layer names when its weights are stored separately (Caffe's ``conv1_p``).
SEARCH_SUFFIX = "_p"

#: Bounds on what a description may ask for; a file that exceeds them is damaged or hostile.
MAX_LAYERS = 64
MAX_SIZE = 1 << 16
MAX_PARAMETERS = 1 << 29
MAX_ACTIVATION = 1 << 24
MAX_KERNEL = 256
MAX_COLUMNS = 1 << 26
MAX_PRODUCTS = 1 << 34
MAX_MATCH = 1 << 16

#: Standard deviation of the convolutions' initial weights (the authors' prototxt, as in CaffeNet).
CONV_INIT_STD = 0.01

#: Marks a field that was added later: descriptions have it only where it differs from its default, so
#: that those written before keep their text, which digests are taken over.
_LATER = {"later": True}


@dataclass(frozen=True)
class Conv:
    """Cross-correlation, then bias and ReLU.  Output size: floor((in + 2 pad - kernel) / stride) + 1."""

    name: str
    channels: int
    kernel: int
    stride: int = 1
    pad: int = 0
    groups: int = 1
    init_bias: float = 0.0
    init_std: float = field(default=CONV_INIT_STD, metadata=_LATER)


@dataclass(frozen=True)
class MaxPool:
    """Max over windows clipped to the image.  Output size: ceil((in - kernel) / stride) + 1 (Caffe).

    A last window that would start outside the image, as it can where stride > kernel, is dropped.
    """

    name: str
    kernel: int = 3
    stride: int = 2


@dataclass(frozen=True)
class LRN:
    """Local response normalisation across channels, x / (k + alpha / size * sum(x^2)) ^ beta."""

    name: str
    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0


@dataclass(frozen=True)
class Linear:
    """Inner product and bias; where ``relu``, also ReLU and (in training) dropout."""

    name: str
    features: int
    relu: bool = True
    dropout: float = 0.0
    init_std: float = 0.005
    init_bias: float = 1.0


TowerLayer = Conv | MaxPool | LRN


@dataclass(frozen=True)
class Match:
    """How like each cell of the target's features is to each cell of the search's; no parameters.

    For each pair of cells (x of the target, y of the search), the correlation coefficient of the two
    over channels, times ``scale``: :meth:`goturn.ops.interface.Ops.match`.  The first fc layer reads
    these numbers beside the features, so that it need not learn from examples what being alike is.
    """

    name: str = "match"
    scale: float = 10.0
    """Brings correlations, at most 1, to the size of numbers that fc layers like."""


@dataclass(frozen=True)
class Preprocessing:
    """How a frame becomes the network's input, and its output a box.  Part of a weights file."""

    input_size: int = 227
    """Side of the square crop, pixels."""
    mean: tuple[float, float, float] = (104.0, 117.0, 123.0)
    """Subtracted from the channels, 0..255, in the order of ``colour_order``; any three numbers will do,
    and are kept as a tuple of floats."""
    colour_order: str = "BGR"
    """Channel order of the input planes: "BGR" or "RGB"."""
    context_factor: float = 2.0
    """Side of the search window over that of the box."""
    output_scale: float = 10.0
    """How many units of the last layer span the search window."""

    def __post_init__(self) -> None:
        # One spelling of equal values, so that they have one description and one digest.
        if isinstance(self.mean, Iterable) and not isinstance(self.mean, (str, bytes)):
            object.__setattr__(self, "mean", tuple(_as_float(value) for value in self.mean))
        for name in ("context_factor", "output_scale"):
            object.__setattr__(self, name, _as_float(getattr(self, name)))


@dataclass(frozen=True)
class Architecture:
    """Two towers (target, search), their outputs concatenated, then fc layers to four numbers.

    Raises:
        ValueError: layers that do not fit each other, a repeated name, or a size out of bounds.
    """

    tower: tuple[TowerLayer, ...]
    head: tuple[Linear, ...]
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    shared_towers: bool = True
    """One set of tower weights serves both crops; else the search tower has its own."""
    match: Match | None = None
    """What the first fc layer reads besides both towers' features, if anything."""

    def __post_init__(self) -> None:
        _check(self)

    # -- derived shapes --------------------------------------------------------------------------

    def tower_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Output (C, H, W) of each tower layer, by name, in order."""
        shapes: dict[str, tuple[int, int, int]] = {}
        channels, size = 3, self.preprocessing.input_size
        for layer in self.tower:
            if isinstance(layer, Conv):
                padded = size + 2 * layer.pad - layer.kernel
                channels, size = layer.channels, padded // layer.stride + 1 if padded >= 0 else 0
            elif isinstance(layer, MaxPool):
                size = _pooled(size, layer.kernel, layer.stride)
            if size < 1:
                raise ValueError(f"layer {layer.name}: nothing is left of its input to work on")
            shapes[layer.name] = (channels, size, size)
        return shapes

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one tower's output (pool5 in the paper's network)."""
        return list(self.tower_shapes().values())[-1]

    @property
    def features(self) -> int:
        """Numbers in one tower's output."""
        channels, height, width = self.feature_shape
        return channels * height * width

    @property
    def cells(self) -> int:
        """Places in one tower's output: its height times its width."""
        _, height, width = self.feature_shape
        return height * width

    @property
    def fc_inputs(self) -> int:
        """Columns of the first fc layer: the target's features, the search's, then their match."""
        return 2 * self.features + (self.cells**2 if self.match else 0)

    @property
    def part_width(self) -> int:
        """Numbers that are kept of a target: its half of the first fc layer and, for a match, its
        features (:meth:`goturn.network.Network.project_target`).
        """
        return self.head[0].features + (self.features if self.match else 0)

    def frozen_layers(self, learn: str) -> int:
        """How many of a tower's layers come before the first that learns.

        Args:
            learn: "fc" (none of a tower's layers learns), "all", or the name of a convolution, from
                which on they do.

        Raises:
            ValueError: there is no such convolution.
        """
        if learn in ("fc", "all"):
            return len(self.tower) if learn == "fc" else 0
        for index, layer in enumerate(self.tower):
            if isinstance(layer, Conv) and layer.name == learn:
                return index
        raise ValueError(
            f"learn must be fc, all or one of the convolutions "
            f"{', '.join(conv.name for conv in self.convs)}; got {learn!r}"
            + ("; the setting reduce makes one" if learn == REDUCING_NAME else "")
        )

    def learning_layers(self, learn: str) -> frozenset[str]:
        """Names of the layers with parameters that learn, those of a second tower included."""
        convs = [
            layer.name
            for layer in self.tower[self.frozen_layers(learn) :]
            if isinstance(layer, Conv)
        ]
        searches = [self.search_name(name) for name in convs]
        return frozenset((*convs, *searches, *(layer.name for layer in self.head)))

    def shape_after(self, layers: int) -> tuple[int, int, int]:
        """(C, H, W) of what the first ``layers`` layers of a tower make of a crop."""
        side = self.preprocessing.input_size
        return list(self.tower_shapes().values())[layers - 1] if layers else (3, side, side)

    @property
    def convs(self) -> tuple[Conv, ...]:
        return tuple(layer for layer in self.tower if isinstance(layer, Conv))

    @property
    def reduce(self) -> int:
        """Channels of a convolution :data:`REDUCING_NAME` behind the last pool; 0 for none."""
        last = self.tower[-1]
        return last.channels if isinstance(last, Conv) and last.name == REDUCING_NAME else 0

    @property
    def trunk(self) -> Architecture:
        """Without that convolution, and without a match."""
        return replace(self, tower=self.tower[:-1] if self.reduce else self.tower, match=None)

    @property
    def pool_lrn_order(self) -> str:
        """Which comes first in the tower: "pool_lrn" (CaffeNet), "lrn_pool" (AlexNet) or "none"."""
        for layer in self.tower:
            if isinstance(layer, MaxPool):
                return "pool_lrn" if any(isinstance(other, LRN) for other in self.tower) else "none"
            if isinstance(layer, LRN):
                return "lrn_pool"
        return "none"

    def search_name(self, layer: str) -> str:
        """The name under which the search tower's weights of ``layer`` are stored."""
        return layer if self.shared_towers else layer + SEARCH_SUFFIX

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor, by name ("conv1/weight"), in the network's order.

        Caffe's layouts: conv weight (out, in / groups, k, k), linear weight (out, in), bias (out,).
        fc6 reads the target's features first, then the search's, each in (C, H, W) order, then their
        match, the target's cell before the search's.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for suffix in ("",) if self.shared_towers else ("", SEARCH_SUFFIX):
            channels = 3
            for conv in self.convs:
                fan_in = channels // conv.groups
                shapes[f"{conv.name}{suffix}/weight"] = (
                    conv.channels,
                    fan_in,
                    conv.kernel,
                    conv.kernel,
                )
                shapes[f"{conv.name}{suffix}/bias"] = (conv.channels,)
                channels = conv.channels
        columns = self.fc_inputs
        for linear in self.head:
            shapes[f"{linear.name}/weight"] = (linear.features, columns)
            shapes[f"{linear.name}/bias"] = (linear.features,)
            columns = linear.features
        return shapes

    @property
    def parameter_count(self) -> int:
        """Numbers in all tensors."""
        total = 0
        for shape in self.parameter_shapes().values():
            count = 1
            for extent in shape:
                count *= extent
            total += count
        return total

    # -- relatives -------------------------------------------------------------------------------

    def with_separate_towers(self) -> Architecture:
        """The same network with a second set of tower weights."""
        return replace(self, shared_towers=False)

    # -- as text ---------------------------------------------------------------------------------

    def to_json(self) -> str:
        """The description as JSON text; :meth:`from_json` reads it back.

        Equal architectures have the same text, however their numbers were spelt (1, 1.0): it is part
        of the digest of weights.
        """
        kinds = {Conv: "conv", MaxPool: "max_pool", LRN: "lrn"}
        described: dict[str, Any] = {
            "tower": [{"kind": kinds[type(layer)], **_entry(layer)} for layer in self.tower],
            "head": [_entry(layer) for layer in self.head],
            "preprocessing": asdict(self.preprocessing),
            "shared_towers": self.shared_towers,
        }
        if self.match is not None:  # left out where there is none: it was added later
            described["match"] = _entry(self.match)
        return json.dumps(described)

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """The architecture that ``text`` describes.

        Raises:
            ValueError: not JSON, unknown or missing keys, wrong types, or layers that do not fit.
        """
        kinds: dict[str, type] = {"conv": Conv, "max_pool": MaxPool, "lrn": LRN}
        try:
            data = json.loads(text)
            required = {"tower", "head", "preprocessing", "shared_towers"}
            if not isinstance(data, dict) or set(data) - {"match"} != required:
                raise ValueError(
                    "expected the keys tower, head, preprocessing, shared_towers and, of networks "
                    "with a match, match"
                )
            tower = []
            for entry in data["tower"]:
                fields = dict(entry)
                kind = kinds.get(fields.pop("kind"))
                if kind is None:
                    raise ValueError("a tower layer of unknown kind")
                tower.append(kind(**fields))
            preprocessing = dict(data["preprocessing"])
            preprocessing["mean"] = tuple(preprocessing["mean"])
            return cls(
                tower=tuple(tower),
                head=tuple(Linear(**entry) for entry in data["head"]),
                preprocessing=Preprocessing(**preprocessing),
                shared_towers=data["shared_towers"],
                match=Match(**data["match"]) if "match" in data else None,
            )
        except (TypeError, KeyError, AttributeError, RecursionError, ValueError) as error:
            raise ValueError(f"not a description of a network: {error}") from error


def _as_float(value: Any) -> Any:
    """A number as a float; anything else, and what no float can hold, as it is: it is refused later."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return value
    try:
        return float(value) + 0.0  # -0.0 becomes 0.0, its equal
    except OverflowError:
        return value


def _entry(layer: TowerLayer | Linear | Match) -> dict[str, Any]:
    """A layer's fields, as they stand in the description."""
    return {
        item.name: _as_float(getattr(layer, item.name))
        if item.type == "float"
        else getattr(layer, item.name)
        for item in fields(layer)
        if not item.metadata.get("later") or getattr(layer, item.name) != item.default
    }


def _pooled(size: int, kernel: int, stride: int) -> int:
    """Windows along one axis in Caffe's ceil mode; one that would start outside is dropped."""
    if size < kernel:
        return 0
    count = -(-(size - kernel) // stride) + 1
    return count - 1 if (count - 1) * stride >= size else count


def _check(architecture: Architecture) -> None:
    """Raises ValueError where the description is not a network that can be run."""
    layers: Sequence[Any] = (*architecture.tower, *architecture.head)
    if architecture.match is not None:
        if not isinstance(architecture.match, Match):
            raise ValueError("match must be a Match, or None")
        layers = (*layers, architecture.match)
    if not architecture.tower or not architecture.head or len(layers) > MAX_LAYERS:
        raise ValueError(f"a network has a tower, a head and at most {MAX_LAYERS} layers")
    names = [layer.name for layer in layers]
    for name in names:
        if not isinstance(name, str) or not name.isidentifier() or len(name) > MAX_LAYERS:
            raise ValueError(f"layer name {str(name)[:80]!r} is not a short identifier")
    if len(set(names)) != len(names):
        raise ValueError(f"layer names must differ; got {', '.join(names)}")
    if isinstance(architecture.tower[-1], LRN) or not architecture.convs:
        raise ValueError("a tower has convolutions and does not end in LRN")
    if not isinstance(architecture.shared_towers, bool):
        raise ValueError("shared_towers must be true or false")

    for layer in layers:
        for key, value in asdict(layer).items():
            _check_value(f"{layer.name}.{key}", key, value)
    p = architecture.preprocessing
    for key, value in asdict(p).items():
        for item in value if key == "mean" else (value,):
            _check_value(key, key, item)
    if len(p.mean) != 3 or p.colour_order not in ("BGR", "RGB"):
        raise ValueError("preprocessing needs three means and the colour order BGR or RGB")

    channels = 3
    for conv in architecture.convs:
        if conv.kernel > MAX_KERNEL or conv.pad >= conv.kernel:
            raise ValueError(
                f"{conv.name}: kernel {conv.kernel} with pad {conv.pad} is beyond any use; "
                f"kernels go to {MAX_KERNEL}, pads stay below the kernel"
            )
        if channels % conv.groups or conv.channels % conv.groups:
            raise ValueError(
                f"{conv.name}: {channels} -> {conv.channels} channels do not divide into "
                f"{conv.groups} groups"
            )
        channels = conv.channels
    if architecture.head[-1].features != 4 or architecture.head[-1].relu:
        raise ValueError("the last layer must give 4 numbers without ReLU")
    if 3 * p.input_size**2 > MAX_ACTIVATION:
        raise ValueError(f"an input of {p.input_size} pixels a side is beyond any use")
    for name, (depth, height, width) in architecture.tower_shapes().items():
        if depth * height * width > MAX_ACTIVATION:
            raise ValueError(f"{name}: an output of {depth}x{height}x{width} is beyond any use")
    _check_work(architecture)
    if architecture.match is not None and architecture.cells**2 > MAX_MATCH:
        raise ValueError(
            f"a match of {architecture.cells} cells with as many exceeds the limit of {MAX_MATCH} "
            "numbers"
        )
    if architecture.parameter_count > MAX_PARAMETERS:
        raise ValueError(
            f"{architecture.parameter_count} parameters exceed the limit of {MAX_PARAMETERS}"
        )


def _check_work(architecture: Architecture) -> None:
    """Refuses convolutions that few parameters make large: in memory as columns, or in products."""
    shapes = architecture.tower_shapes()
    channels, total = 3, 0
    for conv in architecture.convs:
        _, height, width = shapes[conv.name]
        columns = channels * conv.kernel**2 * height * width
        total += columns * conv.channels // conv.groups
        if columns > MAX_COLUMNS or total > MAX_PRODUCTS:
            raise ValueError(
                f"{conv.name}: a convolution of {columns} inputs per channel and image "
                f"({total} products so far) is beyond any use"
            )
        channels = conv.channels


_INTEGERS = {"channels", "kernel", "stride", "groups", "size", "features", "input_size"}
_POSITIVE = {"context_factor", "output_scale", "k", "scale"}


def _check_value(label: str, key: str, value: object) -> None:
    if key in ("name", "colour_order"):
        return
    if key == "relu":
        valid = isinstance(value, bool)
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        valid = False
    elif key in _INTEGERS or key == "pad":
        valid = isinstance(value, int) and (0 if key == "pad" else 1) <= value <= MAX_SIZE
    elif key == "dropout":
        valid = 0 <= value < 1
    else:
        valid = abs(value) <= 1e6 and (key not in _POSITIVE or value > 0)
    if key == "size" and isinstance(value, int) and value % 2 == 0:
        valid = False
    if not valid:
        raise ValueError(f"{label} has an impossible value: {str(value)[:80]}")


# -- the known networks --------------------------------------------------------------------------


#: Channels of CaffeNet's five convolutions.
CAFFENET_CHANNELS = (96, 256, 384, 384, 256)


def caffenet_tower(
    pool_first: bool = True, channels: Sequence[int] = CAFFENET_CHANNELS
) -> tuple[TowerLayer, ...]:
    """conv1..pool5 of CaffeNet; with ``pool_first=False`` AlexNet's order, LRN before pool.

    The weights of both have the same shapes, so the order must be known, not guessed.  ``channels``:
    of the five convolutions, for a narrower one.
    """
    if len(channels) != len(CAFFENET_CHANNELS):
        raise ValueError(f"the tower has five convolutions; got channels {tuple(channels)}")
    conv1, conv2, conv3, conv4, conv5 = channels

    def stage(index: int) -> tuple[TowerLayer, ...]:
        pool, lrn = MaxPool(f"pool{index}"), LRN(f"norm{index}")
        return (pool, lrn) if pool_first else (lrn, pool)

    return (
        Conv("conv1", conv1, kernel=11, stride=4),
        *stage(1),
        Conv("conv2", conv2, kernel=5, pad=2, groups=2, init_bias=1.0),
        *stage(2),
        Conv("conv3", conv3, kernel=3, pad=1),
        Conv("conv4", conv4, kernel=3, pad=1, groups=2, init_bias=1.0),
        Conv("conv5", conv5, kernel=3, pad=1, groups=2, init_bias=1.0),
        MaxPool("pool5"),
    )


#: fc layer names by how many there are: the authors' four, OpenCV's three.
HEAD_NAMES: Mapping[int, tuple[str, ...]] = {
    2: ("fc6", "fc8"),
    3: ("fc6", "fc7", "fc8"),
    4: ("fc6", "fc7", "fc7b", "fc8"),
}


def fc_head(widths: Sequence[int]) -> tuple[Linear, ...]:
    """fc6.. of the given widths, each with ReLU and dropout 0.5, then fc8 to four numbers."""
    names = HEAD_NAMES.get(len(widths) + 1)
    if names is None:
        raise ValueError(f"one to three hidden fc layers are known; got {len(widths)}")
    hidden = [Linear(name, width, dropout=0.5) for name, width in zip(names, widths, strict=False)]
    return (*hidden, Linear(names[-1], 4, relu=False, init_std=0.01, init_bias=0.0))


#: The convolution that :func:`goturn` may put behind pool5.
REDUCING_NAME = "conv6"


def goturn(
    widths: Sequence[int] = (4096, 4096, 4096),
    pool_first: bool = True,
    *,
    reduce: int = 0,
    match: bool = False,
    channels: Sequence[int] = CAFFENET_CHANNELS,
) -> Architecture:
    """The paper's network, or a relative.

    Args:
        widths: of the hidden fc layers.
        pool_first: see :func:`caffenet_tower`.
        reduce: channels of a 1x1 convolution conv6 behind pool5, 0 for none.  fc6 then has so many
            fewer weights, and needs so many fewer examples.
        match: whether fc6 also reads the :class:`Match` of the two towers' outputs.
        channels: see :func:`caffenet_tower`.
    """
    tower, head = caffenet_tower(pool_first, channels), fc_head(widths)
    matched = Match() if match else None
    if not reduce:
        return Architecture(tower=tower, head=head, match=matched)
    # Small weights to begin with, sqrt(1 / (3 inputs)): with those of He et al., 2.4 times as large, it
    # learnt its examples by heart.  And the values of a pretrained CaffeNet's pool5 are about twenty
    # times as large as fc layers like: conv6 divides by that.
    conv6 = Conv(REDUCING_NAME, reduce, kernel=1, init_std=0.05 * math.sqrt(1 / (3 * channels[-1])))
    plain = Architecture(tower=(*tower, conv6), head=head, match=matched)
    # And the fc layers as well: what they read no longer is as large as the authors' fillers are for.
    columns, hidden = plain.fc_inputs, []
    for layer in head[:-1]:
        hidden.append(replace(layer, init_std=math.sqrt(1 / (3 * columns)), init_bias=0.0))
        columns = layer.features
    return replace(plain, head=(*hidden, head[-1]))


def opencv_goturn(widths: Sequence[int] = (4096, 4096)) -> Architecture:
    """OpenCV's model: two hidden fc layers, towers of different weights, mean 128, pixel output.

    Its prototxt ends in a layer that multiplies fc8 by ten to give pixels of the 227-pixel crop, so
    22.7 of fc8's units span the window.
    """
    return Architecture(
        tower=caffenet_tower(),
        head=fc_head(widths),
        preprocessing=Preprocessing(mean=(128.0, 128.0, 128.0), output_scale=22.7),
        shared_towers=False,
    )
