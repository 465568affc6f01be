"""Rendering of toys on a table: shadows, occlusion, light, lens and compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from sightline.demo.surfaces import draw_surface
from sightline.demo.toys import CLASSES, draw_toy
from sightline.demo.truth import LEAST_VISIBLE, Scene, Truth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sightline.types import BGRImage

_SHADOW = 0.5  # share of the light that is blocked in a shadow's core


@dataclass(frozen=True, slots=True)
class Toy:
    """A placed toy: x and y of its centre and its size in pixels, its angle in degrees."""

    class_id: int
    look: int
    x: float
    y: float
    size: float
    angle: float
    track_id: int


@dataclass(frozen=True, slots=True)
class Stamp:
    """A drawn toy cut to the picture: `area` is its place, `full` its whole area in pixels."""

    area: tuple[slice, slice]
    pixels: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    full: int


class Table:
    """A surface with lamp and camera, on which the toys of each picture are rendered.

    Args:
        rng: determines the surface, the lamp and the camera.
        width: of the picture, pixels.
        height: of the picture, pixels.
    """

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._surface = draw_surface(rng, width, height)
        turn = rng.uniform(0, 2 * np.pi)
        self.light = (0.9 * float(np.cos(turn)), 0.9 * float(np.sin(turn)))
        self._glow = _glow(rng, width, height, self.light)
        self._blur = float(rng.choice([0.0, rng.uniform(0.4, 1.0)])) * max(
            min(width, height) / 400, 0.5
        )
        self._noise = float(rng.uniform(0, 7))
        self._quality = int(rng.integers(50, 96))

    def stamp(self, toy: Toy) -> Stamp | None:
        """`toy` drawn and cut to the picture; None if it lies outside."""
        sprite = draw_toy(CLASSES[toy.class_id], toy.look, toy.size, toy.angle, self.light)
        side = len(sprite.alpha)
        left, top = round(toy.x - side / 2), round(toy.y - side / 2)
        x1, y1 = max(left, 0), max(top, 0)
        x2, y2 = min(left + side, self.width), min(top + side, self.height)
        if x2 <= x1 or y2 <= y1:
            return None
        inside = np.s_[y1 - top : y2 - top, x1 - left : x2 - left]
        full = int((sprite.alpha > 0.5).sum())
        return Stamp(np.s_[y1:y2, x1:x2], sprite.pixels[inside], sprite.alpha[inside], full)

    def picture(self, rng: np.random.Generator, toys: list[Toy]) -> Scene:
        """Render the table with `toys`, the last on top; `rng` determines the camera's noise."""
        canvas = self._surface.copy()
        owner = np.full((self.height, self.width), -1, np.int16)
        full = []
        for index, toy in enumerate(toys):
            stamp = self.stamp(toy)
            full.append(0 if stamp is None else stamp.full)
            if stamp is None:
                continue
            self._cast_shadow(canvas, stamp, toy.size)
            alpha = stamp.alpha[..., None]
            canvas[stamp.area] += (stamp.pixels - canvas[stamp.area]) * alpha
            owner[stamp.area][stamp.alpha > 0.5] = index
        return Scene(self._shoot(rng, canvas), _truth(owner, toys, full))

    def _cast_shadow(self, canvas: NDArray[np.float32], stamp: Stamp, size: float) -> None:
        reach = int(size * 0.2) + 2
        rows, columns = stamp.area
        shadow = cv2.copyMakeBorder(stamp.alpha, *(reach,) * 4, cv2.BORDER_CONSTANT, value=0)
        x, y = (-part * size * 0.09 for part in self.light)
        move = np.array([[1, 0, x], [0, 1, y]], np.float32)
        shadow = cv2.warpAffine(shadow, move, shadow.shape[::-1])
        shadow = cv2.blur(cv2.blur(shadow, (reach // 2,) * 2), (reach // 2,) * 2)
        top, left = rows.start - reach, columns.start - reach
        y1, x1 = max(top, 0), max(left, 0)
        y2 = min(top + shadow.shape[0], self.height)
        x2 = min(left + shadow.shape[1], self.width)
        seen = shadow[y1 - top : y2 - top, x1 - left : x2 - left]
        canvas[y1:y2, x1:x2] *= (1 - _SHADOW * seen)[..., None]

    def _shoot(self, rng: np.random.Generator, canvas: NDArray[np.float32]) -> BGRImage:
        canvas *= self._glow
        if self._blur > 0.25:
            canvas = cv2.GaussianBlur(canvas, (0, 0), self._blur).astype(np.float32)
        grain = rng.standard_normal((self.height, self.width, 1), np.float32)
        canvas += grain * self._noise
        exposed = np.clip(canvas, 0, 255).astype(np.uint8)
        _, packed = cv2.imencode(".jpg", exposed, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)


def _glow(
    rng: np.random.Generator, width: int, height: int, light: tuple[float, float]
) -> NDArray[np.float32]:
    """The lamp's brightness per pixel, float32 [height, width, 3]: warm or cold, fading."""
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    fall = float(rng.uniform(0, 0.2))
    vignette = float(rng.uniform(0, 0.15))
    brightness = float(rng.uniform(0.78, 1.15))
    amount = brightness * (1 + fall * (x * light[0] + y * light[1]) - vignette * (x**2 + y**2))
    warmth = float(rng.uniform(-0.09, 0.09))
    tint = np.array([1 - warmth, 1, 1 + warmth], np.float32)
    return np.asarray(amount[..., None] * tint, np.float32)


def _truth(owner: NDArray[np.int16], toys: list[Toy], full: list[int]) -> Truth:
    """The truth from `owner`, int16 [height, width]: the visible toy's index, -1 for none."""
    boxes, kept, shares = [], [], []
    for index, whole in enumerate(full):
        shows = owner == index
        share = float(np.count_nonzero(shows)) / whole if whole else 0.0
        if share < LEAST_VISIBLE:
            continue
        x, y, w, h = cv2.boundingRect(shows.astype(np.uint8))
        boxes.append((x, y, x + w, y + h))
        kept.append(toys[index])
        shares.append(share)
    return Truth(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([toy.class_id for toy in kept], np.int64),
        np.array([toy.track_id for toy in kept], np.int64),
        np.array(shares, np.float32),
    )
