"""Picture headers: opened by Pillow or read by us, and judged before anything is decoded."""

from __future__ import annotations

import logging
import os
import struct
import tempfile
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
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
from sightline.vision.formats import PictureFormat, sniff
from sightline.vision.headers import (
    check_pixels,
    check_tiff_strips,
    png_bits,
    read_png_size,
    read_webp_size,
)
from sightline.vision.jpeg_header import JpegSegments, read_jpeg_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO

    from PIL.ImageFile import ImageFile

HEAD_BYTES = 256 * 1024
"""So many bytes of an arriving picture are held until its header is looked at."""

# What arrived in a file is read as a whole to be looked at: one picture at a time.
_whole_file = threading.Lock()

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
    kind = sniff(data)
    if kind == "jpeg":
        header = read_jpeg_header(data, max_pixels)
        return header.width, header.height
    return _read_size(BytesIO(data), kind, max_pixels)


class HeaderCheck:
    """Judges the header of a picture that arrives piece by piece, as `check_header` does a whole.

    A JPEG is walked through as it comes. The first bytes of any other are held, and mostly enough.
    Where they are not (a TIFF's header may be anywhere, and the codecs of WebP and AVIF open whole
    files alone) the picture goes to a file without a name, which is read once it is all there. So
    memory holds `HEAD_BYTES` and a piece of each picture, and all of one picture at a time.
    """

    def __init__(self, kind: PictureFormat, max_pixels: int) -> None:
        """For a picture of this type, of at most `max_pixels`."""
        self._kind = kind
        self._max_pixels = max_pixels
        self._segments = JpegSegments(max_pixels) if kind == "jpeg" else None
        self._head = bytearray()
        self._file: FileIO | None = None
        self._accepted = False

    def feed(self, data: bytes) -> None:
        """The next bytes of the picture.

        Raises:
            ImageError: the header is wrong.
            OSError: there is no room for the file.
        """
        if self._segments is not None:
            self._segments.feed(data)
        elif self._file is not None:
            self._write(data)
        elif not self._accepted:
            self._head += data
            if len(self._head) >= HEAD_BYTES:
                self._check_head()

    def finish(self) -> None:
        """The picture has ended. Raises as `feed`."""
        if self._segments is not None:
            self._segments.finish()
        elif self._file is not None:
            with _whole_file:
                self._file.seek(0)
                check_header(self._file.readall(), self._max_pixels)
        elif not self._accepted:
            check_header(bytes(self._head), self._max_pixels)
        self.close()

    def close(self) -> None:
        """Hold nothing any more."""
        self._head = bytearray()
        if self._file is not None:
            self._file.close()

    def _check_head(self) -> None:
        head, self._head = bytes(self._head), bytearray()
        try:
            _read_size(_Head(head), self._kind, self._max_pixels)
            self._accepted = True
        except _Incomplete:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  closed by close()
            self._write(head)

    def _write(self, data: bytes) -> None:
        if self._file is not None:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]


class _Incomplete(Exception):
    """The header goes on behind what is there."""


class _Head(BytesIO):
    """The first bytes of a file; raises _Incomplete where it is asked for what lies behind them."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or self.tell() + size > self.getbuffer().nbytes:
            raise _Incomplete
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_END:
            raise _Incomplete
        return super().seek(offset, whence)


def _read_size(file: BytesIO, kind: PictureFormat, max_pixels: int) -> tuple[int, int]:
    if kind != "png":  # whose metadata Pillow would work through
        return open_picture(file, kind, max_pixels).size
    size = read_png_size(file.getvalue())
    check_pixels(size, max_pixels, png_bits(file.getvalue()))
    return size


def open_picture(file: BytesIO, kind: PictureFormat, max_pixels: int) -> ImageFile:
    """A picture that Pillow has read the header of, and found acceptable; nothing is decoded yet.

    Raises:
        ImageError: it is not.
    """
    if kind == "webp":  # its codec allocates the canvas when it is opened
        check_pixels(read_webp_size(file.getvalue()), max_pixels)
    if kind == "tiff":  # Pillow makes an object of every strip when it is opened
        check_tiff_strips(file.getvalue())
    bits = 0
    with _as_broken(kind):
        picture = _OPENERS[kind](file)
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            bits = _tiff_bits(picture)
    check_pixels(picture.size, max_pixels, bits)
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        with _as_broken(kind):
            _check_tiff_data(picture, _length(file))
    if picture.tile and picture.tile[0].codec_name == "bmp_rle":
        _check_run_lengths(picture.size, file)
    return picture


@contextmanager
def _as_broken(kind: PictureFormat) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise BrokenImage(f"The {kind.upper()} header is damaged: {reason(error)}.") from error


def _length(file: BytesIO) -> int:
    at = file.tell()
    try:
        return file.seek(0, os.SEEK_END)
    finally:
        file.seek(at)


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


def _check_run_lengths(size: tuple[int, int], file: BytesIO) -> None:
    """A code has two bytes and yields a pixel or more; a row ends in one."""
    width, height = size
    if width * height > _MAX_RLE_PIXELS:
        raise UnsupportedImage(
            f"Run-length encoded BMPs of more than {_MAX_RLE_PIXELS / 1e6:g} million pixels are "
            f"not read, and this has {width}×{height}. Save it as PNG."
        )
    if _length(file) > 2 * (width + 1) * height + _RLE_HEAD_BYTES:
        raise BrokenImage(f"The BMP holds more codes than {width}×{height} pixels can need.")
