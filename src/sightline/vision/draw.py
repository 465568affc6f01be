"""Annotated pictures: boxes and labels that people can read."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
import simplejpeg

if TYPE_CHECKING:
    from sightline.types import BGRImage, Detection, Detections

Colour: TypeAlias = tuple[int, int, int]
Rect: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom

_GOLDEN_RATIO = 0.618033988749895
_FONT_WEIGHT = 600


def draw_detections(image: BGRImage, detections: Detections) -> BGRImage:
    """A copy of `image` (uint8 [height, width, 3] BGR) with boxes and labels.

    Line width and text size follow the picture's size; a class has the same colour in every
    picture; labels keep inside the picture and avoid each other where there is room.

    Raises:
        ValueError: `image` is not of the size that was detected in.
    """
    if image.shape[:2] != (detections.height, detections.width):
        raise ValueError(
            f"these boxes belong to a picture of {detections.width}×{detections.height}, "
            f"not {image.shape[1]}×{image.shape[0]}"
        )
    canvas = np.ascontiguousarray(image).copy()
    for detection in reversed(list(detections)):  # the most confident ends on top
        _draw_box(canvas, detection)
    taken: list[Rect] = []
    for detection in detections:
        _draw_label(canvas, detection, taken)
    return canvas


def encode_jpeg(image: BGRImage, quality: int = 90) -> bytes:
    """`image` (uint8 [height, width, 3] BGR) as a JPEG file."""
    data: bytes = simplejpeg.encode_jpeg(image, quality=quality, colorspace="BGR")
    return data


def class_colour(class_id: int) -> Colour:
    """A vivid BGR colour, the same for a class always, far from that of its neighbours."""
    hue = (0.08 + class_id * _GOLDEN_RATIO) % 1
    saturation, value = (0.85, 0.95) if class_id % 2 == 0 else (0.7, 1.0)
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(blue * 255), round(green * 255), round(red * 255)


def _draw_box(canvas: BGRImage, detection: Detection) -> None:
    left, top, right, bottom = (round(value) for value in detection.bbox)
    width = line_width(canvas)
    cv2.rectangle(
        canvas, (left, top), (right, bottom), class_colour(detection.class_id), width, cv2.LINE_AA
    )


def _draw_label(canvas: BGRImage, detection: Detection, taken: list[Rect]) -> None:
    text = f"{detection.label} {detection.confidence:.2f}"
    height = text_height(canvas)
    font = cv2.FontFace("uni")
    _, _, text_w, _ = cv2.getTextSize((0, 0), text, (0, 0), font, height, _FONT_WEIGHT)
    margin = max(2, height // 4)
    rect_w, rect_h = text_w + 2 * margin, height + 2 * margin
    if rect_w > canvas.shape[1] or rect_h > canvas.shape[0]:
        return  # a picture too small for words: the box and its colour must do
    left, top, right, bottom = _place(canvas, detection, (rect_w, rect_h), taken)
    taken.append((left, top, right, bottom))
    colour = class_colour(detection.class_id)
    cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), colour, cv2.FILLED)
    baseline = (left + margin, bottom - margin - height // 6)
    cv2.putText(canvas, text, baseline, _ink_on(colour), font, height, _FONT_WEIGHT)


def _place(
    canvas: BGRImage, detection: Detection, size: tuple[int, int], taken: list[Rect]
) -> Rect:
    """The first free place of: above the box, inside its top, inside its bottom, below it."""
    x1, y1, _, y2 = (round(value) for value in detection.bbox)
    width, height = size
    left = min(max(0, x1), canvas.shape[1] - width)
    places = []
    for wanted in (y1 - height, y1, y2 - height, y2):
        top = min(max(0, wanted), canvas.shape[0] - height)
        places.append((left, top, left + width, top + height))
    free = (place for place in places if not any(_overlap(place, other) for other in taken))
    return next(free, places[0])


def _overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def line_width(image: BGRImage) -> int:
    """Pixels; about 1/400 of the picture's mean side, at least 1."""
    return max(1, round((image.shape[0] + image.shape[1]) / 2 / 400))


def text_height(image: BGRImage) -> int:
    """Pixels; about 1/45 of the picture's mean side, readable on small and large pictures."""
    return int(np.clip((image.shape[0] + image.shape[1]) / 2 / 45, 12, 96))


def _ink_on(background: Colour) -> Colour:
    blue, green, red = background
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
    return (0, 0, 0) if luminance > 140 else (255, 255, 255)
