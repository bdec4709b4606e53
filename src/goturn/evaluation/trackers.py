"""Trackers by text: what ``--tracker`` takes, ``[NAME=]SPEC``.

==============================  ==================================================================
``goturn``                      ours, with the weights that come with it
``weights.h5``                  or other ones; also ``goturn:weights.h5``; options ``device=`` and such
``cv2:KCF``                     OpenCV's, from ``cv2`` or ``cv2.legacy``; options are its Params'
``identity``                    never moves: what any tracker should beat
``module:Class``                any class, or function that makes one, with ``init`` and ``update``
==============================  ==================================================================

A text is all that a worker process needs to build the tracker.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import goturn
from goturn.data.reading import plain_name
from goturn.evaluation.digests import code_digest, digests_of_files, source_digest


class AnyTracker(Protocol):
    """What is evaluated."""

    def init(self, frame: np.ndarray, box: Iterable[float]) -> object:
        """Starts, or starts anew, on what is in ``box`` (x, y, w, h) of ``frame``."""

    def update(self, frame: np.ndarray) -> Any:
        """The object in the next frame: x, y, w, h in pixels, or OpenCV's pair (found, box)."""


@dataclass(frozen=True)
class TrackerSpec:
    """A tracker by text, taken apart; nothing is loaded or imported yet."""

    name: str
    """Under which it is reported, and its results are kept; fit for a folder's name."""
    kind: str
    """"goturn", "cv2", "identity" or "module"."""
    target: str = ""
    """Weights file, OpenCV's name without "Tracker", or ``module:Class``."""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text without the name."""
        head = self.target or self.kind
        if self.target and self.kind in ("goturn", "cv2"):
            head = f"{self.kind}:{self.target}"
        return head + "".join(f",{name}={value}" for name, value in self.options.items())

    @property
    def deterministic(self) -> bool:
        """Whether it is known to give the same boxes whenever it is run."""
        return self.kind in ("goturn", "identity")

    @property
    def fatal(self) -> tuple[type[Exception], ...]:
        """Its errors that are the machine's doing: of ours, those of a device, too."""
        return (MemoryError, RuntimeError) if self.kind == "goturn" else (MemoryError,)

    @property
    def trusted(self) -> bool:
        """Whether it leaves the frames that it is given as they are."""
        return self.kind != "module"


@dataclass(frozen=True)
class BuiltTracker:
    """A tracker, and what decides its boxes."""

    tracker: AnyTracker
    fingerprint: Mapping[str, object]
    """For the key under which results are kept: digests, versions, options; JSON can hold it."""


_OPTION = re.compile(r",([A-Za-z_]\w*)=([^,]*)$")
_MODULE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_WEIGHTS = (".h5", ".hdf5", ".caffemodel")


def parse_tracker(text: str) -> TrackerSpec:
    """Takes a text apart.

    Raises:
        ValueError: it names no tracker, or gives an option twice, or has a name that is none.
    """
    name, rest = _split_name(text)
    options: dict[str, str] = {}
    while match := _OPTION.search(rest):
        if match[1] in options:
            raise ValueError(f"tracker {text!r}: the option {match[1]} is given twice")
        options[match[1]] = match[2]
        rest = rest[: match.start()]
    options = dict(reversed(options.items()))
    kind, target = _kind_and_target(text, rest)
    if kind == "identity" and options:
        raise ValueError(f"tracker {text!r}: identity takes no options")
    default = {"goturn": Path(target).stem or "goturn", "cv2": target, "identity": "identity"}.get(
        kind, target.rpartition(":")[2]
    )
    if kind == "goturn":
        chosen = (value for key, value in options.items() if key != "device")
        default = "-".join((default, *chosen))
    return TrackerSpec(_checked_name(name or default, text), kind, target, options)


def parse_trackers(texts: Sequence[str]) -> list[TrackerSpec]:
    """As :func:`parse_tracker`, of several.

    Raises:
        ValueError: also where two have the same name.
    """
    specs = [parse_tracker(text) for text in texts]
    for number, spec in enumerate(specs):
        for other in specs[:number]:
            if other.name.casefold() == spec.name.casefold():  # some file systems know no case
                raise ValueError(
                    f"two trackers are called {spec.name!r} ({other.text} and {spec.text}); name one "
                    f"of them: NAME={spec.text}"
                )
    return specs


def build(spec: TrackerSpec) -> BuiltTracker:
    """Makes the tracker.

    Raises:
        ValueError: there is no such tracker or option, or weights that are none.
        FileNotFoundError: no such weights, or files that an OpenCV tracker needs.
        RuntimeError: a device that is not there.
    """
    tracker, decides = _BUILDERS[spec.kind](spec)
    return BuiltTracker(
        tracker,
        {
            "spec": spec.kind if spec.kind == "goturn" else spec.text,
            **decides,
            "goturn": goturn.__version__,
            "opencv": _opencv_version(),
        },
    )


def _split_name(text: str) -> tuple[str, str]:
    """The name before the first ``=``, if that is one, and the rest."""
    head, equals, rest = text.partition("=")
    if not equals or any(c in head for c in ",:/\\") or (Path(text).exists() and rest):
        return "", text
    return head, rest


def _kind_and_target(text: str, rest: str) -> tuple[str, str]:
    if rest in ("identity", "goturn"):
        return rest, ""
    head, colon, tail = rest.partition(":")
    if colon and head in ("goturn", "cv2"):
        if not tail and head == "cv2":
            raise ValueError(
                f"tracker {text!r} names none of OpenCV's; it has {_names_of_opencv()}"
            )
        return head, tail.removeprefix("Tracker") if head == "cv2" else tail
    if rest.endswith(_WEIGHTS) or (rest and not rest.endswith(".py") and Path(rest).exists()):
        return "goturn", rest
    if _MODULE.fullmatch(rest) and ".py:" not in rest:
        return "module", rest
    raise ValueError(_unknown(text, rest))


