"""Pictures in every format, made on the spot."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray


def scene(width: int = 48, height: int = 32) -> NDArray[np.uint8]:
    """RGB, smooth enough to survive lossy formats: each corner has a colour of its own."""
    x = np.linspace(0, 255, width)[None, :]
    y = np.linspace(0, 255, height)[:, None]
    red, green, blue = np.broadcast_arrays(x, y, (x + 255 - y) / 2)
    return np.stack((red, green, blue), axis=-1).round().astype(np.uint8)


def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    """`picture` as a file of Pillow format `kind`."""
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(width: int = 48, height: int = 32, **options: object) -> bytes:
    return encode(Image.fromarray(scene(width, height)), "JPEG", quality=95, **options)


def png(width: int = 48, height: int = 32) -> bytes:
    return encode(Image.fromarray(scene(width, height)), "PNG")


def bare_png(
    width: int, height: int, *, claims: tuple[int, int] | None = None, crc: int | None = None
) -> bytes:
    """A grey PNG of zeros, however large, made without holding its pixels.

    `claims` writes another size into the header than the data has; `crc` spoils its checksum.
    """
    packer = zlib.compressobj(9)
    row = bytes(width + 1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", *(claims or (width, height)), 8, 0, 0, 0, 0)
    head = chunk(b"IHDR", header, crc)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def relabelled_png(data: bytes, width: int, height: int, interlace: int | None = None) -> bytes:
    """The PNG `data` with another header, and a checksum that fits."""
    method = data[28:29] if interlace is None else bytes([interlace])
    header = struct.pack(">II", width, height) + data[24:28] + method
    return data[:8] + chunk(b"IHDR", header) + data[33:]


def interlaced_png(picture: Image.Image) -> bytes:
    """`picture` (mode RGB or 1) as an Adam7 PNG."""
    from sightline.vision.headers import _ADAM7

    pixels = np.asarray(picture)
    rows = bytearray()
    for left, top, step_x, step_y in _ADAM7:
        part = pixels[top::step_y, left::step_x]
        if part.shape[1]:
            for row in part:
                packed = np.packbits(row) if picture.mode == "1" else row
                rows += b"\0" + packed.tobytes()
    kind = (1, 0) if picture.mode == "1" else (8, 2)
    header = struct.pack(">IIBBBBB", *picture.size, *kind, 0, 0, 1)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(rows)))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


NOT_PICTURES = {
    "text": b"just some words, called photo.jpg by mistake",
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
    "exe": b"MZ\x90\x00\x03\x00\x00\x00" + bytes(64),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "xml": b'<?xml version="1.0"?><svg></svg>',
    "html": b"<!DOCTYPE html><html></html>",
    "zip": b"PK\x03\x04" + bytes(40),
    "json": b'{"url": "http://example.com/a.jpg"}',
    "heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
    "mp4": b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2",
    "noise": bytes(range(1, 64)),
}
