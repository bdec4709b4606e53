"""Our own weights file: HDF5 with everything that gives the numbers their meaning.

* ``/<layer>/weight`` and ``/<layer>/bias`` in Caffe's layouts, float32 or float16, with the attribute
  ``sha256`` (of the shape and the values as float32, whatever the file holds them in);
* a fc layer's weight may be int8 instead, -127..127: ``/<layer>/weight_scale``, float32, then has a
  factor for each row, and a value is the product of the two in float32.  That is the scheme of the
  int8 precision (:mod:`goturn.ops.compressed`), which takes such weights without rounding them again;
* on the root: ``format``, ``format_version``, ``architecture`` (JSON, which rules), the preprocessing
  once more in readable attributes, and ``origin``;
* ``digest``, over the architecture and all tensors: the number that :attr:`Weights.digest` gives for
  what is loaded, and ``goturn info`` shows;
* ``calibration``, where it is known: the two numbers of a tracker's confidence
  (:class:`goturn.confidence.Calibration`);
* ``target_policy``, where the weights have one: the two numbers of
  :class:`goturn.target_policy.TargetPolicy`;
* ``file_digest``, over ``digest``, ``origin``, ``calibration`` and ``target_policy``.

All of them are checked on loading.  The same weights give the same file, byte for byte.

Version 2 has int8 weights; files without them are written as version 1.  Readers from before there were
target policies, or matches, refuse files that have such, whatever the version.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import TypeVar

import h5py
import numpy as np

from goturn.architecture import Architecture
from goturn.confidence import Calibration
from goturn.ops.compressed import to_int8
from goturn.target_policy import TargetPolicy
from goturn.weights.blobs import read_all
from goturn.weights.hdf5_data import StoredTensor
from goturn.weights.hdf5_guard import MAX_RATIO, GuardedFile, UnusablePartError
from goturn.weights.hdf5_write import replacing_hdf5
from goturn.weights.model import (
    Weights,
    WeightsError,
    combined_digest,
    is_finite,
    join_problems,
    loaded_weights,
    tensor_digest,
)

Pair = TypeVar("Pair")

FORMAT = "goturn"
#: What :meth:`Architecture.to_json` writes is part of the format, because digests are taken over it.
FORMAT_VERSION = 1
#: Of files with int8 weights.
INT8_VERSION = 2
#: HDF5 keeps an attribute within 64 KiB, its own few bytes included.
MAX_TEXT_BYTES = 60_000
DTYPES: dict[str, np.dtype] = {"fp32": np.dtype("<f4"), "fp16": np.dtype("<f2")}
#: What :func:`save` offers: "int8" is that of fc weights.
PRECISIONS = (*DTYPES, "int8")

#: What is added to a weight's name for its scales'.
SCALE = "_scale"

#: Tensors below this stay uncompressed: nothing to gain.
_COMPRESS_BYTES = 1 << 16
#: Compressed tensors are cut into chunks of about this size.
_CHUNK_BYTES = 1 << 20


def readable_attributes(architecture: Architecture) -> dict[str, str | tuple[float, ...]]:
    """The preprocessing as a person with an HDF5 viewer would like to see it."""
    p = architecture.preprocessing
    return {
        "mean": tuple(float(value) for value in p.mean),
        "colour_order": p.colour_order,
        "input_size": (float(p.input_size),),
        "context_factor": (float(p.context_factor),),
        "output_scale": (float(p.output_scale),),
        "pool_lrn_order": architecture.pool_lrn_order,
    }


# -- writing -------------------------------------------------------------------------------------


def save(
    weights: Weights,
    path: str | os.PathLike[str],
    *,
    precision: str = "fp32",
    compress: bool = False,
) -> None:
    """Writes ``weights`` to ``path`` in one step: after a crash the old file is there, or the new one.

    Args:
        weights: what to write.
        path: any name; ``.h5`` is usual.
        precision: "fp32"; "fp16" for half the size and values rounded to half precision; "int8" for a
            quarter or less, with the weights of all fc layers but the last in int8, other large tensors
            in half and small ones in single precision.  Rounded weights are other weights, whose digest
            is not that of ``weights``.
        compress: gzip the tensors: smaller, slower to load.

    Raises:
        WeightsError: an unknown precision, a value that is not finite, or one that half precision
            cannot hold.
        OSError: the file cannot be written; what was there before stays.
    """
    if precision not in PRECISIONS:
        raise WeightsError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    of_int8 = {f"{layer.name}/weight" for layer in weights.architecture.head[:-1]}
    with replacing_hdf5(path) as file:
        digests = {}
        for name, array in weights.parameters.items():
            if not is_finite(array):
                raise WeightsError(f"{name} has values that are not finite")
            if precision == "int8" and name in of_int8:
                digests[name] = _write_int8(file, name, array, compress=compress)
                continue
            small = precision == "int8" and array.nbytes <= _COMPRESS_BYTES
            dtype = DTYPES["fp32" if small or precision == "fp32" else "fp16"]
            with np.errstate(over="ignore"):
                stored = array.astype(dtype, copy=False)
            if not is_finite(stored):
                raise WeightsError(f"{name} has values that are too large for fp16; save as fp32")
            digests[name] = write_tensor(file, name, stored, compress=compress)
        _write_description(file, weights, digests, INT8_VERSION if precision == "int8" else 1)


def write_tensor(file: h5py.File, name: str, array: np.ndarray, *, compress: bool = False) -> str:
    """Writes a C-contiguous float32 or float16 array, with its SHA-256 (hex), which this returns."""
    digest = tensor_digest(array)
    write_text(_write_values(file, name, array, compress), "sha256", digest)
    return digest


def _write_int8(file: h5py.File, name: str, array: np.ndarray, *, compress: bool) -> str:
    """Writes a matrix as int8 with its scales; returns the SHA-256 (hex) of their products."""
    values, scale = to_int8(array)
    digest = tensor_digest(values.astype(np.float32) * scale[:, np.newaxis])
    write_text(_write_values(file, name, values, compress), "sha256", digest)
    file.create_dataset(name + SCALE, data=scale)
    return digest


def _write_values(file: h5py.File, name: str, array: np.ndarray, compress: bool) -> h5py.Dataset:
    if compress and array.nbytes > _COMPRESS_BYTES:
        rows = max(1, _CHUNK_BYTES * array.shape[0] // array.nbytes)
        dataset = file.create_dataset(
            name,
            data=array,
            chunks=(min(rows, array.shape[0]), *array.shape[1:]),
            compression="gzip",
            compression_opts=9 if array.itemsize == 1 else 4,
            shuffle=array.itemsize > 1,
        )
        if (
            array.nbytes * (4 if array.itemsize == 1 else 1)
            <= MAX_RATIO * dataset.id.get_storage_size()
        ):
            return dataset
        # A reader would take it for a bomb: constant tensors are stored as they are.
        del file[name]
    return file.create_dataset(name, data=array)


def _write_description(
    file: h5py.File, weights: Weights, digests: dict[str, str], version: int
) -> None:
    architecture_json = weights.architecture.to_json()
    write_text(file, "format", FORMAT)
    file.attrs["format_version"] = version
    write_text(file, "architecture", architecture_json)
    for name, value in readable_attributes(weights.architecture).items():
        if isinstance(value, str):
            write_text(file, name, value)
        else:
            file.attrs[name] = value if len(value) > 1 else value[0]
    write_text(file, "origin", weights.origin)
    digest = combined_digest(architecture_json, digests)
    write_text(file, "digest", digest)
    for name, pair in (
        ("calibration", weights.calibration),
        ("target_policy", weights.target_policy),
    ):
        if pair is not None:
            file.attrs[name] = tuple(map(float, pair))
    described = _file_digest(digest, weights.origin, weights.calibration, weights.target_policy)
    write_text(file, "file_digest", described)


def _file_digest(
    digest: str, origin: str, calibration: Calibration | None, policy: TargetPolicy | None
) -> str:
    text = f"{digest}\n{origin}"
    if calibration is not None:
        text += f"\n{calibration.middle!r} {calibration.width!r}"
    if policy is not None:
        text += f"\ntarget {policy.start!r} {policy.every!r}"
    return hashlib.sha256(text.encode()).hexdigest()


def write_text(owner: h5py.File | h5py.Dataset, name: str, text: str) -> None:
    """A string attribute of fixed length: HDF5's variable ones are refused by our reader."""
    value = text.encode("utf-8")
    if len(value) > MAX_TEXT_BYTES:
        raise WeightsError(
            f"{name} has {len(value)} bytes; a weights file has room for {MAX_TEXT_BYTES}: shorten it"
        )
    kind = h5py.string_dtype("utf-8", max(1, len(value)))
    owner.attrs.create(name, np.array(value, dtype=kind))