def _unknown(text: str, rest: str) -> str:
    """What to say of a text that names no tracker."""
    file, script, attribute = rest.partition(".py")
    if script and (not attribute or attribute.startswith(":")):
        return (
            f"tracker {text!r}: name a class in {file}.py as module:Class, here "
            f"{Path(file).name}:{attribute[1:] or 'Class'}; modules are looked for in the current folder "
            "and on PYTHONPATH"
        )
    of_opencv = _names_of_opencv()
    names = {name.casefold(): name for name in ("goturn", "identity", *of_opencv.split(", "))}
    # OpenCV's without its prefix, but ours goes first: OpenCV 4 has a GOTURN too.
    names = {name.removeprefix("cv2:"): full for name, full in names.items()} | names
    close = difflib.get_close_matches(rest.casefold(), names, 1)
    meant = f" (did you mean {names[close[0]]}?)" if close else ""
    return (
        f"there is no tracker {text!r}{meant}; give goturn, a weights file, one of OpenCV's "
        f"({of_opencv}), identity, or module:Class, each as NAME=... if it is to have another name"
    )


def _checked_name(name: str, text: str) -> str:
    try:
        checked = plain_name(name)
    except ValueError:
        checked = ""
    if not checked or not checked.isprintable() or len(checked) > 80 or checked[0] in ".-":
        raise ValueError(
            f"tracker {text!r}: {name[:80]!r} cannot be a tracker's name; give one of letters and "
            "digits: NAME=SPEC"
        )
    return checked


# -- ours


def _build_goturn(spec: TrackerSpec) -> tuple[AnyTracker, dict[str, object]]:
    from goturn.target_policy import PAPER, TargetPolicy
    from goturn.tracker import Tracker
    from goturn.weights import load
    from goturn.weights.default import default_path

    options = dict(spec.options)
    device, precision = options.pop("device", "auto"), options.pop("precision", "auto")
    ahead = options.pop("ahead", "no")
    kept = {name: options.pop(name) for name in ("start", "every") if name in options}
    if options:
        raise ValueError(
            f"tracker {spec.text!r}: there is no option {next(iter(options))!r}; there are device, "
            "precision, ahead, start and every"
        )
    if ahead not in ("yes", "no"):
        raise ValueError(f"tracker {spec.text!r}: ahead must be yes or no; got {ahead!r}")
    weights = load(spec.target or default_path())
    asked = weights.target_policy or PAPER
    given: dict[str, Any] = asked._asdict() | {name: _number(kept[name]) for name in kept}
    try:
        policy = TargetPolicy.of(given.values())
    except ValueError as error:
        raise ValueError(f"tracker {spec.text!r}: {error}") from error
    tracker = Tracker(
        weights, device=device, precision=precision, ahead=ahead == "yes", target_policy=policy
    )
    network = tracker.network
    return tracker, {
        "weights": weights.digest,
        "device": network.ops.name,
        "precision": network.precision,
        "target_policy": list(policy),  # which the weights' digest is not of
        "ahead": ahead,  # the boxes are the same, their times are not
        "code": code_digest(),
    }


# -- OpenCV's


def _build_opencv(spec: TrackerSpec) -> tuple[AnyTracker, dict[str, object]]:
    from goturn.evaluation import opencv

    decides: dict[str, object] = {
        "files": digests_of_files(spec.options),
        "lost": spec.options.get("lost", opencv.KEEP),
    }
    return opencv.make(spec.target, spec.options), decides


def _names_of_opencv() -> str:
    from goturn.evaluation import opencv

    return opencv.names()


def _opencv_version() -> str:
    import cv2

    return str(cv2.__version__)


# -- the others


class Identity:
    """Never moves."""

    def init(self, frame: np.ndarray, box: Iterable[float]) -> None:
        """Takes the box."""
        self._box = tuple(box)

    def update(self, frame: np.ndarray) -> tuple[float, ...]:
        """The same box."""
        return self._box


def _build_identity(spec: TrackerSpec) -> tuple[AnyTracker, dict[str, object]]:
    return Identity(), {}


def _build_module(spec: TrackerSpec) -> tuple[AnyTracker, dict[str, object]]:
    name, _, attributes = spec.target.partition(":")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:  # as python -m has it
        sys.path.insert(0, here)
    try:
        made: Any = importlib.import_module(name)
        for attribute in attributes.split("."):
            made = getattr(made, attribute)
        tracker: Any = made(**{key: _value(text) for key, text in spec.options.items()})
    except (
        Exception
    ) as error:  # others' code: whatever it is, the rest of the command line may be well
        raise ValueError(f"tracker {spec.text!r} cannot be made: {_short(error)}") from error
    for method in ("init", "update"):
        if not callable(getattr(tracker, method, None)):
            raise ValueError(
                f"tracker {spec.text!r}: {type(tracker).__name__} has no method {method!r}; a tracker "
                "has init(frame, box) and update(frame)"
            )
    return tracker, {"source": source_digest(made), "files": digests_of_files(spec.options)}


def _value(text: str) -> object:
    """A number, yes or no as True or False, else the text."""
    return text == "yes" if text in ("yes", "no") else _number(text)


def _number(text: str) -> float | str:
    """A number, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _short(error: BaseException) -> str:
    """An exception's kind and the beginning of what it says."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


_BUILDERS: dict[str, Callable[[TrackerSpec], tuple[AnyTracker, dict[str, object]]]] = {
    "goturn": _build_goturn,
    "cv2": _build_opencv,
    "identity": _build_identity,
    "module": _build_module,
}
