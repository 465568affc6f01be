"""Pixel conversion: decoded pictures to upright BGR, block by block to save memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
from PIL import Image

from sightline.errors import UnsupportedImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from sightline.types import BGRImage

_BLOCK_PIXELS = 2**20

# EXIF orientation -> rotation or flip that makes it upright (EXIF 2.32, table 4, tag 0x0112).
_UPRIGHT: dict[int, Callable[[BGRImage], Any]] = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.flip(cv2.transpose(image), -1),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def upright(pixels: BGRImage, orientation: int) -> BGRImage:
    """Rotate or flip stored pixels by their EXIF orientation; unknown values change nothing."""
    transform = _UPRIGHT.get(orientation)
    return pixels if transform is None else np.ascontiguousarray(transform(pixels))


def is_turned(orientation: int) -> bool:
    """Whether EXIF swaps width and height."""
    return 5 <= orientation <= 8


def bgr_from_pillow(picture: Image.Image) -> BGRImage:
    """Convert a loaded Pillow picture, as stored, to uint8 [height, width, 3] BGR.

    Transparent parts become white, 16 and 32 bits are scaled to 8.

    Raises:
        UnsupportedImage: its pixels are floating-point numbers.
        ValueError: it has no pixels.
    """
    if min(picture.size) < 1:
        raise ValueError("it has no pixels")
    if picture.mode == "F":
        raise UnsupportedImage("Floating-point TIFF is not read. Save it with 8 or 16 bits.")
    shift = _surplus_bits(picture) if picture.mode.startswith("I") else 0
    bgr = np.empty((picture.height, picture.width, 3), np.uint8)
    for left, top, right, bottom in _blocks(*picture.size):
        block = picture.crop((left, top, right, bottom))
        if picture.mode.startswith("I"):
            grey = np.asarray(block, np.int64) & 0xFFFFFFFF  # Pillow reads unsigned as signed
            block = Image.fromarray((grey >> shift).astype(np.uint8))
        rgb = np.asarray(_on_white(block).convert("RGB"))
        bgr[top:bottom, left:right] = rgb[..., ::-1]
    return bgr


def bgr_from_inks(cmyk: NDArray[np.uint8]) -> BGRImage:
    """Convert CMYK [height, width, 4], inverted as Adobe stores it (255 is no ink), to BGR."""
    bgr = np.empty((*cmyk.shape[:2], 3), np.uint8)
    for left, top, right, bottom in _blocks(cmyk.shape[1], cmyk.shape[0]):
        block = cmyk[top:bottom, left:right]
        inks = block[..., 2::-1]  # yellow, magenta, cyan take away blue, green, red
        black = np.repeat(block[..., 3:], 3, axis=2)
        bgr[top:bottom, left:right] = cv2.multiply(inks, black, scale=1 / 255)
    return bgr


def _blocks(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """(left, top, right, bottom) of blocks that cover the picture, whatever its shape."""
    columns = min(width, _BLOCK_PIXELS)
    rows = max(1, _BLOCK_PIXELS // columns)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield left, top, min(left + columns, width), min(top + rows, height)


def _on_white(block: Image.Image) -> Image.Image:
    if not block.has_transparency_data:
        return block
    layer = block.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    white.alpha_composite(layer)
    return white


def _surplus_bits(grey: Image.Image) -> int:
    """Bits to shift 16 or 32-bit grey by to get 8; Pillow's own convert() would clip it."""
    least, most = cast("tuple[int, int]", grey.getextrema())
    if least < 0 or most > 0xFFFF:  # Pillow reads unsigned 32 bits as signed
        return 24
    # 32-bit integers may hold plain 8-bit values.
    return 0 if grey.mode == "I" and most <= 0xFF else 8
