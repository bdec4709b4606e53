"""GOTURN as a process that speaks TraX, the protocol by which VOT's toolkit runs trackers.

``pip install '.[vot]'`` brings the protocol's library.  One command writes what the toolkit must know,
into the ``trackers.ini`` of its workspace::

    python -m goturn.adapters.trax --weights goturn.h5 --write-ini workspace/trackers.ini
    vot --registry workspace/trackers.ini test GOTURN
    vot evaluate --workspace workspace GOTURN

Objects come as rectangles or polygons, of which the upright rectangle around them is tracked, any number
at a time, and answers are rectangles; images come as files, encoded in memory or as pixels.  Coordinates
are taken as they come and go back in the same way: old sets of VOT count from 1, and there a box is one
pixel off what is meant, as it is for every tracker, since the toolkit itself draws and scores from 0.
The protocol carries four decimals.

Standard output belongs to the protocol: what else would be printed goes to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from goturn import __version__
from goturn.adapters.trackers_ini import PROTOCOLS, check_identifier, section, write_section
from goturn.box import Box
from goturn.ops import PRECISION_OPTION
from goturn.tracker import MultiTracker, WeightsLike
from goturn.video import read_image

DESCRIPTION = "GOTURN as a tracker process for VOT's toolkit, by the TraX protocol."


def main(arguments: Sequence[str] | None = None) -> int:
    """The tracker process, or with ``--write-ini`` what registers it; gives the exit code."""
    args = _parser().parse_args(arguments)
    try:
        if args.write_ini is not None:
            return _write_ini(args)
        with contextlib.redirect_stdout(sys.stderr):
            serve(args.weights, device=args.device, precision=args.precision)
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, TypeError, RuntimeError, ImportError) as error:
        print(f"goturn.adapters.trax: error: {error}", file=sys.stderr)
        return 1
    return 0


def serve(
    weights: WeightsLike | None = None, *, device: str = "auto", precision: str = "auto"
) -> None:
    """Tracks what a TraX client sends until it has enough.

    The weights are loaded before the client is greeted, so that its time limit is for tracking.  The
    client's end is the standard input and output, or the socket that ``TRAX_SOCKET`` names.

    Args:
        weights, device, precision: see :class:`goturn.MultiTracker`.

    Raises:
        FileNotFoundError, ValueError: no such file, or not weights; an image that cannot be read, or a
            region that is no box in it.  The client is told why.
        ImportError: the package ``trax`` is not installed.
        RuntimeError: a device that is not there, or a client that has gone without a word.
    """
    trax = _trax()
    tracker = MultiTracker(weights, device=device, precision=precision)
    server = trax.Server(
        [trax.Region.RECTANGLE, trax.Region.POLYGON],
        [trax.Image.PATH, trax.Image.MEMORY, trax.Image.BUFFER],
        tracker_name="GOTURN",
        tracker_description=f"goturn {__version__}",
        tracker_family="GOTURN",
        multiobject=True,
    )
    try:
        while answer(server, tracker, trax.TraxStatus):
            pass
    except trax.TraxException as error:
        raise RuntimeError(f"the TraX client broke off: {error}") from error
    except Exception as error:
        with contextlib.suppress(trax.TraxException):  # the client has gone, too
            server.quit(reason=str(error))
        raise
    server.quit()


def answer(server: Any, tracker: MultiTracker, status: Any) -> bool:
    """Waits for a request and answers it; false if it is that to quit.

    ``initialize`` starts anew with the objects it brings; ``frame`` finds all objects and may bring more,
    which are answered as they came.  Objects are answered in the order in which they came.
    """
    request = server.wait()
    if request.type == status.QUIT:
        return False
    frame = frame_of(request.image)
    if request.type == status.INITIALIZE:
        for key in tracker.boxes:
            tracker.remove(key)
        if not request.objects:
            raise ValueError("initialize must bring an object to track, and brought none")
    else:
        if not len(tracker):
            raise ValueError("frame came before initialize; initialize with an object first")
        tracker.update(frame)
    for region, _ in request.objects or ():
        tracker.add(frame, box_of(region))
    server.status([(_rectangle(box), {}) for box in tracker.boxes.values()])
    return True


def frame_of(images: Mapping[str, Any]) -> np.ndarray:
    """The colour image of a request, (H, W, 3) or (H, W, 1) uint8, BGR.

    Raises:
        OSError, ValueError: there is none, or it cannot be read.
    """
    image = images.get("color")
    if image is None:
        raise ValueError(f"no colour image came; got {', '.join(images) or 'none at all'}")
    kind = image.type()
    if kind == "path":
        return read_image(Path(image.path()))
    if kind == "memory":
        pixels: np.ndarray = image.array()
        if pixels.dtype != np.uint8:
            raise ValueError(f"an image of {pixels.dtype} came; send 8 bits for each value")
        return pixels[..., ::-1] if pixels.shape[2] == 3 else pixels
    if kind == "buffer":
        try:
            decoded = cv2.imdecode(np.frombuffer(image.buffer(), np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            decoded = None
        if decoded is None:
            raise ValueError("an encoded image came that OpenCV cannot decode")
        return decoded
    raise ValueError(f"an image came as {kind!r}; send a path, pixels or an encoded image")


def box_of(region: Any) -> Box:
    """A rectangle, or the upright rectangle around a polygon, pixels.

    Raises:
        ValueError: another kind of region.
    """
    if region.type == "rectangle":
        return Box(*region.bounds())
    if region.type == "polygon":
        xs, ys = zip(*region, strict=True)
        return Box(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
    raise ValueError(f"a region of kind {region.type!r} came; send a rectangle or a polygon")


def _rectangle(box: Box) -> Any:
    return _trax().Rectangle.create(*box)


def _trax() -> Any:
    try:
        import trax
    except (ImportError, OSError) as error:  # OSError: its shared library is for another system
        raise ImportError(
            "goturn.adapters.trax needs the package that speaks TraX, which cannot be imported here "
            f"({error}); pip install vot-trax"
        ) from error
    return trax


def _write_ini(args: argparse.Namespace) -> int:
    # What is wrong shows here rather than in every run.
    MultiTracker(args.weights, device=args.device, precision=args.precision)
    text = section(
        args.name,
        weights=args.weights,
        device=args.device,
        precision=args.precision,
        protocol=args.protocol,
    )
    if args.write_ini == "-":
        print(text, end="")
    else:
        write_section(Path(args.write_ini), args.name, text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m goturn.adapters.trax", description=DESCRIPTION)
    parser.add_argument("--weights", metavar="FILE", help="in any format that goturn reads")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or reference")
    parser.add_argument("--precision", **PRECISION_OPTION)
    ini = parser.add_argument_group("registering it with VOT's toolkit")
    ini.add_argument(
        "--write-ini",
        metavar="FILE",
        help="add the tracker to this trackers.ini, instead of tracking; - prints it",
    )
    ini.add_argument(
        "--name", type=check_identifier, default="GOTURN", help="what the toolkit calls it"
    )
    ini.add_argument(
        "--protocol", choices=PROTOCOLS, default="trax", help="how the toolkit starts it"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
