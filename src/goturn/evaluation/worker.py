"""What runs in a worker process of :mod:`goturn.evaluation.pool`: trackers.

It does what comes over a connection, one thing after another, and keeps the tracker that it used last.
When the connection ends, because the evaluation has ended or was killed, so does the process, at once.
"""

from __future__ import annotations

import gc
import os
import queue
import threading
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from goturn.data.images import FrameReader, default_capacity
from goturn.data.model import Video
from goturn.evaluation.experiments import Experiment, run_experiment
from goturn.evaluation.session import Read, Run
from goturn.evaluation.trackers import BuiltTracker, TrackerSpec, build

#: How often progress is told, seconds.
TELL_EVERY = 0.2


@dataclass(frozen=True)
class Build:
    """Asks for a tracker to be made; answered by :class:`Built` or :class:`Failed`."""

    spec: TrackerSpec


@dataclass(frozen=True)
class Track:
    """Asks for a run; answered by some :class:`Step`, and :class:`Tracked` or :class:`Failed`."""

    spec: TrackerSpec
    video: Video
    experiment: Experiment
    repetition: int


@dataclass(frozen=True)
class Step:
    """So many frames more are done."""

    frames: int


@dataclass(frozen=True)
class Built:
    """A tracker was made."""

    fingerprint: dict[str, object]


@dataclass(frozen=True, eq=False)
class Tracked:
    """A run is done."""

    run: Run
    fingerprint: dict[str, object]
    """Of the tracker that did it: a file of weights can change while others are at work."""


@dataclass(frozen=True)
class Failed:
    """It could not be done, and why: a sentence."""

    reason: str


Question = Build | Track
Answer = Step | Built | Tracked | Failed


class Worker:
    """What a worker process does.

    Args:
        connection: takes answers.
        jobs: how many such processes share the machine.
    """

    def __init__(self, connection: Connection, jobs: int) -> None:
        self._connection, self._jobs = connection, jobs
        self._reader = FrameReader(default_capacity() // jobs)
        self._spec: TrackerSpec | None = None
        self._built: BuiltTracker | None = None
        self._frames = 0
        self._told = 0.0

    def answer(self, question: Question) -> None:
        """Does it, and sends what came of it."""
        try:
            built = self._tracker(question.spec)
            fingerprint = dict(built.fingerprint)
            result: Answer = Built(fingerprint)
            if isinstance(question, Track):
                result = Tracked(self._track(built, question), fingerprint)
        except Exception as error:  # whatever it is, the others' runs can go on
            result = Failed(_sentence(error))
        self._tell()
        self._connection.send(result)

    def _tracker(self, spec: TrackerSpec) -> BuiltTracker:
        if self._built is None or spec != self._spec:
            self._built = None  # so that two are never in memory
            gc.collect()
            self._built, self._spec = build(spec), spec
        return self._built

    def _track(self, built: BuiltTracker, question: Track) -> Run:
        read: Read = self._reader.read
        if not question.spec.trusted:
            read = self._read_copy
        run = run_experiment(
            built.tracker,
            question.video,
            question.experiment,
            question.repetition,
            read,
            fatal=question.spec.fatal,
            step=self._step,
        )
        return replace(run, jobs=self._jobs)

    def _read_copy(self, path: Path) -> np.ndarray:
        """A frame that may be written to: those that are kept are used again."""
        return np.array(self._reader.read(path))

    def _step(self) -> None:
        self._frames += 1
        if time.monotonic() - self._told > TELL_EVERY:
            self._tell()

    def _tell(self) -> None:
        if self._frames:
            self._connection.send(Step(self._frames))
        self._frames, self._told = 0, time.monotonic()


def _sentence(error: Exception) -> str:
    """What went wrong; the kind of error too where that is none of those with sentences of their own."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(str(error).split())
    if isinstance(error, (OSError, ValueError, RuntimeError)) and text:
        return text
    return f"{type(error).__name__}{': ' if text else ''}{text}"


def main(descriptor: int, jobs: int) -> None:
    """Answers questions until the connection ends."""
    connection = Connection(descriptor)
    questions: queue.SimpleQueue[Question] = queue.SimpleQueue()

    def receive() -> None:
        try:
            while True:
                questions.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)  # in the middle of a run, too: nobody waits for it any more

    threading.Thread(target=receive, daemon=True).start()
    if jobs > 1 and "GOTURN_NUM_THREADS" in os.environ:
        import cv2

        cv2.setNumThreads(int(os.environ["GOTURN_NUM_THREADS"]))
    worker = Worker(connection, jobs)
    try:
        while True:
            worker.answer(questions.get())
    except (BrokenPipeError, ConnectionResetError):  # as in receive()
        os._exit(0)
