"""Milliseconds per ``Tracker.update`` on 640x480 frames, against ``cv2.TrackerGOTURN``.

python benchmarks/track.py --opencv4-python PATH --output benchmarks/results/NAME.json
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import command
from command import add_options, run, whole_numbers
from goturn.architecture import Architecture, goturn
from goturn.weights import Weights, save, save_caffemodel
from harness import HERE, Peer
from machine import Work

SEED = 20160916
FRAMES, HEIGHT, WIDTH = 8, 480, 640
BOX = (280, 200, 80, 80)

#: fc8 adds next to nothing to its bias, and that is the middle half of the search window, the place
#: where the object was: the box stays, whatever the other (random) layers say.  A hair less than half:
#: a window's size is rounded up, so that a box a rounding error too large would grow every frame.
FC8_STD = 1e-8
FC8_BIAS = (2.5001, 2.5001, 7.4999, 7.4999)


#: Bytes of a weight of the fc layers but the last, in each precision.
WEIGHT_BYTES = {"fp32": 4, "bf16": 2, "int8": 1}


def work(architecture: Architecture, precision: str = "fp32", objects: int = 1) -> Work:
    """One frame: every parameter read once; each object's multiply-adds, both towers and the head."""
    shapes, outputs = architecture.parameter_shapes(), architecture.tower_shapes()
    macs = 0
    for conv in architecture.convs:
        _, height, width = outputs[conv.name]
        macs += 2 * math.prod(shapes[f"{conv.name}/weight"]) * height * width
    for linear in architecture.head:
        macs += math.prod(shapes[f"{linear.name}/weight"])
    saved = 4 - WEIGHT_BYTES[precision]
    reduced = sum(math.prod(shapes[f"{fc.name}/weight"]) for fc in architecture.head[:-1])
    return Work(bytes=4 * architecture.parameter_count - saved * reduced, flops=2 * macs * objects)


def standing_still(architecture: Architecture) -> Weights:
    """Random weights, He-scaled, whose answer is always the middle half of the window."""
    random = np.random.default_rng(SEED)
    last = architecture.head[-1].name
    parameters = {}
    for name, shape in architecture.parameter_shapes().items():
        if name.endswith("/bias"):
            parameters[name] = np.zeros(shape, np.float32)
            continue
        std = FC8_STD if name == f"{last}/weight" else math.sqrt(2 / math.prod(shape[1:]))
        parameters[name] = random.standard_normal(shape, dtype=np.float32)
        parameters[name] *= np.float32(std)
    parameters[f"{last}/bias"] = np.array(FC8_BIAS, np.float32)
    return Weights(architecture, parameters, origin=f"benchmarks/track.py, seed {SEED}")


def make_frames() -> np.ndarray:
    """(F, H, W, 3) uint8: a noisy background, and an object of its own texture that stands still."""
    random = np.random.default_rng(SEED)
    x, y, w, h = BOX
    frames = random.integers(0, 96, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    frames[:, y : y + h, x : x + w] = random.integers(128, 256, (h, w, 3), dtype=np.uint8)
    return frames


#: Inference libraries: row's name, class in engines.py, options.
ENGINES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "onnxruntime": ("onnxruntime fp32, network only", "OnnxRuntime", {}),
    "openvino-fp32": ("OpenVINO fp32, network only", "OpenVINO", {"fp32": True}),
    "openvino": ("OpenVINO as it chooses, network only", "OpenVINO", {}),
    "openvino-int8": ("OpenVINO, int8 fc weights, network only", "OpenVINO", {"int8": True}),
    "torch": ("PyTorch fp32, network only", "Torch", {}),
}
#: Rows of our own tracker: name, and the options of ``goturn.Tracker``; or of so many ``objects``.
OURS: dict[str, dict[str, Any]] = {
    "reference": {"device": "reference"},
    "cpu": {"device": "cpu", "precision": "fp32"},
    "cpu-bf16": {"device": "cpu", "precision": "bf16"},
    "cpu-int8": {"device": "cpu", "precision": "int8"},
    "cpu-16": {"device": "cpu", "precision": "fp32", "objects": 16},
    "cpu-int8-16": {"device": "cpu", "precision": "int8", "objects": 16},
    "cpu-ahead": {"device": "cpu", "precision": "fp32", "ahead": True},
    "cpu-int8-ahead": {"device": "cpu", "precision": "int8", "ahead": True},
}
NAMES = (*OURS, "opencv", *ENGINES)

