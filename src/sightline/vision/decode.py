"""Image decoding: compressed bytes (or another library's image) to upright BGR pixels.

Type (magic bytes) and size (header) are checked before anything is decoded. Plain JPEGs go
through libjpeg-turbo (simplejpeg), everything else through Pillow, which is strict about damage
and reads every variant (docs/decisions/0004).
"""

from __future__ import annotations

import logging
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
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from sightline.errors import BrokenImage, UnsupportedImage
from sightline.vision.formats import SNIFF_BYTES, PictureFormat, sniff
from sightline.vision.headers import (
    bare_png,
    check_pixels,
    check_tiff_strips,
    png_bits,
    read_jpeg_header,
    read_png_size,
    read_webp_size,
)
from sightline.vision.pixels import bgr_from_inks, bgr_from_pillow, is_turned, upright

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

# libjpeg's messages for a file whose pixels are incomplete (jerror.h).
_IS_DAMAGE = re.compile(r"(?i)premature end|bad huffman|instead of rst|unsupported marker")

_ORIENTATION = 0x0112
_TIFF_STRIPS, _TIFF_TILES = (273, 279), (324, 325)  # tags of offsets and byte counts
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL = 258, 277

# Pillow's run-length decoder is pure Python: slow, and it slows down all other threads (GIL).
_MAX_RLE_PIXELS = 2_500_000
_RLE_HEAD_BYTES = 4096  # headers and palette, generously

# Problems that Pillow warns of are refused or repaired here; clients could fill the log with them.
logging.getLogger("PIL").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


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
    kind = sniff(data[:SNIFF_BYTES])
    if kind == "jpeg":
        return _decode_jpeg(data, max_pixels, part)
    if kind == "png":
        check_pixels(read_png_size(data), max_pixels, png_bits(data))
        data = bare_png(data)
    return _whole(_load(_open(data, kind, max_pixels)))


def check_header(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Check a picture's type and size without decoding; returns (width, height) as stored, pixels.

    Raises:
        ImageError: as `decode`, as far as the header can tell.
    """
    kind = sniff(data[:SNIFF_BYTES])
    bits = 0
    if kind == "jpeg":
        header = read_jpeg_header(data)
        size = header.width, header.height
    elif kind == "png":
        size, bits = read_png_size(data), png_bits(data)
    else:
        return _open(data, kind, max_pixels).size
    check_pixels(size, max_pixels, bits)
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
        check_pixels(read_webp_size(data), max_pixels)
    if kind == "tiff":  # Pillow makes an object of every strip when it is opened
        check_tiff_strips(data)
    try:
        picture = _OPENERS[kind](BytesIO(data))
        bits = 0
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            _check_tiff_data(picture, len(data))
            bits = _tiff_bits(picture)
    except _DAMAGE as error:
        raise BrokenImage(f"The {kind.upper()} header is damaged: {_reason(error)}.") from error
    check_pixels(picture.size, max_pixels, bits)
    if picture.tile and picture.tile[0].codec_name == "bmp_rle":
        _check_run_lengths(picture.size, len(data))
    return picture


def _check_tiff_data(picture: TiffImagePlugin.TiffImageFile, size: int) -> None:
    """Refuse strips or tiles that end beyond the file: libtiff would fill in the missing pixels."""
    for offsets, lengths in (_TIFF_STRIPS, _TIFF_TILES):
        starts, counts = (picture.tag_v2.get(tag, ()) for tag in (offsets, lengths))
        ends = (start + count for start, count in zip(starts, counts, strict=False))
        if max(ends, default=0) > size:
            raise BrokenImage("The TIFF is truncated: it ends before its pixels do.")


def _tiff_bits(picture: TiffImagePlugin.TiffImageFile) -> int:
    """Bits per pixel; one entry may apply to all samples."""
    bits = picture.tag_v2.get(_BITS_PER_SAMPLE, (1,))
    return int(sum(bits) if len(bits) > 1 else bits[0] * picture.tag_v2.get(_SAMPLES_PER_PIXEL, 1))


def _check_run_lengths(size: tuple[int, int], length: int) -> None:
    """Refuse an RLE BMP that is too large, or has more codes than its size can need.

    A code has two bytes and yields at least one pixel; each row ends with one more code.
    """
    width, height = size
    if width * height > _MAX_RLE_PIXELS:
        raise UnsupportedImage(
            f"Run-length encoded BMPs of more than {_MAX_RLE_PIXELS / 1e6:g} million pixels are "
            f"not read, and this has {width}×{height}. Save it as PNG."
        )
    if length > 2 * (width + 1) * height + _RLE_HEAD_BYTES:
        raise BrokenImage(f"The BMP holds more codes than {width}×{height} pixels can need.")


def _decode_jpeg(data: bytes, max_pixels: int, part: int) -> tuple[BGRImage, tuple[int, int]]:
    header = read_jpeg_header(data)
    check_pixels((header.width, header.height), max_pixels)
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
            raise BrokenImage(f"The JPEG is damaged or truncated: {_reason(error)}.") from error
        # Cameras write harmless deviations, which Pillow tolerates.
        return _whole(_load(_open(data, "jpeg", max_pixels)))
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
    except _DAMAGE as error:
        raise BrokenImage(
            f"The picture is damaged or truncated: {_reason(error)}. "
            "Open it in a viewer and save it again."
        ) from error


def _orientation(read_exif: Callable[[], Image.Exif]) -> int:
    try:
        return int(read_exif().get(_ORIENTATION, 1))
    except _DAMAGE:
        return 1  # a damaged EXIF block does not make a picture unreadable


def _exif(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(block)
    return exif


def _reason(error: BaseException) -> str:
    text = str(error).strip().rstrip(".")
    return text if text and len(text) < 120 else type(error).__name__
