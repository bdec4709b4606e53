"""Checks that OpenCV 4 loads the .caffemodel and .prototxt that we write, and computes the same.

Run it under a Python with OpenCV 4, for instance::

    pip install "opencv-contrib-python<5" h5py
    PYTHONPATH=src python tools/check_opencv_roundtrip.py                          # 32 small networks
    PYTHONPATH=src python tools/check_opencv_roundtrip.py --paper --width 4096     # the paper's

For three and four fc layers, LRN after pool and before it, shared and separate towers, both naming
schemes, the network's own mean and 128 folded into its first convolution: every layer of cv2.dnn's
network within 1e-4 of the layer's rms of our reference (fc8 less its bias, which would hide errors), and
``scale`` in pixels of the crop.

Then cv2.TrackerGOTURN takes the files, with the mean folded, and must give the boxes that our network
predicts, unfolded, for the same crops.  Whether that tells anything is checked too: with the crops
swapped, or the other mean subtracted, our network must say something else.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from goturn.architecture import Architecture, goturn
from goturn.network import Network
from goturn.weights import Weights, random_weights, save_caffemodel

TOLERANCE = 1e-4
BATCH = 2

#: cv2 with the names that only OpenCV 4 has, and OpenCV 5's type stubs therefore lack.
opencv4: Any = cv2

#: cv2.TrackerGOTURN's own, for every channel.
TRACKER_MEAN = 128.0
#: (first frame's box, so chosen that the window of twice its size lies within 320 x 240).
TRACKER_BOXES = ((100, 80, 60, 40), (60, 110, 50, 64), (180, 60, 90, 44), (130, 90, 32, 80))
#: It rounds x, y, width and height to integers; the rest is for cv2.dnn's own rounding.
TRACKER_PIXELS = 0.5 + 0.02
#: What a wrong mean or swapped crops must at least change, pixels.
TELLING_PIXELS = 3.0


def lively_weights(architecture: Architecture, seed: int) -> Weights:
    """He-scaled weights and biases that matter, so that activations neither die nor explode."""
    weights = random_weights(architecture, seed)
    rng = np.random.default_rng(seed)
    for name, array in weights.parameters.items():
        spread = np.sqrt(2 / np.prod(array.shape[1:])) if name.endswith("/weight") else 0.5
        rng.standard_normal(out=array, dtype=np.float32)
        np.multiply(array, np.float32(spread), out=array)
    # fc8: predictions about the middle half of the crop.
    weights.parameters["fc8/weight"][...] *= np.float32(1e-3)
    weights.parameters["fc8/bias"][:] = (2.5, 2.5, 7.5, 7.5)
    return weights


def planes(frames: np.ndarray, mean: object) -> np.ndarray:
    """Crops (n, S, S, 3) of uint8 -> the network's input (n, 3, S, S), the mean subtracted."""
    floats = frames.astype(np.float32) - np.asarray(mean, np.float32)
    return np.ascontiguousarray(floats.transpose(0, 3, 1, 2))


# -- cv2.dnn -------------------------------------------------------------------------------------


def blob_names(architecture: Architecture, scheme: str) -> dict[str, str]:
    """Our name of an activation -> the layer of cv2.dnn that gives it (the ReLU, where there is one)."""
    names = {}
    for tower, suffix in ((1, ""), (2, "_p")):
        for layer in architecture.tower:
            kind, number = layer.name[:4], layer.name[4]
            theirs = f"{kind}{tower}{number}" if scheme == "opencv" else f"{kind}{number}{suffix}"
            names[layer.name + suffix] = theirs.replace("conv", "relu")
    for linear in architecture.head:
        names[linear.name] = linear.name.replace("fc", "relu")
    names["fc8"] = "fc8" if scheme == "opencv" else "fc8-shapes"
    return names


