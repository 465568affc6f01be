"""Image header parsers that take bounded time on any input.

Image libraries parse all metadata before they report a picture's size, and hostile metadata can
keep them busy for minutes. These parsers read sizes only, and reject excessive structures.
"""

from __future__ import annotations

import struct
import zlib

from sightline.errors import BrokenImage, ImageTooLarge

_MAX_CHUNKS = 100_000

# --max-pixels is meant for 8-bit RGBA; for deeper pixels the limit is lowered in proportion.
_USUAL_BITS = 32

# Some encoders write one strip per row; tiles are fewer.
_MAX_STRIPS = 65_536
_TIFF_STRIP_TAGS = frozenset({273, 279, 324, 325})

_PNG_HEAD_BYTES = 33  # the signature and IHDR
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"})
# Adam7: first column, first row, column step, row step (PNG specification, 8.2).
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
)  # fmt: skip


def check_pixels(size: tuple[int, int], max_pixels: int, bits: int = 0) -> None:
    """Refuse a picture of more than `max_pixels`, or of as many bytes when decoded.

    Args:
        size: width, height in pixels.
        max_pixels: most pixels, of up to 32 bits each.
        bits: bits per pixel, where they may be more than 32.

    Raises:
        ImageTooLarge: it has more.
    """
    allowed = max_pixels * _USUAL_BITS // max(_USUAL_BITS, bits)
    if size[0] * size[1] > allowed:
        raise ImageTooLarge(*size, allowed, bits if bits > _USUAL_BITS else None)


def read_png_size(data: bytes) -> tuple[int, int]:
    """(width, height) from IHDR.

    Raises:
        BrokenImage: IHDR is missing, incomplete, or says zero.
    """
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    if len(data) < _PNG_HEAD_BYTES or data[12:16] != b"IHDR" or not width or not height:
        raise BrokenImage("The PNG header is damaged: it tells no size.")
    return width, height


def png_bits(data: bytes) -> int:
    """Bits per pixel from IHDR (checked by `read_png_size`); 0 for an unknown colour type."""
    return data[24] * _PNG_CHANNELS.get(data[25], 0)


def bare_png(data: bytes) -> bytes:
    """A PNG without its metadata; its pixel data is checked against the size in its header.

    Decoders fill in missing data and drop surplus data silently.

    Raises:
        BrokenImage: chunks or compressed data are damaged, or too short or too long.
    """
    chunks: list[tuple[bytes, bytes]] = []
    position = 8
    for _ in range(_MAX_CHUNKS):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        if kind in _PNG_NEEDED:
            chunks.append((kind, data[position : position + length + 12]))
        position += length + 12
        if kind == b"IDAT" and position > len(data):
            raise BrokenImage("The PNG is truncated: it ends before its pixels do.")
        if kind == b"IEND" or position >= len(data):
            break
    else:
        raise BrokenImage(f"The PNG has more than {_MAX_CHUNKS} chunks.")
    _check_png_data(data, [chunk[8:-4] for kind, chunk in chunks if kind == b"IDAT"])
    return data[:8] + b"".join(chunk for _, chunk in chunks)


def _check_png_data(data: bytes, compressed: list[bytes]) -> None:
    width, height = read_png_size(data)
    bits, interlaced = png_bits(data), data[28]
    row = 1 + (width * bits + 7) // 8
    expected = sum(
        rows * (1 + (columns * bits + 7) // 8)
        for columns, rows in _passes(width, height, interlaced)
        if columns
    )
    found = _inflated_size(compressed, expected + row)
    if found < expected:
        raise BrokenImage(
            f"The PNG is truncated, or its header lies: {width}×{height} pixels need {expected} "
            f"bytes, and it holds {found}."
        )
    if found > expected + row:
        raise BrokenImage(f"The PNG header lies: it holds more than {width}×{height} pixels.")


def _passes(width: int, height: int, interlaced: int) -> list[tuple[int, int]]:
    """Columns and rows of each interlacing pass."""
    if interlaced > 1:
        raise BrokenImage(f"The PNG header is damaged: there is no interlace method {interlaced}.")
    if not interlaced:
        return [(width, height)]
    return [
        (-(-(width - first_column) // step_x), -(-(height - first_row) // step_y))
        for first_column, first_row, step_x, step_y in _ADAM7
    ]


def _inflated_size(parts: list[bytes], enough: int) -> int:
    """Size of `parts` decompressed, in bytes; stops soon after `enough`."""
    inflater = zlib.decompressobj()
    size = 0
    try:
        for part in parts:
            while part and size <= enough and not inflater.eof:
                size += len(inflater.decompress(part, 2**20))
                part = inflater.unconsumed_tail  # noqa: PLW2901  the rest of the same part
        return size + len(inflater.flush(2**20)) if size <= enough else size
    except zlib.error as error:
        raise BrokenImage(f"The PNG's compressed data is damaged: {error}.") from error


def read_webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) of the canvas (RFC 9649, sections 2.5 to 2.7)."""
    match data[12:16]:
        case b"VP8X":
            width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case _:
            width, height = (int.from_bytes(data[i : i + 2], "little") & 0x3FFF for i in (26, 28))
    return width, height


def check_tiff_strips(data: bytes) -> None:
    """Refuse a TIFF (TIFF 6.0, section 2; BigTIFF) with too many strips or tiles.

    Raises:
        BrokenImage: there are more than 65,536. Other damage is not looked for here.
    """
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:4] in {b"+\0", b"\0+"}
    at, head, count, entry = (8, "Q", "Q", "HHQ8x") if big else (4, "I", "H", "HHI4x")
    try:
        (start,) = struct.unpack_from(order + head, data, at)
        (entries,) = struct.unpack_from(order + count, data, start)
        start += struct.calcsize(order + count)
        end = min(start + entries * struct.calcsize(order + entry), len(data))
        size = struct.calcsize(order + entry)
        fields = list(struct.iter_unpack(order + entry, data[start : end - (end - start) % size]))
    except (struct.error, OverflowError, IndexError):
        return
    if any(tag in _TIFF_STRIP_TAGS and number > _MAX_STRIPS for tag, _, number in fields):
        raise BrokenImage(f"The TIFF has more than {_MAX_STRIPS} strips or tiles.")