# -- reading -------------------------------------------------------------------------------------


def is_store(file: GuardedFile) -> bool:
    """Whether an HDF5 file says that it is one of ours."""
    return file.has_attribute("format")


def read_store(file: GuardedFile, architecture: Architecture | None = None) -> Weights:
    """The weights in one of our files.

    Raises:
        WeightsError: another version, a description that contradicts itself or ``architecture``,
            tensors missing, superfluous or misshapen, or anything that a digest shows to be altered.
    """
    name, version = file.text("format"), file.numbers("format_version")
    if name != FORMAT or version not in ((FORMAT_VERSION,), (INT8_VERSION,)):
        shown = " ".join(f"{number:g}" for number in version[:3])
        raise WeightsError(
            f"{file.path}: format {name[:40]!r} version {shown} is not known; expected {FORMAT!r} "
            f"version {FORMAT_VERSION} or {INT8_VERSION}; update goturn, or save the file again"
        )
    try:
        stored = Architecture.from_json(file.text("architecture"))
    except UnusablePartError:
        raise
    except ValueError as error:
        raise WeightsError(f"{file.path}: {error}") from error
    problems = _description_problems(file, stored, architecture)
    shapes = stored.parameter_shapes()
    of_int8 = frozenset[str]()
    if version == (INT8_VERSION,):
        of_int8 = frozenset(f"{layer.name}/weight" for layer in stored.head)
    tensors = find_tensors(file, shapes, problems, of_int8=of_int8)
    digests = _texts(file, {name: ("sha256", name) for name in tensors}, problems)
    names = ("origin", "digest", "file_digest")
    texts = _texts(file, {name: (name, "/") for name in names}, problems)
    calibration = _pair(file, "calibration", Calibration, problems)
    policy = _pair(file, "target_policy", _policy, problems)
    if problems:
        raise WeightsError(join_problems(str(file.path), problems))
    digest = combined_digest(stored.to_json(), digests)
    described = _file_digest(digest, texts["origin"], calibration, policy)
    _check_digests(file, digest, described, texts)
    for name, tensor in tensors.items():
        tensor.expected_digest = digests[name]
    parameters = read_all(str(file.path), tensors, shapes)
    return loaded_weights(
        file.path, stored, parameters, texts["origin"], calibration, target_policy=policy
    )