def check_network(folder: Path, architecture: Architecture, schemes: tuple[str, ...]) -> list[bool]:
    """Whether every layer agrees, for each scheme and mean; prints the largest difference of some."""
    weights = lively_weights(architecture, seed=len(architecture.head))
    preprocessing = architecture.preprocessing
    size = preprocessing.input_size
    frames = np.random.default_rng(1).integers(0, 256, (2, BATCH, size, size, 3), dtype=np.uint8)
    ours = Network(weights, "reference").activations(
        *(planes(crops, preprocessing.mean) for crops in frames)
    )
    results = []
    for scheme, fold in itertools.product(schemes, (None, TRACKER_MEAN)):
        model = folder / "goturn.caffemodel"
        save_caffemodel(weights, model, names=scheme, fold_mean=fold)
        net = opencv4.dnn.readNetFromCaffe(str(model.with_suffix(".prototxt")), str(model))
        inputs = ("data1", "data2") if scheme == "opencv" else ("target", "image")
        for name, crops in zip(inputs, frames, strict=True):
            net.setInput(planes(crops, preprocessing.mean if fold is None else fold), name)
        worst = differences(net, architecture, scheme, ours, weights.parameters["fc8/bias"])
        results.append(all(value < TOLERANCE for value in worst.values()))
        shown = ", ".join(f"{name} {value:.0e}" for name, value in worst.items() if name in _SHOWN)
        towers = "shared" if architecture.shared_towers else "separate"
        print(
            f"{len(architecture.head)} fc layers, {architecture.pool_lrn_order}, {towers} towers, "
            f"names {scheme}, mean {'own' if fold is None else 'folded'}: {shown}: "
            f"{'agree' if results[-1] else 'DIFFER'}",
            flush=True,
        )
    return results


_SHOWN = ("pool5", "pool5_p", "fc6", "fc8 minus bias", "scale")


def differences(
    net: Any,
    architecture: Architecture,
    scheme: str,
    ours: dict[str, np.ndarray],
    fc8_bias: np.ndarray,
) -> dict[str, float]:
    """Of every layer, the largest difference between cv2.dnn's output and ours over the rms."""
    names = blob_names(architecture, scheme)
    wanted = [*names.values(), *(["scale"] if scheme == "opencv" else [])]
    theirs = dict(zip(wanted, net.forward(wanted), strict=True))
    pairs = {name: (ours[name], theirs[names[name]].reshape(ours[name].shape)) for name in names}
    pairs["fc8 minus bias"] = (ours["fc8"] - fc8_bias, pairs["fc8"][1] - fc8_bias)
    if scheme == "opencv":
        p = architecture.preprocessing
        pairs["scale"] = (ours["fc8"] * np.float32(p.input_size / p.output_scale), theirs["scale"])
    return {name: relative_difference(*pair) for name, pair in pairs.items()}


def relative_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference over the layer's rms."""
    exact = ours.astype(np.float64)
    return float(np.abs(theirs - exact).max() / np.sqrt(np.mean(exact**2)))


# -- cv2.TrackerGOTURN ---------------------------------------------------------------------------


def colourful_frames(count: int) -> np.ndarray:
    """(count, 240, 320, 3) of uint8: soft patches of all colours, each frame its own."""
    rng = np.random.default_rng(2)
    grids = rng.integers(0, 256, (count, 12, 16, 3), dtype=np.uint8)
    return np.stack(
        [cv2.resize(grid, (320, 240), interpolation=cv2.INTER_LINEAR) for grid in grids]
    )


def window(box: tuple[int, ...]) -> tuple[int, ...]:
    """Twice the box about its centre: x, y, width, height."""
    x, y, width, height = box
    return (x - width // 2, y - height // 2, 2 * width, 2 * height)


def crop(frame: np.ndarray, box: tuple[int, ...], size: int) -> np.ndarray:
    """The window about a box, resized to (size, size, 3)."""
    x, y, width, height = window(box)
    part = np.ascontiguousarray(frame[y : y + height, x : x + width])
    resized: np.ndarray = cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR_EXACT)
    return resized


