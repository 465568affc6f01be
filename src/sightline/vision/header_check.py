"""Header checks: a picture's type, size and cost, before anything is decoded."""

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
from sightline.vision.jpeg_header import JpegParser, read_jpeg_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO

    from PIL.ImageFile import ImageFile

HEAD_BYTES = 256 * 1024
"""Leading bytes of an arriving picture that are held in memory until its header is checked."""

# Checking a temporary file reads all of it into memory: one picture at a time.
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

# Pillow's run-length decoder is pure Python: slow, and it slows down all other threads (GIL).
_MAX_RLE_PIXELS = 2_500_000
_RLE_HEAD_BYTES = 4096  # headers and palette, generously

# Problems that Pillow warns of are refused or repaired here; clients could fill the log with them.
logging.getLogger("PIL").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def check_header(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Check a picture's type and size without decoding; returns (width, height) as stored, pixels.

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
    """Incremental `check_header`: the same verdict on a picture that arrives in chunks.

    A JPEG is parsed as it arrives. Of other formats the first `HEAD_BYTES` are held in memory and
    checked. If they do not suffice (a TIFF's header may be anywhere, the codecs of WebP and AVIF
    open complete files only), the picture goes to an unnamed temporary file that is checked at the
    end. Memory is bounded: `HEAD_BYTES` and a chunk per picture, and one complete picture.
    """

    def __init__(self, kind: PictureFormat, max_pixels: int) -> None:
        """For a picture of format `kind` with at most `max_pixels`."""
        self._kind = kind
        self._max_pixels = max_pixels
        self._parser = JpegParser(max_pixels) if kind == "jpeg" else None
        self._head = bytearray()
        self._file: FileIO | None = None
        self._accepted = False

    def feed(self, data: bytes) -> None:
        """Take the next chunk.

        Raises:
            ImageError: as `check_header`, as soon as it is certain.
            OSError: the temporary file cannot be written.
        """
        if self._parser is not None:
            self._parser.feed(data)
        elif self._file is not None:
            self._write(data)
        elif not self._accepted:
            self._head += data
            if len(self._head) >= HEAD_BYTES:
                self._check_head()

    def finish(self) -> None:
        """The picture is complete. Raises as `feed`."""
        if self._parser is not None:
            self._parser.finish()
        elif self._file is not None:
            with _whole_file:
                self._file.seek(0)
                check_header(self._file.readall(), self._max_pixels)
        elif not self._accepted:
            check_header(bytes(self._head), self._max_pixels)
        self.close()

    def close(self) -> None:
        """Free memory and remove the temporary file."""
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
    """More than the first bytes is needed."""


class _Head(BytesIO):
    """The first bytes of a file; reading beyond them, or to the end, raises _Incomplete."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or self.tell() + size > self.getbuffer().nbytes:
            raise _Incomplete
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_END:
            raise _Incomplete
        return super().seek(offset, whence)


def _read_size(file: BytesIO, kind: PictureFormat, max_pixels: int) -> tuple[int, int]:
    if kind != "png":  # Pillow would parse all its metadata
        return open_picture(file, kind, max_pixels).size
    size = read_png_size(file.getvalue())
    check_pixels(size, max_pixels, png_bits(file.getvalue()))
    return size


def open_picture(file: BytesIO, kind: PictureFormat, max_pixels: int) -> ImageFile:
    """Open a picture with Pillow and check its header; nothing is decoded yet.

    Raises:
        ImageError: damaged, or of too many pixels.
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
    """Pillow's message where it is short, else the name of its class."""
    text = str(error).strip().rstrip(".")
    return text if text and len(text) < 120 else type(error).__name__


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


def _check_run_lengths(size: tuple[int, int], file: BytesIO) -> None:
    """Refuse an RLE BMP that is too large, or has more codes than its size can need.

    A code has two bytes and yields at least one pixel; each row ends with one more code.
    """
    width, height = size
    if width * height > _MAX_RLE_PIXELS:
        raise UnsupportedImage(
            f"Run-length encoded BMPs of more than {_MAX_RLE_PIXELS / 1e6:g} million pixels are "
            f"not read, and this has {width}×{height}. Save it as PNG."
        )
    if _length(file) > 2 * (width + 1) * height + _RLE_HEAD_BYTES:
        raise BrokenImage(f"The BMP holds more codes than {width}×{height} pixels can need.")
