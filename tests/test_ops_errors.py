"""What does not fit is refused, by every backend, in one sentence that says what was given."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from checks import BACKENDS, load_backend
from goturn.ops.reference import ReferenceOps

REFERENCE = ReferenceOps()


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


_MATCH: dict[str, Any] = {"cells": 2, "scale": 10.0}
_NORM: dict[str, Any] = {"size": 5, "alpha": 1e-4, "beta": 0.75}
_RATES = {"rate": 0.1, "momentum": 0.9, "decay": 0.0}
_ADAM: dict[str, Any] = {**_RATES, "squares": 0.999, "iteration": 1}

#: (op, arguments, parameters, the reference's sentence)
MISFITS: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    (
        "conv2d",
        (zeros(1, 96, 9, 9), zeros(256, 48, 5, 5), zeros(256)),
        {},
        "conv2d: weight has 48 input channels per group, input has 96 / 1 group = 96; "
        "did you pass groups=2?",
    ),
    (
        "conv2d",
        (zeros(1, 5, 9, 9), zeros(4, 2, 3, 3), zeros(4)),
        {"groups": 2},
        "conv2d: weight has 2 input channels per group, input has 5 / 2 groups = 2.5",
    ),
    (
        "conv2d",
        (zeros(1, 4, 9, 9), zeros(5, 2, 3, 3), zeros(5)),
        {"groups": 2},
        "conv2d: 5 output channels do not divide into 2 groups",
    ),
    (
        "conv2d",
        (zeros(1, 2, 9, 9), zeros(4, 2, 3, 3), zeros(3)),
        {},
        "conv2d: bias has shape (3,), weight (4, 2, 3, 3) needs (4,)",
    ),
    (
        "conv2d",
        (zeros(2, 9, 9), zeros(4, 2, 3, 3), zeros(4)),
        {},
        "conv2d: x (N, C, H, W) and weight (K, C / groups, R, S) have 4 dimensions each; "
        "got shapes (2, 9, 9) and (4, 2, 3, 3)",
    ),
    (
        "conv2d",
        (zeros(1, 2, 4, 9), zeros(4, 2, 7, 7), zeros(4)),
        {"pad": 1},
        "conv2d: a kernel of 7x7 does not fit into an input of 4x9 with pad 1",
    ),
    (
        "conv2d",
        (zeros(1, 2, 4, 9), zeros(4, 2, 3, 3), zeros(4)),
        {"stride": 0},
        "conv2d: stride and groups must be >= 1 and pad >= 0; got stride 0, groups 1, pad 0",
    ),
    (
        "conv2d_backward",
        (zeros(1, 4, 7, 8), zeros(1, 2, 9, 9), zeros(4, 2, 3, 3)),
        {},
        "conv2d_backward: dy has shape (1, 4, 7, 8), the output of x (1, 2, 9, 9) and weight "
        "(4, 2, 3, 3) has (1, 4, 7, 7)",
    ),
    (
        "max_pool",
        (zeros(1, 2, 2, 9),),
        {"kernel": 3, "stride": 2},
        "max_pool: a kernel of 3x3 does not fit into an input of 2x9 with pad 0",
    ),
    (
        "max_pool",
        (zeros(1, 2, 9, 9),),
        {"kernel": 3, "stride": 2, "pad": 3},
        "max_pool: kernel and stride must be >= 1 and 0 <= pad < kernel; got kernel 3, stride 2, "
        "pad 3",
    ),
    (
        "max_pool",
        (zeros(2, 9, 9),),
        {"kernel": 3, "stride": 2},
        "max_pool: x (N, C, H, W) has 4 dimensions; got shape (2, 9, 9)",
    ),
    (
        "max_pool_backward",
        (zeros(1, 2, 3, 4), zeros(1, 2, 9, 9)),
        {"kernel": 3, "stride": 2},
        "max_pool_backward: dy has shape (1, 2, 3, 4), the output of x (1, 2, 9, 9) has "
        "(1, 2, 4, 4)",
    ),
    (
        "lrn",
        (zeros(9, 9),),
        _NORM,
        "lrn: x (N, C, H, W) has 4 dimensions; got shape (9, 9)",
    ),
    (
        "lrn",
        (zeros(1, 2, 9, 9),),
        {**_NORM, "size": 4},
        "lrn: size must be odd and >= 1; got 4",
    ),
    (
        "lrn_backward",
        (zeros(1, 2, 9, 8), zeros(1, 2, 9, 9)),
        _NORM,
        "lrn_backward: arrays must have one shape; got dy (1, 2, 9, 8), x (1, 2, 9, 9)",
    ),
    (
        "match",
        (zeros(2, 6), zeros(2, 8)),
        _MATCH,
        "match: targets and searches (N, C * cells) must be matrices of one shape; got (2, 6) and "
        "(2, 8)",
    ),
    (
        "match",
        (zeros(2, 7), zeros(2, 7)),
        _MATCH,
        "match: 7 features are not some channels of 2 cells each",
    ),
    (
        "match",
        (zeros(2, 6), zeros(2, 6)),
        {**_MATCH, "cells": 0},
        "match: cells must be 1 to 65536; got 0",
    ),
    (
        "match",
        (zeros(2, 6), zeros(2, 6)),
        {**_MATCH, "scale": math.inf},
        "match: scale must be finite; got inf",
    ),
    (
        "match_backward",
        (zeros(2, 3), zeros(2, 6), zeros(2, 6)),
        _MATCH,
        "match_backward: dy has shape (2, 3), the output of targets (2, 6) with 2 cells has (2, 4)",
    ),
    (
        "linear",
        (zeros(2, 5), zeros(3, 6), zeros(3)),
        {},
        "linear: x (N, in) and weight (out, in) must agree in their second dimension; "
        "got shapes (2, 5) and (3, 6)",
    ),
    (
        "linear",
        (zeros(2, 6), zeros(3, 6), zeros(1)),
        {},
        "linear: bias has shape (1,), x (2, 6) and weight (3, 6) need (3,) or (2, 3)",
    ),
    (
        "linear_backward",
        (zeros(2, 4), zeros(2, 6), zeros(3, 6)),
        {},
        "linear_backward: dy has shape (2, 4), the output of x (2, 6) and weight (3, 6) has (2, 3)",
    ),
    (
        "relu_backward",
        (zeros(2, 4), zeros(1, 4)),
        {},
        "relu_backward: arrays must have one shape; got dy (2, 4), y (1, 4)",
    ),
    (
        "dropout",
        (zeros(2, 4), np.ones((4,), np.uint8)),
        {"ratio": 0.5},
        "dropout: arrays must have one shape; got mask (4,), x (2, 4)",
    ),
    ("dropout", (zeros(4), np.ones((4,), np.uint8)), {"ratio": 1.0}, "dropout: ratio must be in"),
    (
        "l1_loss",
        (zeros(2, 4), zeros(1, 4)),
        {},
        "l1_loss: arrays must have one shape; got prediction (2, 4), label (1, 4)",
    ),
    (
        "l2_loss",
        (zeros(2, 4), zeros(8)),
        {},
        "l2_loss: arrays must have one shape; got prediction (2, 4), label (8,)",
    ),
    (
        "sgd_update",
        (zeros(2, 4), zeros(4), zeros(2, 4)),
        _RATES,
        "sgd_update: arrays must have one shape; got weight (2, 4), gradient (4,), velocity (2, 4)",
    ),
    *(
        (
            "adam_update",
            tuple(zeros(4) if index == odd else zeros(2, 4) for index in range(4)),
            _ADAM,
            "adam_update: arrays must have one shape; got ",
        )
        for odd in range(4)
    ),
    *(
        ("adam_update", (zeros(4),) * 4, {**_ADAM, name: value}, "adam_update: iteration must be")
        for name, value in (
            ("iteration", 0),
            ("momentum", 1.0),
            ("momentum", -0.1),
            ("squares", 1.0),
            ("squares", math.nan),
        )
    ),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("op", "arguments", "parameters", "sentence"),
    MISFITS,
    ids=[f"{op}-{index}" for index, (op, *_) in enumerate(MISFITS)],
)
def test_shapes_that_do_not_fit(
    backend: str, op: str, arguments: tuple[Any, ...], parameters: dict[str, Any], sentence: str
) -> None:
    """Every backend refuses them and names the op; the reference's words are these."""
    ops = load_backend(backend)
    devices = [ops.from_numpy(argument.copy()) for argument in arguments]
    with pytest.raises(ValueError, match=f"^{op}: ") as caught:
        getattr(ops, op)(*devices, **parameters)
    assert "\n" not in str(caught.value)
    if backend == "reference":
        assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("ratio", "key", "sentence"),
    [
        (1.0, 0, "dropout_mask: ratio must be in [0, 1); got 1.0"),
        (float("nan"), 0, "dropout_mask: ratio must be in [0, 1); got nan"),
        (0.5, -1, "dropout_mask: key must be in 0 .. 2**64 - 1; got -1"),
        (0.5, 2**64, "dropout_mask: key must be in 0 .. 2**64 - 1; got 18446744073709551616"),
    ],
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_mask_refuses_what_it_cannot_draw(
    backend: str, ratio: float, key: int, sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence) if backend == "reference" else "."):
        load_backend(backend).dropout_mask((4,), ratio=ratio, key=key)


def test_mixed_and_whole_number_types_are_refused() -> None:
    sentence = (
        "linear: arrays must be all float32 or all float64; got x float32, weight float64; "
        "convert with astype"
    )
    with pytest.raises(TypeError, match=re.escape(sentence)):
        REFERENCE.linear(zeros(2, 3), np.zeros((4, 3)), None)
    with pytest.raises(TypeError, match="relu: arrays must be all float32"):
        REFERENCE.relu(np.zeros(3, np.int64))


def test_an_update_of_a_strided_view_is_refused() -> None:
    """Reshaping it would update a copy and leave the weight as it was."""
    with pytest.raises(ValueError, match="changed in place and must be C-contiguous"):
        REFERENCE.sgd_update(zeros(4, 4)[:, ::2], zeros(4, 2), zeros(4, 2), **_RATES)
    with pytest.raises(ValueError, match="changed in place and must be C-contiguous"):
        REFERENCE.adam_update(zeros(4, 2), zeros(4, 2), zeros(4, 2), zeros(4, 4)[:, ::2], **_ADAM)
