"""Drawing: boxes and labels on pictures."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
import simplejpeg

from sightline.errors import BadOption

if TYPE_CHECKING:
    from sightline.types import BGRImage, Detection, Detections

Colour: TypeAlias = tuple[int, int, int]
Rect: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom

_GOLDEN_RATIO = 0.618033988749895
_TONES = ((0.85, 0.95), (0.6, 1.0), (0.95, 0.7))  # saturation, value
_FONT_WEIGHT = 600
_MAX_JPEG_SIDE = 65_500  # libjpeg's JPEG_MAX_DIMENSION


def draw_detections(image: BGRImage, detections: Detections) -> BGRImage:
    """A copy of `image` (uint8 [height, width, 3] BGR) with boxes and labels drawn on it.

    Line width and text size follow the picture's size; a class has the same colour in every
    picture; labels stay inside the picture and avoid each other where there is room.

    Raises:
        ValueError: `image` has another size than the picture that the detections are of.
    """
    if image.shape[:2] != (detections.height, detections.width):
        raise ValueError(
            f"these boxes belong to a picture of {detections.width}×{detections.height}, "
            f"not {image.shape[1]}×{image.shape[0]}"
        )
    canvas = np.ascontiguousarray(image).copy()
    worst_first = list(detections)[::-1]  # so that the most confident ends on top
    for detection in worst_first:
        _draw_box(canvas, detection)
    for detection, place in reversed(_place_labels(canvas, detections)):
        _draw_label(canvas, detection, place)
    return canvas


def encode_jpeg(image: BGRImage, quality: int = 90) -> bytes:
    """`image` (uint8 [height, width, 3] BGR) as a JPEG file.

    Raises:
        BadOption: it is larger than a JPEG can be.
    """
    if max(image.shape) > _MAX_JPEG_SIDE:
        raise BadOption(
            f"The picture has {image.shape[1]}×{image.shape[0]} pixels, and a JPEG at most "
            f"{_MAX_JPEG_SIDE} a side. Ask for boxes instead: Accept: application/json."
        )
    data: bytes = simplejpeg.encode_jpeg(image, quality=quality, colorspace="BGR")
    return data


def class_colour(class_id: int) -> Colour:
    """A vivid BGR colour: always the same for a class, and far from those of neighbouring ids."""
    hue = (0.08 + class_id * _GOLDEN_RATIO) % 1
    saturation, value = _TONES[class_id % len(_TONES)]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(blue * 255), round(green * 255), round(red * 255)


def _draw_box(canvas: BGRImage, detection: Detection) -> None:
    height, width = canvas.shape[:2]
    x1, y1, x2, y2 = (round(value) for value in detection.bbox)
    corners = (min(x1, width - 1), min(y1, height - 1)), (min(x2, width - 1), min(y2, height - 1))
    colour = class_colour(detection.class_id)
    cv2.rectangle(canvas, *corners, colour, line_width(canvas))


def _place_labels(canvas: BGRImage, detections: Detections) -> list[tuple[Detection, Rect]]:
    """The rectangle of each label, placed in order of confidence, highest first."""
    height = text_height(canvas)
    margin = _margin(height)
    placed: list[tuple[Detection, Rect]] = []
    for detection in detections:
        _, _, text_width, _ = cv2.getTextSize(
            (0, 0), _caption(detection), (0, 0), _font(), height, _FONT_WEIGHT
        )
        size = text_width + 2 * margin, height + 2 * margin
        if size[0] > canvas.shape[1] or size[1] > canvas.shape[0]:
            continue  # the picture is too small for text: only the box is drawn
        taken = [place for _, place in placed]
        placed.append((detection, _best_place(canvas, detection, size, taken)))
    return placed


def _best_place(
    canvas: BGRImage, detection: Detection, size: tuple[int, int], taken: list[Rect]
) -> Rect:
    """The position with the least overlap: above the box, inside its top or bottom, or below."""
    x1, y1, _, y2 = (round(value) for value in detection.bbox)
    width, height = size
    left = min(max(0, x1), canvas.shape[1] - width)
    tops = (
        min(max(0, top), canvas.shape[0] - height) for top in (y1 - height, y1, y2 - height, y2)
    )
    places = [(left, top, left + width, top + height) for top in tops]
    return min(places, key=lambda place: sum(_overlap(place, other) for other in taken))


def _overlap(a: Rect, b: Rect) -> int:
    """Pixels that two rectangles share."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height)


def _draw_label(canvas: BGRImage, detection: Detection, place: Rect) -> None:
    left, top, right, bottom = place
    height = text_height(canvas)
    colour = class_colour(detection.class_id)
    cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), colour, cv2.FILLED)
    baseline = (left + _margin(height), bottom - _margin(height) - height // 6)
    cv2.putText(
        canvas, _caption(detection), baseline, _ink_on(colour), _font(), height, _FONT_WEIGHT
    )


def _caption(detection: Detection) -> str:
    return f"{detection.label} {detection.confidence:.2f}"


def _font() -> cv2.FontFace:
    return cv2.FontFace("uni")  # built into OpenCV 5; has Latin, Cyrillic, Greek and CJK


def _margin(height: int) -> int:
    return max(2, height // 4)


def line_width(image: BGRImage) -> int:
    """Pixels; about 1/400 of the picture's mean side, at least 1."""
    return max(1, round(_mean_side(image) / 400))


def text_height(image: BGRImage) -> int:
    """Pixels; about 1/55 of the picture's mean side, readable on small and large pictures."""
    return min(max(12, round(_mean_side(image) / 55)), 96)


def _mean_side(image: BGRImage) -> float:
    height, width = image.shape[:2]
    return float(height + width) / 2


def _ink_on(background: Colour) -> Colour:
    blue, green, red = background
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
    return (0, 0, 0) if luminance > 140 else (255, 255, 255)
