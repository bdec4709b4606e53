"""What trackers did, kept: a file for each tracker, video, experiment and repetition.

``FOLDER/<experiment>/<tracker>/<video>_001.json`` holds boxes, codes and times to the last
bit, and the key of what they are of.  A file whose key is not the one asked for (other weights, another
OpenCV, other truth ...), or that is damaged, is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from goturn.data.model import Dataset, Video
from goturn.data.reading import plain_name, read_bytes, subfolders
from goturn.evaluation.results import TRACKED, Trajectory
from goturn.evaluation.session import Run
from goturn.weights.atomic import replacing

#: Changes when the files' form or what the loops do changes; older results are not taken then.
VERSION = 1

#: Largest file that is read, bytes: some two million frames.
MAX_BYTES = 256 << 20

#: Largest number of frames a side that a result may claim.
_MAX_SIDE = 1 << 20


@dataclass(frozen=True)
class RunKey:
    """What a run is of."""

    experiment: str
    """"one-pass", "baseline" or "region_noise"."""
    tracker: str
    """Its name."""
    video: str
    repetition: int
    """From 0."""


class Store:
    """The results of one data set.

    Args:
        folder: of the data set's results.
        settings: what decides runs besides tracker and video, by experiment: which overlap is a failure.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Mapping[str, object]]) -> None:
        self.folder = folder
        self._settings = {name: dict(value) for name, value in settings.items()}
        self._videos: dict[str, str] = {}

    def path(self, key: RunKey) -> Path:
        """The file of a run."""
        name = f"{key.video}_{key.repetition + 1:03d}.json"
        return self.folder / key.experiment / plain_name(key.tracker) / plain_name(name)

    def load(
        self, key: RunKey, video: Video, fingerprint: Mapping[str, object] | None
    ) -> Run | None:
        """A run that was kept.

        Args:
            key: which.
            video: of that name.
            fingerprint: of the tracker; None takes whatever made the result.

        Returns:
            None where there is none, or it is of something else, or damaged.
        """
        found = self.read(key, video, fingerprint)
        return None if found is None else found[0]

    def read(
        self, key: RunKey, video: Video, fingerprint: Mapping[str, object] | None
    ) -> tuple[Run, Mapping[str, object]] | None:
        """As :meth:`load`; also the fingerprint of the tracker that the run is of."""
        try:
            content = json.loads(read_bytes(self.path(key), MAX_BYTES))
            of, result = content["of"], content["result"]
            if content["sha256"] != _digest({"of": of, "result": result}):
                return None
            expected = self._of(key, video, of["tracker"] if fingerprint is None else fingerprint)
            return (_run_of(result), of["tracker"]) if of == _plain(expected) else None
        except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
            return None

    def save(self, key: RunKey, video: Video, fingerprint: Mapping[str, object], run: Run) -> None:
        """Keeps a run: the file is there whole, or not at all.

        Raises:
            OSError: it cannot be written.
        """
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {
            "of": self._of(key, video, fingerprint),
            "result": _result_of(run),
        }
        content = _plain(content)
        content["sha256"] = _digest(content)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")

    def trackers(self, experiment: str) -> list[str]:
        """Names of those that have results."""
        folder = self.folder / experiment
        return subfolders(folder) if folder.is_dir() else []

    def _of(
        self, key: RunKey, video: Video, fingerprint: Mapping[str, object]
    ) -> dict[str, object]:
        if video.name not in self._videos:
            self._videos[video.name] = video_digest(video)
        return {
            "version": VERSION,
            "experiment": key.experiment,
            "settings": self._settings.get(key.experiment, {}),
            "video": {"name": key.video, "digest": self._videos[video.name]},
            "repetition": key.repetition,
            "tracker": dict(fingerprint),
        }