#: Milliseconds without a frame before each one that a row with ``ahead`` is given: a camera's 25 frames
#: a second leave as many to a tracker that takes none.
PAUSE_MS = 40


def make_peers(
    names: Sequence[str], widths: Sequence[int], opencv: str, engines: str, folder: Path
) -> list[Peer]:
    """The rows, in the order of ``names``; their weights and frames are written to ``folder``."""
    architecture = goturn(widths)
    weights, cost = standing_still(architecture), work(architecture)
    frames, ours, theirs = folder / "frames.npy", folder / "net.h5", folder / "net.caffemodel"
    np.save(frames, make_frames())
    common: dict[str, Any] = {"frames": str(frames), "box": BOX}

    peers = []
    if set(OURS) & set(names):
        save(weights, ours)
    if "opencv" in names:
        save_caffemodel(weights, theirs, fold_mean=128)  # the mean that it subtracts
    tensors = folder / "net.npz"
    if set(ENGINES) & set(names):
        named: dict[str, Any] = dict(weights.parameters)  # savez has named arguments of other types
        np.savez(tensors, **named)
    for name in names:
        if name in ENGINES:
            title, entry, more = ENGINES[name]
            peer = Peer(title, HERE / "engines.py", entry, cost, interpreter=engines)
            options = {"tensors": str(tensors), "architecture": architecture.to_json(), **more}
            peers.append(replace(peer, options=options))
        elif name == "opencv":
            options = {"model": str(theirs), "description": str(theirs.with_suffix(".prototxt"))}
            peer = Peer("cv2.TrackerGOTURN", HERE / "peers.py", "OpenCV", cost, interpreter=opencv)
            peers.append(replace(peer, options={**options, **common}, files=(theirs,)))
        else:
            how = dict(OURS[name])
            objects = how.pop("objects", 1)
            options = {"weights": str(ours), "tracker": how, "objects": objects}
            if how.get("ahead"):
                options["pause_ms"] = PAUSE_MS
            own = work(architecture, how.get("precision", "fp32"), objects)
            peer = Peer(f"goturn {name.replace('-', ' ')}", HERE / "peers.py", "Goturn", own)
            peers.append(replace(peer, options={**options, **common}, files=(ours,)))
    return peers


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--opencv4-python",
        metavar="PATH",
        help="interpreter with opencv-contrib-python-headless<5; without it that row is left out",
    )
    parser.add_argument(
        "--engines-python",
        metavar="PATH",
        help="interpreter with onnxruntime, onnx, openvino, nncf, torch, as far as --peers names them",
    )
    parser.add_argument(
        "--peers",
        default="reference,cpu,opencv",
        help="rows to run, the first is what the others are compared with: "
        f"{', '.join(NAMES)} (default: %(default)s)",
    )
    add_options(parser, threads=(1, 2), rounds=12, steps=5)
    parser.add_argument(
        "--widths",
        type=whole_numbers,
        default=(4096, 4096, 4096),
        metavar="N,...",
        help="of the hidden fc layers (default: the paper's 4096,4096,4096)",
    )
    options = parser.parse_args(arguments)
    options.peers = options.peers.split(",")
    unknown = set(options.peers) - set(NAMES)
    if unknown:
        parser.error(f"unknown peers {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if options.opencv4_python is None:
        options.peers = [name for name in options.peers if name != "opencv"]
    if options.engines_python is None:
        options.peers = [name for name in options.peers if name not in ENGINES]
    if not options.peers or min(options.starts, options.rounds, options.steps) < 1:
        parser.error("give at least one peer, one start, one round and one step")
    return options


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    return run(
        "track",
        arguments,
        options,
        lambda folder: make_peers(
            options.peers, options.widths, options.opencv4_python, options.engines_python, folder
        ),
        {
            "frame": [WIDTH, HEIGHT],
            "box": BOX,
            "widths": options.widths,
            "parameters": goturn(options.widths).parameter_count,
        },
        step="frame",
    )


if __name__ == "__main__":
    command.main(main)
