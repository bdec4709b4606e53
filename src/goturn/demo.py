"""A clip that is made here, with its truth: what ``goturn demo`` tracks where nobody has a video at hand.

A car drives along a country road under a camera that pans and shakes: it comes nearer and goes away
again, passes behind a lamp post and a tree, and another car comes towards it.  Everything is drawn from
noise and polygons, the same on every machine but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from goturn.box import Box
from goturn.outputs import STDOUT, UNKNOWN, Output
from goturn.video import Source

SIZE = (640, 480)
FPS = 30.0
FRAMES = 300

#: Pixels that a car is drawn with, before it is scaled; more than it ever has in a frame.
_CAR = (480, 240)
_FRACTION_BITS = 4  # of polygon corners, which cv2 takes as fixed-point numbers
_HORIZON = 190
_ROAD = 330  # the middle of the road, rows from the top


class DemoSource(Source):
    """The clip as a source of frames.

    Args:
        frames: how many, at most :data:`FRAMES`.
    """

    def __init__(self, frames: int = FRAMES) -> None:
        super().__init__("the demo's clip", 0)
        self.claimed = min(frames, FRAMES)
        self.fps = FPS
        self.truth: list[Box] = [truth(index) for index in range(self.claimed)]
        """The car's box in each frame, hidden parts included, pixels."""
        self._scene = Scene()
        self._read_first()

    def _next(self) -> np.ndarray | None:
        if self._closed or self.read >= len(self.truth):
            return None
        return self._scene.frame(self.read)


class Overlaps(Output):
    """Takes boxes, and holds them against the truth.

    Args:
        truth: the object's box in each frame.
    """

    name = STDOUT  # nothing to tell of

    def __init__(self, truth: Sequence[Box]) -> None:
        self._truth = truth
        self.found: list[float] = []
        """IoU, frame by frame."""

    def write(
        self,
        index: int,
        frame: np.ndarray,
        boxes: Mapping[int, Box],
        confidences: Mapping[int, float] = UNKNOWN,
    ) -> None:
        self.found += [self._truth[index].iou(box) for box in boxes.values()]

    def close(self) -> None:
        """Nothing is open."""


def _camera(index: int) -> tuple[float, float]:
    """Where the camera looks, pixels of the panorama: it pans after the car, late, and shakes."""
    t = index / FPS
    shake = 1.5 * math.sin(17 * t) + 1.1 * math.sin(29 * t + 1), 1.3 * math.sin(23 * t + 2)
    return 260 + 30 * t + 40 * math.sin(0.5 * t) + shake[0], 20 + shake[1]


def _car(index: int) -> tuple[float, float, float, float]:
    """Middle and bottom of the car in the panorama, its scale, and its tilt in degrees."""
    t = index / FPS
    x = 480 + 34 * t + 95 * math.sin(0.62 * t)
    nearness = 0.5 - 0.5 * math.cos(2 * math.pi * t / 10)
    bumps = 1.2 * math.sin(9 * t) * math.sin(2.1 * t)
    return x, _ROAD + 30 + 45 * nearness + bumps, 0.21 + 0.13 * nearness, 1.5 * math.sin(5 * t)


def truth(index: int) -> Box:
    """The car's box in a frame, pixels; parts that are hidden count."""
    x, bottom, scale, _ = _car(index)
    left, top = _camera(index)
    width, height = 0.94 * _CAR[0] * scale, 0.80 * _CAR[1] * scale
    return Box(x - left - width / 2, bottom - top - height, width, height)


