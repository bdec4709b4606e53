"""Weights files of every known format: told apart by content, read, written, converted."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from goturn.architecture import Architecture
from goturn.weights.caffe_hdf5 import snapshot_layers
from goturn.weights.caffe_names import assemble, select_conv_layers
from goturn.weights.caffe_reader import open_caffemodel
from goturn.weights.caffe_writer import save_caffemodel
from goturn.weights.hdf5_guard import open_guarded
from goturn.weights.model import Weights, WeightsError
from goturn.weights.recognise import recognise
from goturn.weights.store import is_store, read_store, save


def load(path: str | os.PathLike[str], architecture: Architecture | None = None) -> Weights:
    """The weights in a file: ours, a ``.caffemodel``, or Caffe's HDF5 snapshot (``.caffemodel.h5``).

    The format is told by the content.  Our files describe themselves.  Caffe's do not: fc layers are
    as many and as wide as the file has, towers are shared if the file's two are equal or it has one,
    and the preprocessing is the authors' or OpenCV's by the names of the convolutions.  Pool is taken
    to come before LRN, as in CaffeNet; for a network in AlexNet's order, or with preprocessing of its
    own, give ``architecture``.

    Args:
        path: the file.
        architecture: for Caffe's files, what the network is (whether towers are shared is still the
            file's to say); for ours, what it must be.

    Raises:
        WeightsError: another format, a damaged or hostile file, or tensors that do not fit; the
            message names all of them.
        FileNotFoundError, IsADirectoryError, PermissionError: from opening ``path``.
    """
    file_path = Path(path)
    if recognise(file_path) == "caffemodel":
        with open_caffemodel(file_path) as model:
            return assemble(file_path, model.layers, architecture, model.name)
    with open_guarded(file_path) as file:
        if is_store(file):
            return read_store(file, architecture)
        return assemble(file_path, snapshot_layers(file), architecture)


def read_conv_layers(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """conv1..conv5 of a pretrained AlexNet or CaffeNet, to start training from.

    Args:
        path: a ``.caffemodel`` or Caffe's HDF5 snapshot, whatever other layers it has, or one of our
            files (its target tower, with a conv6 where it has one).

    Returns:
        "conv1/weight", "conv1/bias" ... in CaffeNet's shapes, float32.  Weights of AlexNet's order (LRN
        before pool) have the same shapes: use them with an architecture of that order.

    Raises:
        As :func:`load`.
    """
    file_path = Path(path)
    if recognise(file_path) == "caffemodel":
        with open_caffemodel(file_path) as model:
            return select_conv_layers(file_path, model.layers)
    with open_guarded(file_path) as file:
        if not is_store(file):
            return select_conv_layers(file_path, snapshot_layers(file))
        weights = read_store(file)
        tower = {layer.name for layer in weights.architecture.convs}
        return {
            name: array
            for name, array in weights.parameters.items()
            if name.rpartition("/")[0] in tower
        }


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    architecture: Architecture | None = None,
    names: str = "opencv",
    fold_mean: float | None = None,
) -> Weights:
    """Reads weights of any known format and writes them in the format of the destination's extension.

    Args:
        source: see :func:`load`.
        destination: ``.h5`` for our format, ``.caffemodel`` for Caffe's (also writes ``.prototxt``).
        architecture: see :func:`load`.
        names, fold_mean: for a ``.caffemodel``; see :func:`save_caffemodel`.

    Returns:
        The weights as read.

    Raises:
        WeightsError: as :func:`load`, or a destination of another extension.
        OSError: a file cannot be opened or written.
    """
    suffix = Path(destination).suffix
    if suffix not in (".h5", ".caffemodel"):
        raise WeightsError(
            f"{destination}: cannot write {suffix or 'a file without extension'}; "
            "the destination must end in .h5 or .caffemodel"
        )
    weights = load(source, architecture)
    if suffix == ".h5":
        save(weights, destination)
    else:
        save_caffemodel(weights, destination, names=names, fold_mean=fold_mean)
    return weights
