"""Image decoding: compressed bytes (or another library's image) to upright BGR pixels.

Type (magic bytes) and size (header) are checked before anything is decoded. Plain JPEGs go
through libjpeg-turbo (simplejpeg), everything else through Pillow, which is strict about damage
and reads every variant (docs/decisions/0004).
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from sightline.errors import BrokenImage
from sightline.vision.formats import sniff
from sightline.vision.header_check import DAMAGE, open_picture, reason
from sightline.vision.headers import (
    bare_png,
    check_pixels,
    png_bits,
    read_png_size,
)
from sightline.vision.jpeg_header import read_jpeg_header
from sightline.vision.pixels import bgr_from_inks, bgr_from_pillow, is_turned, upright

if TYPE_CHECKING:
    from collections.abc import Callable

    from sightline.types import BGRImage

# What libjpeg says of a file whose pixels are not all there (jerror.h).
_IS_DAMAGE = re.compile(r"(?i)premature end|bad huffman|instead of rst|unsupported marker")

_ORIENTATION = 0x0112


def decode(data: bytes, max_pixels: int) -> BGRImage:
    """Decode a picture: upright, uint8 [height, width, 3] BGR, its first frame if it has many.

    Transparent parts become white, 16-bit pictures are scaled to 8 bits.

    Args:
        data: the whole compressed file.
        max_pixels: most pixels accepted, checked on the header.

    Raises:
        ImageError: empty, of another type, damaged, or of too many pixels.
    """
    return decode_shrunk(data, max_pixels, 1)[0]


def decode_shrunk(data: bytes, max_pixels: int, part: int) -> tuple[BGRImage, tuple[int, int]]:
    """Decode a picture as `decode` does, a JPEG to a part of its width and height.

    Args:
        data: the whole compressed file.
        max_pixels: most pixels accepted, checked on the header.
        part: 1, 2, 4 or 8: full size, or 1/2, 1/4, 1/8 of its sides, rounded up. Each pixel is
            then the mean of those it replaces: libjpeg skips the high-frequency DCT coefficients.

    Returns:
        The pixels, and the picture's own (width, height), upright too.

    Raises:
        ImageError: as `decode`.
    """
    kind = sniff(data)
    if kind == "jpeg":
        return _decode_jpeg(data, max_pixels, part)
    if kind == "png":
        check_pixels(read_png_size(data), max_pixels, png_bits(data))
        data = bare_png(data)
    return _whole(_load(open_picture(BytesIO(data), kind, max_pixels)))


def from_array(array: Any) -> BGRImage:
    """Check a NumPy picture and bring it to [height, width, 3] BGR.

    Args:
        array: uint8; [height, width] grey, [height, width, 3] BGR or [height, width, 4] BGRA.

    Raises:
        BrokenImage: another dtype or shape, or no pixels.
    """
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.size == 0:
        found = f"{array.dtype} {list(array.shape)}" if hasattr(array, "dtype") else type(array)
        raise BrokenImage(f"A picture array must be uint8 with at least one pixel, not {found}.")
    match array.shape:
        case (_, _, 3):
            return np.ascontiguousarray(array)
        case (_, _) | (_, _, 1):
            return np.asarray(cv2.cvtColor(array, cv2.COLOR_GRAY2BGR), np.uint8)
        case (_, _, 4):
            return from_pil(Image.fromarray(array[..., [2, 1, 0, 3]], "RGBA"))
        case _:
            raise BrokenImage(
                "A picture array must be [height, width], [height, width, 3] BGR or "
                f"[height, width, 4] BGRA, not {list(array.shape)}."
            )


def from_pil(picture: Image.Image) -> BGRImage:
    """A Pillow picture as upright uint8 [height, width, 3] BGR.

    Raises:
        BrokenImage: Pillow cannot decode it.
    """
    return _load(picture)


def _decode_jpeg(data: bytes, max_pixels: int, part: int) -> tuple[BGRImage, tuple[int, int]]:
    header = read_jpeg_header(data, max_pixels)
    four_inks = header.components == 4
    try:
        pixels: BGRImage = simplejpeg.decode_jpeg(
            data,
            colorspace="CMYK" if four_inks else "BGR",
            fastdct=False,
            fastupsample=False,
            min_height=-(-header.height // part),
            min_width=-(-header.width // part),
        )
    except ValueError as error:
        if _IS_DAMAGE.search(str(error)):
            raise BrokenImage(f"The JPEG is damaged or truncated: {reason(error)}.") from error
        # Cameras write harmless oddities, which Pillow reads past.
        return _whole(_load(open_picture(BytesIO(data), "jpeg", max_pixels)))
    if four_inks:
        pixels = bgr_from_inks(pixels)
    orientation = _orientation(lambda: _exif(header.exif))
    size = (header.width, header.height)
    return upright(pixels, orientation), size[::-1] if is_turned(orientation) else size


def _whole(pixels: BGRImage) -> tuple[BGRImage, tuple[int, int]]:
    return pixels, (pixels.shape[1], pixels.shape[0])


def _load(picture: Image.Image) -> BGRImage:
    try:
        picture.load()
        return upright(bgr_from_pillow(picture), _orientation(picture.getexif))
    except DAMAGE as error:
        raise BrokenImage(
            f"The picture is damaged or truncated: {reason(error)}. "
            "Open it in a viewer and save it again."
        ) from error


def _orientation(read_exif: Callable[[], Image.Exif]) -> int:
    try:
        return int(read_exif().get(_ORIENTATION, 1))
    except DAMAGE:
        return 1  # a damaged EXIF block does not make a picture unreadable


def _exif(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(block)
    return exif
