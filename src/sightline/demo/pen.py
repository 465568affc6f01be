"""Drawing of one toy: flat colours and a height map first, then lighting over both."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, cos, radians, sin
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Colour: TypeAlias = "tuple[int, int, int]"
"""BGR, 0..255."""

Points: TypeAlias = "NDArray[np.float64]"
"""[N, 2] x, y in toy units: the toy lies within -1..1, y downwards."""

_ROOM = 1.08  # toy units from the middle to the canvas's edge: outlines reach a little beyond 1
_SUBPIXEL = 4  # bits of subpixel position that cv2 draws with


@dataclass(frozen=True, slots=True)
class Sprite:
    """A drawn toy: pixels uint8 [side, side, 3] BGR, alpha float32 [side, side] in 0..1."""

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.float32]


class Pen:
    """Paints polygons, given in toy units, on a rotated and scaled canvas.

    Args:
        size: pixels from -1 to 1 in toy units.
        angle: degrees, clockwise on the screen.
        mirror: swap left and right.
    """

    def __init__(self, size: float, angle: float = 0.0, mirror: bool = False) -> None:
        turn, self._unit = radians(angle), size / 2
        # A rotated toy reaches out of its own square, up to the diagonal.
        reach = abs(cos(turn)) + abs(sin(turn))
        self._side = ceil(size * _ROOM * reach) + 2
        matrix = np.array([[cos(turn), sin(turn)], [-sin(turn), cos(turn)]]) * self._unit
        self._matrix = matrix * [[-1 if mirror else 1], [1]]
        self._paint = np.zeros((self._side, self._side, 3), np.float32)
        self._alpha = np.zeros((self._side, self._side), np.float32)
        self._height = np.zeros((self._side, self._side), np.float32)

    def solid(self, points: Points, colour: Colour, bulge: float = 0.2) -> None:
        """Paint a raised part; `bulge` is the width of its rounded rim, in toy units."""
        found = self._mask(points)
        if found is None:
            return
        (top, bottom, left, right), mask = found
        area = np.s_[top:bottom, left:right]
        weight = mask.astype(np.float32) / np.float32(255)
        self._blend(area, weight, colour)
        self._alpha[area] = np.maximum(self._alpha[area], weight)
        rise = max(bulge * self._unit, 1.0)
        padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        depth = cv2.distanceTransform((padded > 127).astype(np.uint8), cv2.DIST_L2, 5)
        away = 1 - np.minimum(depth[1:-1, 1:-1] / rise, 1)
        height = rise * np.sqrt(1 - away**2)
        self._height[area] += (height - self._height[area]) * weight

    def paint(self, points: Points, colour: Colour, opacity: float = 1.0) -> None:
        """Paint colour on existing parts, within their outline and without changing heights."""
        found = self._mask(points)
        if found is None:
            return
        (top, bottom, left, right), mask = found
        area = np.s_[top:bottom, left:right]
        weight = mask.astype(np.float32) * (opacity / 255)
        self._blend(area, np.where(self._alpha[area] > 0, weight, 0).astype(np.float32), colour)

    def stroke(self, points: Points, colour: Colour, width: float) -> None:
        """Paint a line through `points`, `width` in toy units."""
        for start, end in pairwise(points):
            along = end - start
            side = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6) * width / 2
            self.paint(np.array([start + side, end + side, end - side, start - side]), colour)
        for point in points:
            self.paint(ellipse(point[0], point[1], width / 2, width / 2), colour)

    def lit(self, light: tuple[float, float], gloss: float) -> Sprite:
        """The toy with lighting applied.

        Args:
            light: x, y of the light's direction, -1..1 each.
            gloss: strength of the highlight, 0..1.
        """
        height = cv2.GaussianBlur(self._height, (0, 0), max(0.02 * self._unit, 0.6))
        slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8)
        slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 8)
        length = np.sqrt(slope_x**2 + slope_y**2 + 1)
        lamp = np.array([light[0], light[1], 1.1])
        lamp /= np.linalg.norm(lamp)
        facing = (lamp[2] - slope_x * lamp[0] - slope_y * lamp[1]) / length
        half = lamp + np.array([0, 0, 1])
        half /= np.linalg.norm(half)
        mirror = np.clip((half[2] - slope_x * half[0] - slope_y * half[1]) / length, 0, 1)
        shade = 0.42 + 0.68 * np.clip(facing, 0, 1)
        shine = (255 * gloss) * mirror**28 * np.clip(self._height / 2, 0, 1)
        lit = self._paint * shade[..., None] + shine[..., None]
        return Sprite(np.clip(lit, 0, 255).astype(np.uint8), self._alpha)

    def _mask(self, points: Points) -> tuple[tuple[int, int, int, int], NDArray[np.uint8]] | None:
        """Bounds (top, bottom, left, right) of a polygon, and its coverage there, 0..255."""
        placed = points @ self._matrix + self._side / 2
        left, top = np.maximum(np.floor(placed.min(0)).astype(int) - 1, 0).tolist()
        right, bottom = np.minimum(np.ceil(placed.max(0)).astype(int) + 2, self._side).tolist()
        if right <= left or bottom <= top:
            return None
        mask = np.zeros((bottom - top, right - left), np.uint8)
        fixed = np.round((placed - [left, top] - 0.5) * 2**_SUBPIXEL).astype(np.int32)
        cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SUBPIXEL)
        return (top, bottom, left, right), mask

    def _blend(
        self, area: tuple[slice, slice], weight: NDArray[np.float32], colour: Colour
    ) -> None:
        # Edges on an empty canvas must not fade twice, by weight and by alpha.
        bare = self._alpha[area] == 0
        weight = np.where(bare, (weight > 0).astype(np.float32), weight)[..., None]
        self._paint[area] += (np.array(colour, np.float32) - self._paint[area]) * weight


def ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Points:
    """An ellipse around x, y, turned by `turn` degrees."""
    around = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    flat = np.stack([rx * np.cos(around), ry * np.sin(around)], 1)
    c, s = cos(radians(turn)), sin(radians(turn))
    return np.asarray(flat @ np.array([[c, s], [-s, c]]) + [x, y], np.float64)


def rounded(points: list[tuple[float, float]], times: int = 3) -> Points:
    """The polygon `points` with its corners cut `times` over (Chaikin): smooth from two on."""
    corners = np.array(points, np.float64)
    for _ in range(times):
        following = np.roll(corners, -1, 0)
        quarter, three = corners * 0.75 + following * 0.25, corners * 0.25 + following * 0.75
        corners = np.stack([quarter, three], 1).reshape(-1, 2)
    return corners