class Scene:
    """What the frames are made of: drawn once."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self._noise = rng.normal(0, 3.0, (8, SIZE[1], SIZE[0], 1)).astype(np.float32)
        self._panorama = _panorama(rng)
        self._target = _drawn_car((50, 50, 205), (38, 34, 150))
        self._other = _drawn_car((190, 140, 60), (140, 95, 40))[:, ::-1]
        self._tree = _drawn_tree(rng)
        self._post = _drawn_post()

    def frame(self, index: int) -> np.ndarray:
        """Frame number ``index``: (480, 640, 3) uint8 BGR."""
        left, top = _camera(index)
        # A shift by fractions of a pixel, as a camera has it.
        view = np.array([[1, 0, -left], [0, 1, -top]], np.float64)
        frame = cv2.warpAffine(
            self._panorama, view, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        t = index / FPS
        _place(frame, self._other, (1500 - 105 * t - left, _ROAD + 14 - top), 0.19)
        x, bottom, scale, tilt = _car(index)
        _place(frame, self._target, (x - left, bottom - top), scale, tilt)
        # Nearer than the car: they pass by faster than the ground.
        near = 1.35 * (left - 260)
        _place(frame, self._post, (560 - near, 470 - top), 1.0)
        _place(frame, self._tree, (1010 - near, 476 - top), 1.0)
        noisy = frame + self._noise[index % len(self._noise)]
        seen: np.ndarray = np.clip(noisy, 0, 255).astype(np.uint8)
        return seen


def _place(
    frame: np.ndarray, sprite: np.ndarray, at: tuple[float, float], scale: float, tilt: float = 0.0
) -> None:
    """Lays a (h, w, 4) sprite onto a frame, the middle of its lower edge at ``at``."""
    x, bottom = at
    height, width = sprite.shape[:2]
    place = cv2.getRotationMatrix2D((width / 2, float(height)), tilt, scale)
    place[:, 2] += (x - width / 2, bottom - height)
    shrunk = sprite
    if scale < 0.5:  # linear interpolation alone would skip pixels
        shrunk = cv2.GaussianBlur(sprite, (0, 0), 0.4 / scale)
    reach = math.hypot(width, height) * scale
    x0, x1 = max(0, int(x - reach)), min(frame.shape[1], int(x + reach) + 1)
    y0, y1 = max(0, int(bottom - reach)), min(frame.shape[0], int(bottom + reach) + 1)
    if x0 >= x1 or y0 >= y1:
        return
    place[:, 2] -= (x0, y0)
    laid = cv2.warpAffine(shrunk, place, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    alpha = laid[..., 3:].astype(np.float32) / 255
    part = frame[y0:y1, x0:x1]
    part[:] = (part * (1 - alpha) + laid[..., :3] * alpha).astype(np.uint8)


def _noise(rng: np.random.Generator, height: int, width: int, coarsest: int) -> np.ndarray:
    """Fractal noise about 0, of order 1: octaves of random values, each finer and fainter."""
    total = np.zeros((height, width), np.float32)
    cell, strength = coarsest, 1.0
    while cell >= 1:
        shape = (-(-height // cell) + 1, -(-width // cell) + 1)
        values = rng.normal(0, strength, shape).astype(np.float32)
        total += cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC)
        cell //= 2
        strength *= 0.62
    return total


def _panorama(rng: np.random.Generator) -> np.ndarray:
    """All of the ground that the camera sees: sky, hills, meadow and road."""
    height, width = SIZE[1] + 60, 2000
    rows = np.arange(height, dtype=np.float32)[:, None, None]
    sky = np.array([235, 200, 160], np.float32) + rows * np.array([0.05, 0.2, 0.35], np.float32)
    clouds = np.clip(_noise(rng, height, width, 128), 0, 2)[..., None] * 22
    ground = np.array([60, 125, 95], np.float32) + _noise(rng, height, width, 64)[..., None] * 14
    image = np.where(rows < _HORIZON + 20, sky + clouds, ground)

    columns = np.arange(width)
    for number, colour in enumerate([(150, 145, 120), (105, 120, 90), (70, 100, 70)]):
        steps = _noise(rng, 1, width, 256)[0]
        skyline = _HORIZON - 45 + 25 * number - cv2.GaussianBlur(steps[None], (0, 0), 12)[0] * 26
        hill = np.arange(height)[:, None] > skyline[columns][None]
        hill &= np.arange(height)[:, None] < _HORIZON + 30
        shade = np.array(colour, np.float32) + _noise(rng, height, width, 16)[..., None] * 7
        image = np.where(hill[..., None], shade, image)

    road = (rows > _ROAD - 12) & (rows < _ROAD + 100)
    asphalt = np.array([112, 110, 108], np.float32) + _noise(rng, height, width, 32)[..., None] * 7
    image = np.where(road, asphalt, image)
    dashes = (np.abs(rows - (_ROAD + 40)) < 2.5) & ((columns // 45) % 2 == 0)[None, :, None]
    image = np.where(dashes, 225 + 0 * image, image)
    drawn: np.ndarray = np.clip(image, 0, 255).astype(np.uint8)
    for x in range(20, width, 85):  # a fence, whose posts look alike
        cv2.rectangle(drawn, (x, _ROAD - 50), (x + 5, _ROAD - 18), (58, 78, 105), -1, cv2.LINE_AA)
    for y in (_ROAD - 44, _ROAD - 30):
        cv2.line(drawn, (0, y), (width, y), (62, 84, 112), 3, cv2.LINE_AA)
    return drawn


def _polygon(
    canvas: np.ndarray, points: Sequence[tuple[float, float]], colour: Sequence[float]
) -> None:
    corners = np.round(np.array(points) * 2.0**_FRACTION_BITS).astype(np.int32)
    cv2.fillPoly(canvas, [corners], colour, cv2.LINE_AA, _FRACTION_BITS)


def _drawn_car(body: tuple[int, int, int], shade: tuple[int, int, int]) -> np.ndarray:
    """A car from the side, 480 x 240 with an alpha channel; it fills 94 % by 80 % of that."""
    canvas = np.zeros((_CAR[1], _CAR[0], 4), np.uint8)
    opaque = (255,)
    _polygon(
        canvas,
        [
            *((16, 190), (14, 140), (40, 118), (110, 104), (165, 50), (310, 48), (368, 100)),
            *((440, 114), (464, 138), (466, 192), (440, 208), (40, 208)),
        ],
        body + opaque,
    )
    _polygon(
        canvas,
        [(16, 165), (466, 165), (466, 192), (440, 208), (40, 208), (16, 190)],
        shade + opaque,
    )
    for window in (
        [(128, 106), (172, 62), (232, 60), (232, 106)],
        [(244, 106), (244, 60), (304, 60), (346, 104)],
    ):
        _polygon(canvas, window, (92, 74, 58, 255))
    _polygon(canvas, [(150, 98), (180, 66), (200, 66), (168, 100)], (180, 165, 150, 255))
    for x, colour in ((452, (150, 235, 250, 255)), (20, (40, 40, 230, 255))):
        cv2.ellipse(canvas, (x, 142), (13, 11), 0, 0, 360, colour, -1, cv2.LINE_AA)
    cv2.line(canvas, (238, 110), (238, 196), shade + opaque, 3, cv2.LINE_AA)
    cv2.line(canvas, (186, 128), (210, 128), (210, 210, 210, 255), 4, cv2.LINE_AA)
    for x in (110, 370):
        cv2.circle(canvas, (x, 200), 39, (30, 28, 28, 255), -1, cv2.LINE_AA)
        cv2.circle(canvas, (x, 200), 23, (185, 185, 190, 255), -1, cv2.LINE_AA)
        cv2.circle(canvas, (x, 200), 8, (70, 70, 75, 255), -1, cv2.LINE_AA)
    return canvas


def _drawn_tree(rng: np.random.Generator) -> np.ndarray:
    """A slim tree, 150 x 460 with an alpha channel."""
    canvas = np.zeros((460, 150, 4), np.uint8)
    _polygon(canvas, [(66, 460), (69, 150), (81, 150), (86, 460)], (42, 58, 78, 255))
    for _ in range(260):
        x, y = rng.normal(75, 26), rng.normal(105, 44)
        green = int(rng.integers(70, 140))
        spot = (int(np.clip(x, 14, 136)), int(np.clip(y, 14, 230)))
        colour = (green // 3, green, green // 2, 255)
        cv2.circle(canvas, spot, int(rng.integers(5, 13)), colour, -1, cv2.LINE_AA)
    return canvas


def _drawn_post() -> np.ndarray:
    """A lamp post, 60 x 440 with an alpha channel."""
    canvas = np.zeros((440, 60, 4), np.uint8)
    cv2.rectangle(canvas, (26, 30), (33, 439), (88, 88, 84, 255), -1)
    cv2.rectangle(canvas, (12, 14), (47, 32), (64, 64, 60, 255), -1)
    cv2.rectangle(canvas, (16, 24), (43, 32), (190, 235, 250, 255), -1)
    return canvas
