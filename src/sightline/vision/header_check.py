"""Picture headers: opened by Pillow or read by us, and judged before anything is decoded."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from sightline.errors import BrokenImage, UnsupportedImage
from sightline.vision.formats import SNIFF_BYTES, PictureFormat, sniff
from sightline.vision.headers import (
    check_pixels,
    check_tiff_strips,
    png_bits,
    read_jpeg_header,
    read_png_size,
    read_webp_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.ImageFile import ImageFile

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

DAMAGE = (
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
"""All that Pillow and its codecs are known to raise on damaged input."""

_TIFF_STRIPS, _TIFF_TILES = (273, 279), (324, 325)  # tags of offsets and byte counts
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL = 258, 277

# Pillow's run-length decoder is written in Python: while it runs, everyone waits.
_MAX_RLE_PIXELS = 2_500_000
_RLE_HEAD_BYTES = 4096  # headers and palette, generously

# What Pillow warns and logs is refused or repaired here; clients could fill the log with it.
logging.getLogger("PIL").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def check_header(data: bytes, max_pixels: int) -> tuple[int, int]:
    """(width, height) in pixels as stored, without decoding anything.

    Args:
        data: the whole compressed file.
        max_pixels: most pixels accepted.

    Raises:
        ImageError: as `vision.decode.decode`, as far as the header can tell.
    """
    kind = sniff(data[:SNIFF_BYTES])
    bits = 0
    if kind == "jpeg":
        header = read_jpeg_header(data)
        size = header.width, header.height
    elif kind == "png":
        size, bits = read_png_size(data), png_bits(data)
    else:
        return open_picture(data, kind, max_pixels).size
    check_pixels(size, max_pixels, bits)
    return size


def open_picture(data: bytes, kind: PictureFormat, max_pixels: int) -> ImageFile:
    """A picture that Pillow has read the header of, and found acceptable; nothing is decoded yet.

    Raises:
        ImageError: it is not.
    """
    if kind == "webp":  # its codec allocates the canvas when it is opened
        check_pixels(read_webp_size(data), max_pixels)
    if kind == "tiff":  # Pillow makes an object of every strip when it is opened
        check_tiff_strips(data)
    try:
        picture = _OPENERS[kind](BytesIO(data))
        bits = 0
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            _check_tiff_data(picture, len(data))
            bits = _tiff_bits(picture)
    except DAMAGE as error:
        raise BrokenImage(f"The {kind.upper()} header is damaged: {reason(error)}.") from error
    check_pixels(picture.size, max_pixels, bits)
    if picture.tile and picture.tile[0].codec_name == "bmp_rle":
        _check_run_lengths(picture.size, len(data))
    return picture


def reason(error: BaseException) -> str:
    """What Pillow said, where it is short enough to be repeated."""
    text = str(error).strip().rstrip(".")
    return text if text and len(text) < 120 else type(error).__name__


def _check_tiff_data(picture: TiffImagePlugin.TiffImageFile, size: int) -> None:
    """Strips or tiles must lie within the file: libtiff fills up what is missing."""
    for offsets, lengths in (_TIFF_STRIPS, _TIFF_TILES):
        starts, counts = (picture.tag_v2.get(tag, ()) for tag in (offsets, lengths))
        ends = (start + count for start, count in zip(starts, counts, strict=False))
        if max(ends, default=0) > size:
            raise BrokenImage("The TIFF is truncated: it ends before its pixels do.")


def _tiff_bits(picture: TiffImagePlugin.TiffImageFile) -> int:
    """Bits a pixel; one entry may stand for all samples."""
    bits = picture.tag_v2.get(_BITS_PER_SAMPLE, (1,))
    return int(sum(bits) if len(bits) > 1 else bits[0] * picture.tag_v2.get(_SAMPLES_PER_PIXEL, 1))


def _check_run_lengths(size: tuple[int, int], length: int) -> None:
    """A code has two bytes and yields a pixel or more; a row ends in one."""
    width, height = size
    if width * height > _MAX_RLE_PIXELS:
        raise UnsupportedImage(
            f"Run-length encoded BMPs of more than {_MAX_RLE_PIXELS / 1e6:g} million pixels are "
            f"not read, and this has {width}×{height}. Save it as PNG."
        )
    if length > 2 * (width + 1) * height + _RLE_HEAD_BYTES:
        raise BrokenImage(f"The BMP holds more codes than {width}×{height} pixels can need.")
