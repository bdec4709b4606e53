"""The solver: which parameter learns how fast, and when.

Caffe's, as the authors set it (facts 3.3), or Adam with the same multipliers and schedules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from goturn.architecture import Architecture
from goturn.training.config import ITERATION_BITS, TrainConfig
from goturn.training.step import Rates

#: The authors' multipliers are 10 for fc weights and 20 for their biases.
BIAS_FACTOR = 2.0


def rates_at(config: TrainConfig, architecture: Architecture, iteration: int) -> dict[str, Rates]:
    """Rates of every parameter that learns, at ``iteration`` from 0.

    Biases learn twice as fast as their weights, and do not decay.
    """
    factor = rate_factor(config, iteration)
    head = {layer.name for layer in architecture.head}
    learning = architecture.learning_layers(config.learn)
    if config.imitate:
        learning &= {layer.name for layer in architecture.trunk.convs}
    rates = {}
    for name in architecture.parameter_shapes():
        layer, _, kind = name.rpartition("/")
        rate = factor * (config.rate if layer in head else config.conv_rate)
        if layer not in learning:
            continue
        decay = config.decay if kind == "weight" else 0.0
        if kind != "weight":
            rate *= BIAS_FACTOR
        squares = config.squares if config.solver == "adam" else 0.0
        rates[name] = Rates(rate, config.momentum, decay, squares, iteration + 1)
    return rates


def rate_factor(config: TrainConfig, iteration: int) -> float:
    """What the rates at the start are multiplied by: Caffe's step policy, or half a cosine wave."""
    if config.schedule == "cosine":
        done = min(iteration / config.step_size, 1.0)
        return config.gamma + (1 - config.gamma) * (1 + math.cos(math.pi * done)) / 2
    factor: float = config.gamma ** (iteration // config.step_size)
    return factor


def dropout_key(config: TrainConfig, iteration: int) -> int | None:
    """Chooses an iteration's dropout masks; None where nothing is dropped."""
    if config.dropout == 0:
        return None
    return (config.seed << ITERATION_BITS) | iteration  # below 2**58


def describe(config: TrainConfig, rates: Mapping[str, Any]) -> str:
    """The effective rates, for people: a line for each kind of parameter."""
    kinds: dict[tuple[str, float, float], list[str]] = {}
    for name, each in rates.items():
        layer, _, kind = name.rpartition("/")
        kinds.setdefault((kind, each.rate, each.decay), []).append(layer)
    lines = [
        f"  {', '.join(layers)} {kind}: rate {rate:g}, decay {decay:g}"
        for (kind, rate, decay), layers in kinds.items()
    ]
    steps = f"times {config.gamma:g} every {config.step_size:,} iterations"
    if config.schedule == "cosine":
        steps = f"falling to {config.gamma:g} times that in {config.step_size:,} iterations"
    solver = f"{config.solver}, momentum {config.momentum:g}, {steps}"
    return "\n".join([f"rates ({solver}):", *lines])
