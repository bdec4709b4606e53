"""The solver's momentum in a file: HDF5 like our weights, read with the same care.

``/<layer>/weight`` and ``/<layer>/bias`` in Caffe's layouts, float32, each with the attribute ``sha256``;
on the root ``format``, ``format_version`` and ``digest``, over the architecture and all tensors.
Parameters that do not learn have no velocity, and no tensor here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from goturn.architecture import Architecture
from goturn.weights.blobs import read_all
from goturn.weights.hdf5_guard import open_guarded
from goturn.weights.hdf5_write import replacing_hdf5
from goturn.weights.model import (
    WeightsError,
    combined_digest,
    is_finite,
    join_problems,
    not_finite,
)
from goturn.weights.store import find_tensors, write_tensor, write_text

FORMAT = "goturn solver"
FORMAT_VERSION = 1


def save_velocities(
    path: Path, architecture: Architecture, velocities: Mapping[str, np.ndarray]
) -> str:
    """Writes the velocities to ``path`` in one step; a C-contiguous array is written from where it lies.

    Args:
        path: any name.
        architecture: whose parameters they belong to.
        velocities: float32, by name of the parameter and in its shape.

    Returns:
        SHA-256 (hex) over the architecture and all of them.

    Raises:
        WeightsError: a name that the architecture lacks, another shape or dtype, NaN or infinity.
        OSError: the file cannot be written; the message names ``path``.
    """
    shapes = architecture.parameter_shapes()
    problems = [f"{name} is superfluous" for name in velocities if name not in shapes]
    for name in velocities:
        value = velocities[name]
        if name in shapes and (value.shape != shapes[name] or value.dtype != np.float32):
            problems.append(
                f"{name} is {value.dtype} {value.shape}, expected float32 {shapes[name]}"
            )
    if problems:
        raise WeightsError(join_problems("velocities do not fit the architecture", problems))
    with replacing_hdf5(path) as file:
        digests = {}
        for name in shapes:
            if name in velocities:
                value = np.ascontiguousarray(velocities[name])
                if not is_finite(value):
                    raise WeightsError(f"velocities: {not_finite([name])}")
                digests[name] = write_tensor(file, name, value)
        digest = combined_digest(architecture.to_json(), digests)
        write_text(file, "format", FORMAT)
        file.attrs["format_version"] = FORMAT_VERSION
        write_text(file, "digest", digest)
    return digest


def load_velocities(path: Path, architecture: Architecture, digest: str) -> dict[str, np.ndarray]:
    """The velocities in a file, if they are those that ``digest`` is of.

    Args:
        path: a file of :func:`save_velocities`.
        architecture: whose parameters they belong to.
        digest: what :func:`save_velocities` returned.

    Returns:
        float32 arrays by name, in the architecture's order.

    Raises:
        WeightsError: another file, or one that is damaged or hostile.
    """
    with open_guarded(path) as file:
        if file.text("format") != FORMAT or file.numbers("format_version") != (FORMAT_VERSION,):
            raise WeightsError(
                f"{path}: expected {FORMAT!r} version {FORMAT_VERSION}; continue with the version of "
                "goturn that wrote it"
            )
        problems: list[str] = []
        shapes = architecture.parameter_shapes()
        tensors = find_tensors(file, shapes, problems, all_there=False)
        if problems:
            raise WeightsError(join_problems(str(path), problems))
        digests = {name: file.text("sha256", name) for name in tensors}
        if combined_digest(architecture.to_json(), digests) != digest:
            raise WeightsError(f"{path}: a tensor's SHA-256 is not the checkpoint's (altered)")
        for name, tensor in tensors.items():
            tensor.expected_digest = digests[name]
        velocities = read_all(str(path), tensors, shapes)
    bad = [name for name, value in velocities.items() if not is_finite(value)]
    if bad:
        raise WeightsError(f"{path}: {not_finite(bad)}")
    return velocities
