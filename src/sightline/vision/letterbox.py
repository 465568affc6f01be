"""Letterboxing: resize and pad a picture to a network's input, and map boxes back."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sightline.types import BGRImage, ModelSpec


_OVERSAMPLING = 3  # pixels of the shrunk source per pixel of the input, in each direction


@dataclass(frozen=True, slots=True)
class Placement:
    """A picture's position in the input: input = source * scale + offset, all in pixels.

    Attributes:
        width: of the upright source image.
        height: of the upright source image.
        scale: (x, y); equal but for stretched pictures.
        offset: (left, top) padding.
    """

    width: int
    height: int
    scale: tuple[float, float]
    offset: tuple[int, int]

    def to_source(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes float32 [N, 4] xyxy from input pixels to source pixels, clipped to the picture."""
        shift = np.array(self.offset * 2, np.float32)
        scale = np.array(self.scale * 2, np.float32)
        limit = np.array((self.width, self.height) * 2, np.float32)
        inside: NDArray[np.float32] = np.clip((boxes - shift) / scale, 0, limit)
        return inside


def fit(
    image: BGRImage, spec: ModelSpec, size: tuple[int, int] | None = None
) -> tuple[BGRImage, Placement]:
    """Resize and pad `image` to an input of `spec`.

    A dynamic model gets the smallest shape that fits (each side a multiple of the stride, no
    side over `input_size`), a fixed one its `input_size`.

    Args:
        image: upright.
        spec: the model whose input is made.
        size: (width, height) of the source, where `image` is a smaller copy of it.

    Returns:
        uint8 [input height, input width, 3] BGR, and the source's position in it.
    """
    width, height = size or (image.shape[1], image.shape[0])
    input_h, input_w = spec.input_size
    if spec.resize == "stretch":
        resized = _resize(image, input_w, input_h)
        return resized, Placement(width, height, (input_w / width, input_h / height), (0, 0))
    scale = min(input_w / width, input_h / height)
    new_w, new_h = _scaled(width, scale, spec), _scaled(height, scale, spec)
    if spec.dynamic:
        input_w, input_h = (ceil(n / spec.stride) * spec.stride for n in (new_w, new_h))
    left, top = _padding(input_w - new_w, spec), _padding(input_h - new_h, spec)
    right, bottom = input_w - new_w - left, input_h - new_h - top
    canvas = cv2.copyMakeBorder(
        _resize(image, new_w, new_h),
        *(top, bottom, left, right),
        borderType=cv2.BORDER_CONSTANT,
        value=(spec.pad, spec.pad, spec.pad),
    )
    return np.asarray(canvas, np.uint8), Placement(width, height, (scale, scale), (left, top))


def surplus(width: int, height: int, spec: ModelSpec) -> int:
    """The factor by which a source may be shrunk while it is decoded: 1, 2, 4 or 8.

    At least three source pixels per input pixel are left, in either orientation. Boxes then move
    no more than if the camera had moved by a pixel; with half as many pixels they move more
    (docs/decisions/0017).
    """
    input_h, input_w = spec.input_size
    if spec.resize == "stretch":
        needed = max(input_h, input_w) / min(width, height)
    else:
        needed = max(min(input_w / w, input_h / h) for w, h in ((width, height), (height, width)))
    return max((part for part in (2, 4, 8) if part * _OVERSAMPLING * needed <= 1), default=1)


def _scaled(side: int, scale: float, spec: ModelSpec) -> int:
    # Ultralytics' preprocessing (centred) rounds, YOLOX's truncates; a network is most accurate
    # with the preprocessing that it was trained with.
    pixels = round(side * scale) if spec.anchor == "center" else int(side * scale)
    return max(1, pixels)


def _padding(free: int, spec: ModelSpec) -> int:
    return round(free / 2 - 0.1) if spec.anchor == "center" else 0


def _resize(image: BGRImage, width: int, height: int) -> BGRImage:
    if image.shape[:2] == (height, width):
        return image
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)
