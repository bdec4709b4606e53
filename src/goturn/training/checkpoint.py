"""Checkpoints: everything that a run needs to go on as if it had never stopped.

A checkpoint is a folder named after its iteration, ``checkpoints/00012000/``, of these files:

* ``weights.h5``, an ordinary weights file, which a tracker takes;
* ``solver.h5``, the momentum (:mod:`goturn.training.velocities`);
* ``averages.h5`` and ``squares.h5``, in the same form, where the run averages its weights, or Adam its
  squared gradients;
* ``state.json``, which holds the digests of the others, and one of itself.

It is made under a temporary name beside its own and renamed when all of it is on the disk; what becomes
superfluous is renamed before it is deleted.  So a crash at any moment costs no more than the checkpoint
being made, and because of the digests nothing incomplete or altered passes for a checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from goturn.training.folders import entries, parse_temporary, remove, remove_left, replacing_folder
from goturn.training.velocities import load_velocities, save_velocities
from goturn.weights.atomic import naming, sync
from goturn.weights.hdf5_guard import open_guarded
from goturn.weights.model import Weights, WeightsError
from goturn.weights.store import is_store, read_store, save

FORMAT = "goturn checkpoint"
FORMAT_VERSION = 1

#: A state.json larger than this is neither written nor read.
MAX_STATE_BYTES = 1 << 24

#: Files, and fields of a checkpoint, that not every run has.
_OPTIONAL = ("averages", "squares")

_NAME = re.compile(r"[0-9]{8,}")


class OtherSettingsError(WeightsError):
    """A checkpoint of a run with other settings."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run between two iterations."""

    iteration: int
    """Iterations done; 0 before the first."""
    weights: Weights
    velocities: dict[str, np.ndarray]
    """float32, by parameter; those not named are zero, or do not learn."""
    extra: dict[str, Any]
    """Whatever else the trainer needs: JSON (lists, not tuples; texts as keys; no NaN)."""
    averages: dict[str, np.ndarray] = field(default_factory=dict)
    """float32, by parameter: averaged weights, of a run that has them."""
    squares: dict[str, np.ndarray] = field(default_factory=dict)
    """float32, by parameter: Adam's mean of squared gradients, of a run that has them."""