def _pair(
    file: GuardedFile, name: str, kind: Callable[[float, float], Pair], problems: list[str]
) -> Pair | None:
    """What an attribute of two numbers says, None where there is none; adds what is wrong with it."""
    if not file.has_attribute(name):
        return None
    try:
        return kind(*file.numbers(name))
    except UnusablePartError as error:
        problems.append(error.problem)
    except TypeError:
        problems.append(f"attribute {name} is not two numbers")
    except ValueError as error:
        problems.append(f"attribute {name}: {error}")
    return None


def _policy(start: float, every: float) -> TargetPolicy:
    return TargetPolicy(start, every).checked()  # type: ignore[arg-type]


def _check_digests(
    file: GuardedFile, digest: str, described: str, texts: Mapping[str, str]
) -> None:
    """The file's digests must be those of its description and of its tensors' SHA-256."""
    if texts["digest"] != digest:
        raise WeightsError(
            f"{file.path}: the architecture or a tensor's SHA-256 does not match the file's digest "
            "(altered or damaged; get a fresh copy)"
        )
    if texts["file_digest"] != described:
        raise WeightsError(
            f"{file.path}: the origin, calibration or target_policy does not match the file_digest "
            "(altered or damaged; get a fresh copy)"
        )


def _texts(
    file: GuardedFile, wanted: Mapping[str, tuple[str, str]], problems: list[str]
) -> dict[str, str]:
    """The text attributes (name, of what) under the keys of ``wanted``; adds what is wrong."""
    found = {}
    for key, (name, owner) in wanted.items():
        try:
            found[key] = file.text(name, owner)
        except UnusablePartError as error:
            problems.append(error.problem)
    return found


