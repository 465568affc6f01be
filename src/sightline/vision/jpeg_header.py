"""JPEG header parser that takes bounded time on any input, complete or in chunks."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from sightline.errors import BrokenImage
from sightline.vision.headers import check_pixels

# A JPEG marker that is not stuffing, fill or restart (ITU-T T.81, B.1.1.2).
_MARKER = re.compile(rb"\xff[^\xff\x00\x01\xd0-\xd7]")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END_OF_IMAGE, _START_OF_IMAGE, _EXIF = 0xDA, 0xD9, 0xD8, 0xE1
_EXIF_START = b"Exif\x00\x00"
_FRAME_BYTES = 8  # of a frame header: its length, precision, height, width and components
_NO_SIZE = "The JPEG header is damaged: it tells no size."

_MAX_SEGMENTS = 5_000
# A scan costs about a nanosecond a pixel; real progressive files have about ten.
_USUAL_SCANS = 20
_MAX_SCANNED_PIXELS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Header fields of a JPEG: size in pixels as stored, components, EXIF block."""

    width: int
    height: int
    components: int
    exif: bytes


def read_jpeg_header(data: bytes, max_pixels: int) -> JpegHeader:
    """Parse the segments of a JPEG up to its end.

    Raises:
        BrokenImage: there is no frame header, or there are too many segments or scans.
        ImageTooLarge: more than `max_pixels`.
    """
    parser = JpegParser(max_pixels)
    parser.feed(data)
    return parser.finish()


class JpegParser:
    """Incremental parser of a JPEG's segments, independent of where the chunks are cut.

    Between chunks it holds at most a segment's first bytes, or an EXIF block (64 KB).
    """

    def __init__(self, max_pixels: int) -> None:
        """For a JPEG with at most `max_pixels`."""
        self._max_pixels = max_pixels
        self._rest = b""  # not parsed yet: the next chunk is appended
        self._skip = 2  # bytes of a segment's body that are still to come
        self._segments = self._scans = 0
        self._frame: tuple[int, int, int] | None = None
        self._exif = b""
        self._ended = False

    def feed(self, data: bytes) -> None:
        """Take the next chunk.

        Raises:
            BrokenImage: the frame header has no size, or there are too many segments.
            ImageTooLarge: more than `max_pixels`.
        """
        if not self._ended:
            self._parse(self._rest + data, last=False)

    def finish(self) -> JpegHeader:
        """The file is complete.

        Raises:
            BrokenImage: as `feed`; there is no frame header, or there are too many scans.
            ImageTooLarge: as `feed`.
        """
        self._parse(self._rest, last=True)
        if self._frame is None:
            raise BrokenImage(_NO_SIZE)
        height, width, components = self._frame
        scans = self._scans
        if scans > _USUAL_SCANS and scans * width * height > _MAX_SCANNED_PIXELS:
            raise BrokenImage(
                f"The JPEG has {scans} scans of {width}×{height}: too much to decode."
            )
        return JpegHeader(width, height, components, self._exif)

    def _parse(self, data: bytes, *, last: bool) -> None:
        position = self._skip
        while not self._ended and (found := _MARKER.search(data, position)):
            if not last and len(data) < found.end() + _needed(data, found.end()):
                self._rest, self._skip = data[found.start() :], 0
                return
            position = self._parse_segment(data, found.end())
        self._skip = max(0, position - len(data))
        # The chunk may end between the two bytes of a marker.
        self._rest = data[-1:] if position < len(data) and data.endswith(b"\xff") else b""

    def _parse_segment(self, data: bytes, position: int) -> int:
        """Parse the segment whose marker ends at `position`; returns the position of its end."""
        marker = data[position - 1]
        if marker == _END_OF_IMAGE:
            self._ended = True
            return position
        self._segments += 1
        if self._segments > _MAX_SEGMENTS:
            raise BrokenImage(f"The JPEG has more than {_MAX_SEGMENTS} segments.")
        if marker == _START_OF_IMAGE:
            return position
        end = position + _length_at(data, position)
        if marker in _START_OF_FRAME and self._frame is None:
            self._read_frame(data[position + 2 : position + _FRAME_BYTES])
        elif marker == _EXIF and not self._exif and data.startswith(_EXIF_START, position + 2):
            self._exif = data[position + 2 : end]
        self._scans += marker == _START_OF_SCAN
        return end

    def _read_frame(self, head: bytes) -> None:
        if len(head) < _FRAME_BYTES - 2:
            return
        self._frame = height, width, components = struct.unpack(">xHHB", head)
        if 0 in (height, width, components):
            raise BrokenImage(_NO_SIZE)
        check_pixels((width, height), self._max_pixels)


def _needed(data: bytes, position: int) -> int:
    """Bytes after the marker that ends at `position` that its segment is parsed from."""
    is_exif = data[position - 1] == _EXIF
    return max(_FRAME_BYTES, _length_at(data, position)) if is_exif else _FRAME_BYTES


def _length_at(data: bytes, position: int) -> int:
    return max(2, int.from_bytes(data[position : position + 2], "big"))