#: What evaluations write, as patterns under their folder: in ``runs`` by data set, reports beside it or,
#: of several data sets, in folders of their names.
_WRITTEN = (
    *(f"{name}.tmp.*" for name in ("report.html", "report.json", "scores.csv", "per-video.csv")),
    "plots/*.png.tmp.*",
    *(
        f"{kind}/{data}/**/*.tmp.*"
        for kind in ("results", "reports")
        for data in ("OTB2015", "GOT-10k")
    ),
)


def remove_temporaries(folder: Path, datasets: Iterable[str]) -> None:
    """Removes what a killed evaluation has left half written, where evaluations write and nowhere else:
    the folder may hold others' work, too.

    Args:
        folder: of the evaluation, which nobody else is writing to.
        datasets: names of those that are evaluated now.
    """
    patterns = [(folder, pattern) for pattern in _WRITTEN]
    for name in datasets:
        patterns += [(folder / name, pattern) for pattern in _WRITTEN]
        patterns += [(folder / "runs" / name, "*/*/*_[0-9][0-9][0-9].json.tmp.*")]
    for place, pattern in patterns:
        for path in place.glob(pattern):
            if re.search(r"\.tmp\.[0-9]+\.[0-9]+$", path.name):
                path.unlink(missing_ok=True)


def video_digest(video: Video) -> str:
    """SHA-256 of what a run depends on: the truth, and the frames' names and sizes in bytes.

    Images are not read: whoever changes one without changing its length must remove the results.
    """
    digest = hashlib.sha256()
    for path in video.frames:
        try:
            length = path.stat().st_size
        except OSError:
            length = -1
        digest.update(f"{path.name} {length}\n".encode())
    for number, box in video.boxes.items():
        corners = video.corners.get(number, ())
        text = " ".join(float(value).hex() for value in (*box, *corners))
        digest.update(f"{number} {text} {number in video.ignored}\n".encode())
    return digest.hexdigest()


def dataset_names(datasets: list[Dataset]) -> list[str]:
    """A name for each, from the end of its path, fit for a folder and unlike the others'."""
    paths = [dataset.path.resolve() for dataset in datasets]
    for depth in range(1, max((len(path.parts) for path in paths), default=1) + 1):
        names = ["-".join(part for part in path.parts[-depth:] if part != "/") for path in paths]
        if len(set(names)) == len(names):
            break
    else:  # the same folder read in two ways
        names = [f"{name}-{number}" for number, name in enumerate(names, 1)]
    return [name or dataset.kind for name, dataset in zip(names, datasets, strict=True)]


def _result_of(run: Run) -> dict[str, Any]:
    trajectory = run.trajectory
    return {
        "width": trajectory.width,
        "height": trajectory.height,
        "codes": "".join(map(str, trajectory.codes.tolist())),
        "boxes": [_listed(row) for row in trajectory.boxes.tolist()],
        "seconds": _listed(trajectory.seconds.tolist()),
        "problems": list(run.problems),
        "problem_count": run.problem_count,
        "jobs": run.jobs,
    }


def _listed(values: list[float]) -> list[float | None]:
    """Numbers as JSON has them: null where they are NaN."""
    return [None if math.isnan(value) else value for value in values]


def _run_of(result: Any) -> Run:
    """The run that a file tells of.

    Raises:
        ValueError, KeyError, TypeError: it tells of none.
    """
    codes = np.array([int(code) for code in result["codes"]], np.uint8)
    boxes = np.array(result["boxes"], np.float64)  # null becomes NaN
    seconds = np.array(result["seconds"], np.float64)
    if boxes.shape != (len(codes), 4) or seconds.shape != codes.shape or codes.max() > TRACKED:
        raise ValueError("shapes that do not fit each other")
    width, height = int(result["width"]), int(result["height"])
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise ValueError("a frame of no size")
    trajectory = Trajectory(boxes, codes, seconds, width, height)
    problems = tuple(map(str, result["problems"]))
    return Run(trajectory, problems, int(result["problem_count"]), int(result["jobs"]))


def _plain(content: Any) -> Any:
    """As JSON gives it back: tuples as lists, keys as texts."""
    return json.loads(json.dumps(content))


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