def predicted_boxes(weights: Weights, crops: np.ndarray, mean: object) -> np.ndarray:
    """What our network says for crops (2, n, S, S, 3) about the boxes: (n, 4), x, y, width, height."""
    units = Network(weights, "reference").forward(*(planes(part, mean) for part in crops)).units
    windows = np.array([window(box) for box in TRACKER_BOXES], np.float64)
    corner, extent = windows[:, :2], windows[:, 2:] / 10
    return np.concatenate(
        [corner + units[:, :2] * extent, (units[:, 2:] - units[:, :2]) * extent], axis=1
    )


def tracker_weights(architecture: Architecture, crops: np.ndarray) -> Weights:
    """Weights whose fc8 makes much of what differs between the crops: up to 2 of its 10 units."""
    weights = lively_weights(architecture, seed=9)
    mean = architecture.preprocessing.mean
    activations = Network(weights, "reference").activations(*(planes(part, mean) for part in crops))
    hidden = activations[architecture.head[-2].name].astype(np.float64)
    common = hidden.mean(axis=0) / np.linalg.norm(hidden.mean(axis=0))
    directions = np.random.default_rng(3).standard_normal((4, hidden.shape[1]))
    directions -= np.outer(directions @ common, common)
    directions *= 2 / np.abs(hidden @ directions.T).max()
    weights.parameters["fc8/weight"][...] = directions
    return weights


def check_tracker(folder: Path, architecture: Architecture) -> list[bool]:
    """Whether cv2.TrackerGOTURN gives our network's boxes, for each pair of frames."""
    if not hasattr(cv2, "TrackerGOTURN"):
        print(f"OpenCV {cv2.__version__} has no TrackerGOTURN: not checked")
        return []
    size, mean = architecture.preprocessing.input_size, architecture.preprocessing.mean
    frames = colourful_frames(2 * len(TRACKER_BOXES)).reshape(2, -1, 240, 320, 3)
    crops = np.array(
        [[crop(*pair, size) for pair in zip(row, TRACKER_BOXES, strict=True)] for row in frames]
    )
    weights = tracker_weights(architecture, crops)
    model = folder / "tracker.caffemodel"
    save_caffemodel(weights, model, fold_mean=TRACKER_MEAN)
    parameters = opencv4.TrackerGOTURN_Params()
    parameters.modelTxt = str(model.with_suffix(".prototxt"))
    parameters.modelBin = str(model)
    tracker = opencv4.TrackerGOTURN_create(parameters)

    right = predicted_boxes(weights, crops, mean)
    wrong = [
        predicted_boxes(weights, crops[::-1], mean),
        predicted_boxes(weights, crops, TRACKER_MEAN),
    ]
    results = []
    for index, start in enumerate(TRACKER_BOXES):
        tracker.init(frames[0, index], start)
        _, box = tracker.update(frames[1, index])
        off = float(np.abs(np.array(box) - right[index]).max())
        telling = min(float(np.abs(other[index] - right[index]).max()) for other in wrong)
        results.append(off <= TRACKER_PIXELS and telling >= TELLING_PIXELS)
        print(
            f"TrackerGOTURN: {start} -> {tuple(box)}, ours "
            f"({', '.join(f'{value:.2f}' for value in right[index])}), {off:.2f} pixels apart, "
            f"{telling:.1f} with an error: {'agree' if results[-1] else 'DIFFER'}",
            flush=True,
        )
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--width", type=int, default=256, help="of the hidden fc layers")
    parser.add_argument("--paper", action="store_true", help="only the paper's network")
    options = parser.parse_args()
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        print(
            f"OpenCV {cv2.__version__} does not read Caffe's files: install OpenCV 4",
            file=sys.stderr,
        )
        return 2
    print(f"OpenCV {cv2.__version__}, fc layers of {options.width}")
    paper = goturn([options.width] * 3)
    networks = [paper]
    schemes: tuple[str, ...] = ("opencv",)
    if not options.paper:
        schemes = ("opencv", "authors")
        each = itertools.product((2, 3), (True, False))
        networks = [goturn([options.width] * hidden, pool_first) for hidden, pool_first in each]
        networks += [network.with_separate_towers() for network in networks]
    results = []
    with tempfile.TemporaryDirectory() as name:
        for network in networks:
            results += check_network(Path(name), network, schemes)
        results += check_tracker(Path(name), paper)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
