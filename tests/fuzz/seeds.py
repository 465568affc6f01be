"""Good pictures of every format and most of its variants, small so that a storm is fast."""

from __future__ import annotations

import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

from support.pictures import chunk, encode, interlaced_png, scene

# Wide and low: the network's input is as small as the picture's shape allows.
_SIZE = (64, 3)
_BIGGER = (320, 30)


@cache
def pictures() -> dict[str, bytes]:
    """Name -> file; a name begins with the format's."""
    picture = Image.fromarray(scene(*_SIZE))
    bigger = Image.fromarray(scene(*_BIGGER))
    return (
        _jpegs(picture)
        | _pngs(picture)
        | _webps(picture)
        | _bmps(picture)
        | _tiffs(picture)
        | _gifs(picture)
        | _avifs(picture)
        | {
            f"{kind} bigger": encode(bigger, kind)
            for kind in ("jpeg", "png", "webp", "bmp", "tiff", "gif", "avif")
        }
    )


def kind(name: str) -> str:
    return name.split(" ", maxsplit=1)[0]


def _transparent(picture: Image.Image) -> Image.Image:
    layer = picture.convert("RGBA")
    layer.paste((0, 0, 0, 0), (0, 0, 9, 9))
    return layer


def _frames(picture: Image.Image) -> dict[str, object]:
    return {"save_all": True, "append_images": [picture.rotate(180), picture.convert("L")]}


def _jpegs(picture: Image.Image) -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    return {
        "jpeg": encode(picture, "jpeg"),
        "jpeg 4:4:4": encode(picture, "jpeg", subsampling=0),
        "jpeg progressive": encode(picture, "jpeg", progressive=True),
        "jpeg grey": encode(picture.convert("L"), "jpeg"),
        "jpeg CMYK": encode(picture.convert("CMYK"), "jpeg"),
        "jpeg Exif": encode(picture, "jpeg", exif=exif, comment=b"a comment"),
        "jpeg restarts": encode(picture, "jpeg", restart_marker_blocks=1),
    }


def _pngs(picture: Image.Image) -> dict[str, bytes]:
    named = {
        f"png {mode}": encode(picture.convert(mode), "png")
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA")
    }
    grey = np.arange(_SIZE[0] * _SIZE[1], dtype=np.uint16).reshape(_SIZE[::-1]) * 300
    return named | {
        "png I;16": encode(Image.fromarray(grey), "png"),
        "png RGB;16": deep_png(2, 6),
        "png RGBA;16": deep_png(6, 8),
        "png tRNS": encode(picture.convert("P"), "png", transparency=3),
        "png interlaced": interlaced_png(picture),
        "png interlaced 1": interlaced_png(picture.convert("1")),
        "png animated": encode(picture, "png", **_frames(picture)),
    }


def deep_png(colour: int, pixel_bytes: int) -> bytes:
    """A PNG of 16 bits a colour, which Pillow does not write."""
    width, height = _SIZE
    rows = b"".join(
        bytes([row % 5]) + bytes(range(width)) * pixel_bytes for row in range(height)
    )  # every row filter
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def _webps(picture: Image.Image) -> dict[str, bytes]:
    return {
        "webp": encode(picture, "webp"),
        "webp lossless": encode(picture, "webp", lossless=True),
        "webp alpha": encode(_transparent(picture), "webp"),
        "webp lossless alpha": encode(_transparent(picture), "webp", lossless=True, exact=True),
        "webp animated": encode(picture, "webp", **_frames(picture)),
    }


def _bmps(picture: Image.Image) -> dict[str, bytes]:
    return {
        **{
            f"bmp {mode}": encode(picture.convert(mode), "bmp")
            for mode in ("1", "L", "P", "RGB", "RGBA")
        },
        "bmp RLE8": rle_bmp(1, 8, b"\x10\x05" * 4 + b"\0\0"),
        "bmp RLE4": rle_bmp(2, 4, b"\x20\x12" * 2 + b"\0\0"),
        "bmp RLE8 absolute": rle_bmp(1, 8, b"\0\x20" + bytes(range(32)) + b"\x20\x09" + b"\0\0"),
    }


def rle_bmp(compression: int, bits: int, row: bytes) -> bytes:
    """A run-length encoded BMP of rows that are all `row`."""
    palette = bytes(range(256)) * 4 if bits == 8 else bytes(range(64))
    body = row * _SIZE[1] + b"\0\x01"
    head = struct.pack("<IiiHHIIiiII", 40, *_SIZE, 1, bits, compression, len(body), 0, 0, 0, 0)
    offset = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + head + palette + body


def _tiffs(picture: Image.Image) -> dict[str, bytes]:
    packed = {
        f"tiff {name}": encode(picture, "tiff", compression=name)
        for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "lzma", "zstd")
    }
    modes = {
        f"tiff {mode}": encode(picture.convert(mode), "tiff")
        for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK")
    }
    grey = Image.fromarray(np.full(_SIZE[::-1], 30_000, np.uint16))
    return packed | modes | {
        "tiff I;16": encode(grey, "tiff"),
        "tiff group4": encode(picture.convert("1"), "tiff", compression="group4"),
        "tiff turned": encode(picture, "tiff", tiffinfo={274: 6}),
        "tiff big": encode(picture, "tiff", big_tiff=True),
        "tiff strips": encode(picture, "tiff", strip_size=200, compression="tiff_lzw"),
        "tiff pages": encode(picture, "tiff", **_frames(picture)),
    }  # fmt: skip


def _gifs(picture: Image.Image) -> dict[str, bytes]:
    return {
        "gif": encode(picture, "gif", interlace=0),
        "gif interlaced": encode(picture, "gif", interlace=1, comment=b"a comment"),
        "gif transparent": encode(_transparent(picture), "gif"),
        "gif animated": encode(picture, "gif", **_frames(picture)),
    }


def _avifs(picture: Image.Image) -> dict[str, bytes]:
    return {
        "avif": encode(picture, "avif", speed=10),
        "avif alpha": encode(_transparent(picture), "avif", speed=10),
        "avif 4:4:4": encode(picture, "avif", speed=10, subsampling="4:4:4"),
        "avif animated": encode(picture, "avif", speed=10, **_frames(picture)),
    }
