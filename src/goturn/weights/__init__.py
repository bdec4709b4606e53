"""Weights in memory and in files.

* :class:`Weights`: the tensors with the architecture and preprocessing that give them meaning;
* :func:`load`, :func:`save`: our HDF5 files; ``load`` reads Caffe's formats too;
* :func:`convert`: from any known format to ours or to ``.caffemodel`` + ``.prototxt``;
* :func:`read_conv_layers`, :func:`with_conv_layers`: start from a pretrained AlexNet or CaffeNet;
* :func:`random_weights`: start from nothing.
"""

from goturn.weights.caffe_writer import save_caffemodel
from goturn.weights.files import convert, load, read_conv_layers
from goturn.weights.model import Weights, WeightsError, random_weights, with_conv_layers
from goturn.weights.store import save

__all__ = [
    "Weights",
    "WeightsError",
    "convert",
    "load",
    "random_weights",
    "read_conv_layers",
    "save",
    "save_caffemodel",
    "with_conv_layers",
]
