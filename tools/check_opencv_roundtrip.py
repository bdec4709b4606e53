"""Checks that OpenCV 4 loads the .caffemodel and .prototxt that we write, and computes the same.

Run it under a Python with OpenCV 4, for instance::

    pip install "opencv-contrib-python<5" h5py
    PYTHONPATH=src python tools/check_opencv_roundtrip.py --width 4096

For three and four fc layers, shared and separate towers: every layer of cv2.dnn's network within 1e-4 of
the layer's rms of our reference (fc8 less its bias, which would hide errors), and ``scale`` in pixels of
the crop.  Then cv2.TrackerGOTURN takes the files and runs.
"""

from __future__ import annotations

import argparse
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


def lively_weights(architecture: Architecture, seed: int) -> Weights:
    """He-scaled weights and biases that matter, so that activations neither die nor explode."""
    weights = random_weights(architecture, seed)
    rng = np.random.default_rng(seed)
    for name, array in weights.parameters.items():
        spread = np.sqrt(2 / np.prod(array.shape[1:])) if name.endswith("/weight") else 0.5
        array[...] = rng.standard_normal(array.shape, dtype=np.float32) * np.float32(spread)
    # fc8: predictions about the middle half of the crop.
    weights.parameters["fc8/weight"] *= np.float32(1e-3)
    weights.parameters["fc8/bias"][:] = (2.5, 2.5, 7.5, 7.5)
    return weights


def blob_names(architecture: Architecture) -> dict[str, str]:
    """Our name of an activation -> the layer of cv2.dnn that gives it (the ReLU, where there is one)."""
    names = {}
    for tower, suffix in ((1, ""), (2, "_p")):
        for layer in architecture.tower:
            theirs = f"{layer.name[:4]}{tower}{layer.name[4]}".replace("conv", "relu")
            names[layer.name + suffix] = theirs
    for linear in architecture.head:
        names[linear.name] = linear.name.replace("fc", "relu") if linear.relu else linear.name
    return names


def check_network(folder: Path, hidden: int, width: int, shared: bool) -> bool:
    """Whether every layer agrees; prints the largest difference of some."""
    architecture = goturn([width] * hidden)
    if not shared:
        architecture = architecture.with_separate_towers()
    weights = lively_weights(architecture, seed=hidden)
    model = folder / "goturn.caffemodel"
    save_caffemodel(weights, model)
    net = opencv4.dnn.readNetFromCaffe(str(model.with_suffix(".prototxt")), str(model))

    size = architecture.preprocessing.input_size
    rng = np.random.default_rng(1)
    crops = rng.integers(-128, 128, (2, BATCH, 3, size, size)).astype(np.float32)
    ours = Network(weights, "reference").activations(crops[0], crops[1])
    net.setInput(crops[0], "data1")
    net.setInput(crops[1], "data2")
    names = blob_names(architecture)
    wanted = [*names.values(), "scale"]
    theirs = dict(zip(wanted, net.forward(wanted), strict=True))

    bias = weights.parameters["fc8/bias"]
    pairs = {name: (ours[name], theirs[names[name]].reshape(ours[name].shape)) for name in names}
    pairs["fc8 minus bias"] = (ours["fc8"] - bias, pairs["fc8"][1] - bias)
    factor = size / architecture.preprocessing.output_scale
    pairs["scale"] = (ours["fc8"] * np.float32(factor), theirs["scale"])
    worst = {name: relative_difference(*pair) for name, pair in pairs.items()}
    agrees = all(value < TOLERANCE for value in worst.values())
    shown = ", ".join(f"{name} {worst[name]:.1e}" for name in ("pool5", "pool5_p", "fc6"))
    print(
        f"{hidden + 1} fc layers of {width}, {'shared' if shared else 'separate'} towers: {shown}, "
        f"fc8 minus bias {worst['fc8 minus bias']:.1e}, scale {worst['scale']:.1e}: "
        f"{'agree' if agrees else 'DIFFER'}"
    )
    return agrees


def relative_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference over the layer's rms."""
    exact = ours.astype(np.float64)
    return float(np.abs(theirs - exact).max() / np.sqrt(np.mean(exact**2)))


def check_tracker(folder: Path, width: int) -> bool:
    """Whether cv2.TrackerGOTURN runs on our files and gives the boxes that their numbers mean."""
    if not hasattr(cv2, "TrackerGOTURN"):
        print(f"OpenCV {cv2.__version__} has no TrackerGOTURN: not checked")
        return True
    weights = lively_weights(goturn([width] * 3), seed=9)
    # A network that always says "the middle half of the window": the box must stay where it is.
    weights.parameters["fc8/weight"][:] = 0
    model = folder / "tracker.caffemodel"
    save_caffemodel(weights, model, fold_mean=TRACKER_MEAN)
    parameters = opencv4.TrackerGOTURN_Params()
    parameters.modelTxt = str(model.with_suffix(".prototxt"))
    parameters.modelBin = str(model)
    tracker = opencv4.TrackerGOTURN_create(parameters)
    frame = np.random.default_rng(2).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    start = (100, 80, 60, 40)
    tracker.init(frame, start)
    _, box = tracker.update(frame)
    stays = bool(np.abs(np.subtract(box, start)).max() <= 1)
    print(
        f"TrackerGOTURN runs on our files: {start} -> {tuple(box)}: {'agree' if stays else 'DIFFER'}"
    )
    return stays


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--width", type=int, default=512, help="of the hidden fc layers")
    width = parser.parse_args().width
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        print(
            f"OpenCV {cv2.__version__} does not read Caffe's files: install OpenCV 4",
            file=sys.stderr,
        )
        return 2
    print(f"OpenCV {cv2.__version__}")
    with tempfile.TemporaryDirectory() as name:
        results = [
            check_network(Path(name), hidden, width, shared)
            for hidden in (2, 3)
            for shared in (True, False)
        ]
        results.append(check_tracker(Path(name), width))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