def _description_problems(
    file: GuardedFile, stored: Architecture, expected: Architecture | None
) -> list[str]:
    """The readable attributes must say what the JSON says, and both what the caller says."""
    problems = []
    for name, value in readable_attributes(stored).items():
        try:
            found = file.text(name) if isinstance(value, str) else file.numbers(name)
        except UnusablePartError as error:
            problems.append(error.problem)
            continue
        if found != value:
            problems.append(f"attribute {name} is {found} and the architecture says {value}")
    if expected is not None and expected != stored:
        different = [
            part
            for part in ("tower", "head", "preprocessing", "shared_towers", "match")
            if getattr(stored, part) != getattr(expected, part)
        ]
        problems.append(
            f"its {' and '.join(different)} differ from the architecture given; "
            "load it without one, the file describes itself"
        )
    return problems


def find_tensors(
    file: GuardedFile,
    shapes: dict[str, tuple[int, ...]],
    problems: list[str],
    *,
    all_there: bool = True,
    of_int8: frozenset[str] = frozenset(),
) -> dict[str, StoredTensor]:
    """The tensors that fit ``shapes``, in its order; adds what is wrong with others, superfluous ones
    and, where they must be ``all_there``, missing ones.  Those ``of_int8`` may be such, with scales.
    """
    present = []
    for layer in file.names():
        try:
            present += [f"{layer}/{part}" for part in file.names(layer)]
        except UnusablePartError as error:
            problems.append(error.problem)
    scales = {name + SCALE for name in of_int8} & set(present)
    present = [name for name in present if name not in scales]
    missing = [name for name in shapes if name not in present]
    problems += [f"{name} {shapes[name]} is missing" for name in missing if all_there]
    problems += [f"{name[:80]} is superfluous" for name in present if name not in shapes]
    found = {}
    for name, shape in shapes.items():
        if name not in present:
            continue
        try:
            tensor = file.tensor(name, int8=name in of_int8)
            if tensor.dtype == np.int8:
                scales.discard(name + SCALE)
                tensor.scale = file.tensor(name + SCALE)
        except UnusablePartError as error:
            problems.append(error.problem)
            continue
        if tensor.shape != shape:
            problems.append(f"{name} has shape {tensor.shape}, expected {shape}")
        elif tensor.scale is not None and tensor.scale.shape != shape[:1]:
            problems.append(f"{name}{SCALE} has shape {tensor.scale.shape}, expected {shape[:1]}")
        elif tensor.dtype not in (*DTYPES.values(), np.int8):
            problems.append(f"{name} is {tensor.dtype}, expected 16 or 32-bit floats")
        else:
            found[name] = tensor
    problems += [f"{name} is superfluous: its weight is not int8" for name in sorted(scales)]
    return found
