"""The folder of a run: its files' names, and one process at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from goturn.training.config import TrainConfig
from goturn.weights.atomic import naming, replacing


class RunFolder:
    """Where a run keeps what it makes.

    Args:
        path: the folder; made, with those above it, if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.log = path / "log.txt"
        self.metrics = path / "metrics.csv"
        self.timing = path / "timing.csv"
        self.checkpoints = path / "checkpoints"
        self.features = path / "features"
        self.best = path / "best.h5"
        self.final = path / "final.h5"
        self.examples = path / "examples.png"

    @property
    def begun(self) -> bool:
        """Whether a run has been started here."""
        return self.config.is_file()

    def write_config(self, config: TrainConfig) -> None:
        """Writes the configuration, in one step."""
        with replacing(self.config) as temporary:
            temporary.write_text(config.to_toml(), encoding="utf-8")

    def write_log(self, text: str) -> None:
        """Appends lines to the log, each with the time of day."""
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        with naming(self.log), self.log.open("a", encoding="utf-8") as file:
            file.writelines(f"{now} {line}\n" for line in text.splitlines())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from training here.

        Raises:
            RuntimeError: another one is.
        """
        with locked(self.path, "another process is training here"):
            yield


@contextmanager
def locked(folder: Path, problem: str) -> Iterator[None]:
    """Keeps other processes out of a folder, which is made; the lock goes with the process that holds it.

    Raises:
        RuntimeError: another one is in it; ``problem`` says what that means.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"{folder}: {problem}") from None
        yield
    finally:
        os.close(descriptor)
