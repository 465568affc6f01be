"""From compressed bytes (or another library's picture) to upright BGR pixels.

Nothing is decoded before its type (magic bytes) and size (header) are known to be acceptable.
Plain JPEGs go through libjpeg-turbo (simplejpeg); everything else through Pillow, which is
strict about damage and reads every variant (docs/decisions/0004).
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import simplejpeg
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from sightline.errors import BrokenImage, ImageTooLarge, UnsupportedImage
from sightline.vision.formats import SNIFF_BYTES, PictureFormat, sniff
from sightline.vision.headers import (
    bare_png,
    read_jpeg_header,
    read_png_size,
    read_webp_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.ImageFile import ImageFile

    from sightline.types import BGRImage

# Opened by class and not by Image.open: the type is known already, and Image.open's own size
# check is a process-wide global with a warning of its own.
_OPENERS: dict[PictureFormat, Callable[[BytesIO], ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
}

# All that Pillow and its codecs are known to raise on damaged input.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    EOFError,
    OverflowError,
    ArithmeticError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# What libjpeg says of a file whose pixels are not all there (jerror.h).
_IS_DAMAGE = re.compile(r"(?i)premature end|bad huffman|instead of rst|unsupported marker")

_ORIENTATION = 0x0112
_TIFF_STRIPS, _TIFF_TILES = (273, 279), (324, 325)  # tags of offsets and byte counts

# What Pillow warns of is refused or repaired here; clients could fill the log with it.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

# EXIF orientation -> what turns the stored pixels upright (EXIF 2.32, table 4, tag 0x0112).
_UPRIGHT: dict[int, Callable[[BGRImage], Any]] = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.flip(cv2.transpose(image), -1),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def decode(data: bytes, max_pixels: int) -> BGRImage:
    """Decode a picture: upright, uint8 [height, width, 3] BGR, its first frame if it has many.

    Transparent parts become white, 16-bit pictures are scaled to 8 bits.

    Args:
        data: the whole compressed file.
        max_pixels: most pixels accepted, checked on the header.

    Raises:
        ImageError: empty, of another type, damaged, or of too many pixels.
    """
    kind = sniff(data[:SNIFF_BYTES])
    if kind == "jpeg":
        return _decode_jpeg(data, max_pixels)
    if kind == "png":
        _check_pixels(read_png_size(data), max_pixels)
        data = bare_png(data)
    return _load(_open(data, kind, max_pixels))


def check_header(data: bytes, max_pixels: int) -> tuple[int, int]:
    """(width, height) in pixels as stored, without decoding anything.

    Raises:
        ImageError: as `decode`, as far as the header can tell.
    """
    kind = sniff(data[:SNIFF_BYTES])
    if kind == "jpeg":
        header = read_jpeg_header(data)
        size = header.width, header.height
    elif kind == "png":
        size = read_png_size(data)
    else:
        return _open(data, kind, max_pixels).size
    _check_pixels(size, max_pixels)
    return size


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


def _open(data: bytes, kind: PictureFormat, max_pixels: int) -> ImageFile:
    if kind == "webp":  # its codec allocates the canvas when it is opened
        _check_pixels(read_webp_size(data), max_pixels)
    try:
        picture = _OPENERS[kind](BytesIO(data))
    except _DAMAGE as error:
        raise BrokenImage(f"The {kind.upper()} header is damaged: {_reason(error)}.") from error
    _check_pixels(picture.size, max_pixels)
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        _check_tiff_data(picture, len(data))
    return picture


def _check_tiff_data(picture: TiffImagePlugin.TiffImageFile, size: int) -> None:
    """Strips or tiles must lie within the file: libtiff fills up what is missing."""
    for offsets, lengths in (_TIFF_STRIPS, _TIFF_TILES):
        starts, counts = (picture.tag_v2.get(tag, ()) for tag in (offsets, lengths))
        ends = (start + count for start, count in zip(starts, counts, strict=False))
        if max(ends, default=0) > size:
            raise BrokenImage("The TIFF is truncated: it ends before its pixels do.")


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise ImageTooLarge(*size, max_pixels)


def _decode_jpeg(data: bytes, max_pixels: int) -> BGRImage:
    header = read_jpeg_header(data)
    _check_pixels((header.width, header.height), max_pixels)
    four_inks = header.components == 4
    try:
        pixels: BGRImage = simplejpeg.decode_jpeg(
            data, colorspace="CMYK" if four_inks else "BGR", fastdct=False, fastupsample=False
        )
    except ValueError as error:
        if _IS_DAMAGE.search(str(error)):
            raise BrokenImage(f"The JPEG is damaged or truncated: {_reason(error)}.") from error
        # Cameras write harmless oddities, which Pillow reads past.
        return _load(_open(data, "jpeg", max_pixels))
    if four_inks:  # their meaning depends on who wrote them, which Pillow knows
        return _load(_open(data, "jpeg", max_pixels))
    return _upright(pixels, _orientation(header.exif))


def _load(picture: Image.Image) -> BGRImage:
    try:
        picture.load()
        return _to_bgr(ImageOps.exif_transpose(picture))
    except _DAMAGE as error:
        raise BrokenImage(
            f"The picture is damaged or truncated: {_reason(error)}. "
            "Open it in a viewer and save it again."
        ) from error


def _to_bgr(picture: Image.Image) -> BGRImage:
    if min(picture.size) < 1:
        raise ValueError("it has no pixels")
    if picture.mode == "F":
        raise UnsupportedImage("Floating-point TIFF is not read. Save it with 8 or 16 bits.")
    if picture.mode.startswith("I"):
        picture = _eight_bits(picture)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.new("RGBA", layer.size, "white")
        picture.alpha_composite(layer)
    rgb = np.asarray(picture.convert("RGB"))
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), np.uint8)


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits as 8 bits; Pillow's own convert() would clip it."""
    grey = np.asarray(picture, np.int64) & 0xFFFFFFFF  # Pillow reads unsigned 32 bits as signed
    largest = int(grey.max())
    shift = 8 if largest <= 0xFFFF else 24
    if picture.mode == "I" and largest <= 0xFF:  # wide numbers, but plain 8-bit values
        shift = 0
    return Image.fromarray((grey >> shift).astype(np.uint8))


def _orientation(block: bytes) -> int:
    if not block:
        return 1
    try:
        exif = Image.Exif()
        exif.load(block)
        return int(exif.get(_ORIENTATION, 1))
    except _DAMAGE:
        return 1  # a damaged EXIF block does not make a picture unreadable


def _upright(pixels: BGRImage, orientation: int) -> BGRImage:
    turn = _UPRIGHT.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def _reason(error: BaseException) -> str:
    text = str(error).strip().rstrip(".")
    return text if text and len(text) < 120 else type(error).__name__
