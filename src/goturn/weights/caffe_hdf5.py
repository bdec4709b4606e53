"""Caffe's HDF5 snapshots (``.caffemodel.h5``): ``/data/<layer>/0`` is the weight, ``/1`` the bias."""

from __future__ import annotations

from goturn.weights.blobs import Blob
from goturn.weights.hdf5_guard import GuardedFile
from goturn.weights.model import WeightsError


def snapshot_layers(file: GuardedFile) -> dict[str, list[Blob]]:
    """The blobs of each layer that has any, by the layer's name in the file.

    Raises:
        WeightsError: the file has not this layout, or a dataset is refused.
    """
    if "data" not in file.names():
        raise WeightsError(
            f"{file.path}: an HDF5 file without the attributes of a goturn file and without the group "
            "/data of a Caffe snapshot; give a weights file"
        )
    layers: dict[str, list[Blob]] = {}
    for layer in file.names("data"):
        parts = file.names(f"data/{layer}")
        if set(parts) != {str(index) for index in range(len(parts))}:
            raise WeightsError(
                f"{file.path}: /data/{layer} holds {', '.join(sorted(parts))[:80]}; expected 0 and 1"
            )
        blobs: list[Blob] = [file.tensor(f"data/{layer}/{index}") for index in range(len(parts))]
        if blobs:
            layers[layer] = blobs
    return layers
