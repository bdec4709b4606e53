"""Caffe's HDF5 snapshots (``.caffemodel.h5``): ``/data/<layer>/0`` is the weight, ``/1`` the bias."""

from __future__ import annotations

from goturn.weights.blobs import Blob, UnusableBlob
from goturn.weights.hdf5_guard import GuardedFile, UnusablePartError
from goturn.weights.model import WeightsError


def snapshot_layers(file: GuardedFile) -> dict[str, list[Blob]]:
    """The blobs of each layer that has any, by the layer's name in the file.

    What cannot be used stands there as an :class:`UnusableBlob`.

    Raises:
        WeightsError: the file has not this layout, or a dataset is refused as harmful.
    """
    if "data" not in file.names():
        raise WeightsError(
            f"{file.path}: an HDF5 file without the attributes of a goturn file and without the group "
            "/data of a Caffe snapshot; give a weights file"
        )
    layers: dict[str, list[Blob]] = {}
    for layer in file.names("data"):
        blobs = _blobs(file, f"data/{layer}")
        if blobs:
            layers[layer] = blobs
    return layers


def _blobs(file: GuardedFile, group: str) -> list[Blob]:
    """Weight and bias in a layer's group."""
    try:
        parts = file.names(group)
    except UnusablePartError as error:
        return [UnusableBlob((), error.problem)] * 2
    if set(parts) != {str(index) for index in range(len(parts))}:
        held = ", ".join(sorted(parts))[:80]
        return [UnusableBlob((), f"/{group[:80]} holds {held}; expected 0 and 1")] * 2
    blobs: list[Blob] = []
    for index in range(len(parts)):
        try:
            blobs.append(file.tensor(f"{group}/{index}"))
        except UnusablePartError as error:
            blobs.append(UnusableBlob(error.shape, error.problem))
    return blobs