class Checkpoints:
    """The checkpoints of one run, of which the newest are kept.

    While one is saved there is one more on the disk than are kept.

    Args:
        folder: where they lie; made by the first :meth:`save`.
        keep: how many stay, 1 or more.

    Raises:
        ValueError: ``keep`` is below 1.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"at least one checkpoint must be kept; got keep={keep}")
        self._folder, self._keep = folder, keep

    def save(self, checkpoint: Checkpoint, config_digest: str) -> Path:
        """Writes a checkpoint, and returns its folder when all of it is on the disk.

        One of the same iteration is replaced.  Then those before it but the newest are removed, and what
        killed processes left; those of later iterations stay.  What cannot be removed now is tried again
        at the next save.

        Args:
            checkpoint: what to write.
            config_digest: of the run's settings.

        Raises:
            WeightsError: weights or velocities that are not finite, or velocities that do not fit.
            ValueError: ``extra`` is not JSON, or very large; ``iteration`` is negative.
            OSError: writing failed; the message names the checkpoint's folder, and nothing of it stays.
        """
        if checkpoint.iteration < 0:
            raise ValueError(
                f"a checkpoint's iteration must be 0 or more; got {checkpoint.iteration}"
            )
        target = self._folder / f"{checkpoint.iteration:08d}"
        _state_text(
            checkpoint, {"weights": "", "solver": ""}, config_digest
        )  # refuses extra before anything is written
        with naming(target):
            if not self._folder.is_dir():
                self._folder.mkdir(parents=True)
                sync(self._folder.parent)
        remove_left(self._folder, ["tmp"])  # first of all, for the room that they take
        with naming(target), replacing_folder(target) as temporary:
            _write(temporary, checkpoint, config_digest)
        remove_left(self._folder, ["tmp", "old"])
        before = [found for found in self._found() if found[0] <= checkpoint.iteration]
        for _, path in before[self._keep :]:
            remove(path)
        return target

    def load_latest(self, config_digest: str | None = None) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that is whole, and a sentence about each newer one that is not.

        Args:
            config_digest: of the settings to go on with; None for whatever they were.

        Returns:
            None in place of a checkpoint where there is none.

        Raises:
            OtherSettingsError: the newest with a sound ``state.json`` is of a run with other settings.
        """
        passed_over: list[str] = []
        for iteration, path in self._found():
            try:
                state = _read_state(path)
                if state["iteration"] != iteration:
                    raise WeightsError(
                        f"{path}: the state.json in it is of iteration {state['iteration']}"
                    )
                if config_digest is not None and state["config"] != config_digest:
                    raise OtherSettingsError(
                        f"{path}: made with other settings; go on with those, or begin a run in a folder "
                        "of its own"
                    )
                return _read(path, state), passed_over
            except OtherSettingsError:
                raise
            except (WeightsError, OSError) as error:
                passed_over.append(f"a checkpoint that is not whole was passed over: {error}")
        return None, passed_over

    def load(self, path: str | os.PathLike[str]) -> Checkpoint:
        """The checkpoint in the folder ``path``, whatever its name and settings.

        Raises:
            WeightsError: a part of it is missing or damaged; the message names the file.
            FileNotFoundError: there is no such folder.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: no such checkpoint; give a folder with a state.json"
            )
        return _read(folder, _read_state(folder))

    def _found(self) -> list[tuple[int, Path]]:
        """What may be a checkpoint, the newest first, by iteration."""
        found = []
        for path in entries(self._folder):
            temporary = parse_temporary(path)
            if _NAME.fullmatch(path.name):
                found.append((int(path.name), True, path))
            elif temporary and temporary.kind == "old" and _NAME.fullmatch(temporary.name):
                found.append((int(temporary.name), False, path))
        return [(iteration, path) for iteration, _, path in sorted(found, reverse=True)]


# -- one folder ----------------------------------------------------------------------------------


def _write(folder: Path, checkpoint: Checkpoint, config_digest: str) -> None:
    """The files, each of them on the disk when this returns."""
    weights = checkpoint.weights
    save(weights, folder / "weights.h5")
    with open_guarded(folder / "weights.h5") as file:
        digests = {"weights": file.text("digest")}  # without hashing all of them again
    for name, arrays in (
        ("solver", checkpoint.velocities),
        ("averages", checkpoint.averages),
        ("squares", checkpoint.squares),
    ):
        if arrays or name == "solver":
            digests[name] = save_velocities(folder / f"{name}.h5", weights.architecture, arrays)
    with (folder / "state.json").open("x", encoding="ascii") as text:
        text.write(_state_text(checkpoint, digests, config_digest))
        text.flush()
        os.fsync(text.fileno())
    sync(folder)


def _read(folder: Path, state: dict[str, Any]) -> Checkpoint:
    """What the state describes, every value of it checked."""
    path = _part(folder, "weights.h5")
    with open_guarded(path) as file:
        if not is_store(file) or file.text("digest") != state["weights"]:
            raise WeightsError(
                f"{path}: not the weights that state.json was written with (altered)"
            )
        weights = read_store(file)
    solver = _part(folder, "solver.h5")
    velocities = load_velocities(solver, weights.architecture, state["solver"])
    others = {
        name: load_velocities(_part(folder, f"{name}.h5"), weights.architecture, state[name])
        for name in _OPTIONAL
        if name in state
    }
    return Checkpoint(state["iteration"], weights, velocities, state["extra"], **others)


def _part(folder: Path, name: str) -> Path:
    """A file of a checkpoint; a pipe in its place would have us wait for ever."""
    path = folder / name
    if not path.is_file():
        raise WeightsError(f"{path}: missing, or not a regular file")
    return path


def _state_text(checkpoint: Checkpoint, digests: dict[str, str], config_digest: str) -> str:
    state = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "iteration": int(checkpoint.iteration),
        **digests,
        "config": config_digest,
        "extra": checkpoint.extra,
    }
    try:
        # There and back first: the digest is of what a reader gets, whose keys are all texts.
        state = json.loads(json.dumps(state, allow_nan=False))
        text = json.dumps({**state, "digest": _digest(state)}, indent=1) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"a checkpoint's extra must be JSON: {error}") from error
    if len(text) > MAX_STATE_BYTES:
        raise ValueError(
            f"a checkpoint's extra takes {len(text)} bytes; there is room for {MAX_STATE_BYTES}"
        )
    return text


def _read_state(folder: Path) -> dict[str, Any]:
    """The content of ``state.json``, its digest and types checked."""
    path = _part(folder, "state.json")
    with path.open("rb") as file:
        data = file.read(MAX_STATE_BYTES + 1)
    try:
        if len(data) > MAX_STATE_BYTES:
            raise ValueError("too large")
        state = json.loads(data)
        if not isinstance(state, dict):
            raise ValueError("not an object")
        digest = state.pop("digest", None)
        if digest != _digest(state):
            raise ValueError("its content does not match its digest")
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: altered or damaged ({error})") from error
    if (state.get("format"), state.get("format_version")) != (FORMAT, FORMAT_VERSION):
        raise WeightsError(
            f"{path}: expected {FORMAT!r} version {FORMAT_VERSION}; continue with the version of goturn "
            "that wrote it"
        )
    types = {"iteration": int, "weights": str, "solver": str, "config": str, "extra": dict}
    types |= {name: str for name in _OPTIONAL if name in state}
    for name, kind in types.items():
        if type(state.get(name)) is not kind:
            raise WeightsError(f"{path}: {name} is missing, or not as we write it")
    return state


def _digest(state: dict[str, Any]) -> str:
    """SHA-256 (hex) of the state, whatever the order and spacing of its file."""
    return hashlib.sha256(json.dumps(state, sort_keys=True, allow_nan=False).encode()).hexdigest()
