"""Scalars for TensorBoard, written with its own package and without TensorFlow or PyTorch.

(``tensorboard``'s event writer imports TensorFlow where that is installed, and writes in a thread whose
errors surface late.  Its record writer, which is all that a file of events takes, does neither.)
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from pathlib import Path
from typing import Any

from goturn.weights.atomic import naming

_numbers = itertools.count()


class Board:
    """An event file of a training run; ``tensorboard --logdir FOLDER`` shows it.

    Args:
        folder: where the file goes, among those of the run's earlier parts; made where it is not there.
        purge_step: of a run that goes on, the step it goes on with: events of earlier files from
            this step on are void.

    Raises:
        RuntimeError: the package ``tensorboard`` is not installed.
        OSError: the file cannot be written.
    """

    def __init__(self, folder: Path, *, purge_step: int | None = None) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError as error:
            raise RuntimeError(
                f"events for TensorBoard need its package ({error}); "
                "pip install tensorboard, or train without them"
            ) from error
        self._event: Any = event_pb2.Event
        self._summary: Any = summary_pb2.Summary
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}"
        self._path = folder / f"{name}.{os.getpid()}.{next(_numbers)}"
        with naming(self._path):
            folder.mkdir(parents=True, exist_ok=True)
            self._records: Any = RecordWriter(self._path.open("xb"))
        self._write(self._event(file_version="brain.Event:2"))
        if purge_step is not None:
            session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(self._event(step=purge_step, session_log=session))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Adds a value to the curve ``tag``, and hands it to the operating system.

        Args:
            tag: name of the curve ("loss"); those before a slash are shown together.
            value: finite or not.
            step: iterations done.

        Raises:
            OSError: writing failed; the message names the file.
        """
        point = self._summary.Value(tag=tag, simple_value=float(value))
        self._write(self._event(step=step, summary=self._summary(value=[point])))

    def close(self) -> None:
        """Closes the file; doing so twice does no harm."""
        with naming(self._path):
            self._records.close()

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        with naming(self._path):
            self._records.write(event.SerializeToString())
            self._records.flush()
