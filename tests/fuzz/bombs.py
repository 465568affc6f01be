"""Files that are cheap to send and dear to decode, at the service's default limits.

    python -m fuzz.bombs            seconds and memory of each, as a Markdown table
    python -m fuzz.bombs gif tiff   only those whose names begin so

Every file has at most 10 MB and claims at most 50 million pixels. Each is judged in a process of
its own as a request is: `check_header`, then `decode`.
"""

from __future__ import annotations

import json
import random
import re
import resource
import struct
import subprocess
import sys
import time
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from support.pictures import chunk, encode

if TYPE_CHECKING:
    from collections.abc import Callable

PIXELS = 50_000_000
BYTES = 10 * 2**20
_SIDE = 7_071  # squared: just under PIXELS
_RLE = (1_581, 1_581)  # the largest run-length encoded BMP that is read
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png(depth: int, colour: int, interlaced: int = 0, row_filter: int = 0) -> bytes:
    """The largest square that is allowed, all bytes equal, rows filtered with `row_filter`."""
    from sightline.vision.headers import _passes

    side = int((PIXELS * 32 // max(32, depth * _CHANNELS[colour])) ** 0.5)
    packer = zlib.compressobj(1)
    data = bytearray()
    for columns, rows in _passes(side, side, interlaced):
        line = bytes([row_filter]) + bytes((columns * depth * _CHANNELS[colour] + 7) // 8)
        for _ in range(rows):
            data += packer.compress(line)
    data += packer.flush()
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, interlaced)
    palette = chunk(b"PLTE", bytes(768)) + chunk(b"tRNS", bytes(256)) if colour == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette
        + chunk(b"IDAT", bytes(data)) + chunk(b"IEND", b"")
    )  # fmt: skip


def flat(mode: str, kind: str, size: tuple[int, int] = (_SIDE, _SIDE), **options: Any) -> bytes:
    """One colour."""
    return encode(Image.new(mode, size), kind, **options)


def noisy(mode: str, kind: str, **options: object) -> bytes:
    """A small square of noise, again and again."""
    side = 512
    channels = len(Image.new(mode, (1, 1)).getbands())
    tile = np.random.default_rng(0).integers(0, 255, (side, side, channels), np.uint8)
    picture = np.tile(tile, (_SIDE // side + 1, _SIDE // side + 1, 1))[:_SIDE, :_SIDE]
    return encode(Image.fromarray(picture.squeeze(), mode), kind, **options)


def scans(mode: str, count: int) -> bytes:
    """A progressive JPEG with its first scan `count` times more."""
    data = flat(mode, "JPEG", progressive=True, quality=50)
    first = data.index(b"\xff\xda")
    scan = data[first : data.index(b"\xff", first + 12)]
    return data[:first] + scan * count + data[first:]


def segments(segment: bytes, mode: str = "RGB") -> bytes:
    """A JPEG with as many copies of `segment` as there is room for."""
    data = flat(mode, "JPEG", (64, 64))
    count = min((BYTES - len(data)) // len(segment), 4_900)
    return data[:2] + segment * count + data[2:]


def exif(tags: int, size: int) -> bytes:
    """An Exif block whose tags all point at the same bytes."""
    entries = b"".join(struct.pack("<HHII", 0x9000 + i, 1, size - 64, 8) for i in range(tags))
    block = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", tags) + entries + bytes(4)
    return b"Exif\x00\x00" + block.ljust(size, b"\0")


def oddity(mode: str, **options: Any) -> bytes:
    """Stray bytes between segments, which send a JPEG to the slower decoder."""
    data = flat(mode, "JPEG", **options)
    at = data.index(b"\xff\xdb")
    return data[:at] + bytes(3) + data[at:]


def gif(blocks: bytes) -> bytes:
    data = flat("P", "GIF", (64, 64))
    at = data.index(b",\0\0\0\0")
    return data[:at] + blocks * ((BYTES - len(data)) // len(blocks)) + data[at:]


def bmp(compression: int, size: tuple[int, int], codes: bytes, bits: int = 8) -> bytes:
    palette = bytes(4 << bits)
    body = codes * (min(BYTES - 4096, 2 * (size[0] + 1) * size[1]) // len(codes))
    head = struct.pack("<IiiHHIIiiII", 40, *size, 1, bits, compression, len(body), 0, 0, 0, 0)
    offset = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + head + palette + body


def tiff(entries: list[tuple[int, int, int, int]], tail: bytes) -> bytes:
    """A TIFF of one directory: (tag, type, count, value or offset), and `tail` right after it."""
    fields = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\x00\x08\0\0\0" + struct.pack("<H", len(entries)) + fields + bytes(4) + tail


def _tiff_strips(rows: int) -> bytes:
    """A column of one pixel's width, each row a strip of its own."""
    at = 8 + 2 + 12 * 8 + 4
    tail = struct.pack("<I", 8) * rows + struct.pack("<I", 1) * rows
    entries = [
        (256, 4, 1, 1), (257, 4, 1, rows), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, rows, at), (278, 4, 1, 1), (279, 4, rows, at + 4 * rows),
    ]  # fmt: skip
    return tiff(entries, tail)


def _tiff_tags() -> bytes:
    """As many tags as there can be, which all point at the same ten megabytes."""
    extra = [(0x8000 + i, 7, 9_000_000, 8) for i in range(30_000)]
    base = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8),
            (279, 4, 1, 64)]  # fmt: skip
    return tiff(base + extra, bytes(9_000_000))


def _tiff_numbers() -> bytes:
    """One tag of ten million numbers where one is expected."""
    count = 10_000_000
    base = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 1, count, 100), (262, 3, 1, 1), (273, 4, 1, 8),
            (277, 3, 1, 1), (279, 4, 1, 64)]  # fmt: skip
    return tiff(base, bytes(count + 200))


def animated(kind: str, **options: object) -> bytes:
    frames = [Image.new("RGBA", (_SIDE, _SIDE), colour) for colour in ("red", "lime")]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)


_RUNS = bytes(random.Random(0).choices((0, 1), k=100))
BOMBS: dict[str, Callable[[], bytes]] = {
    **{
        f"png {name}": partial(png, *how)
        for name, how in {
            "grey 8": (8, 0), "palette 1 interlaced": (1, 3, 1), "palette 8 tRNS": (8, 3),
            "RGB 8 Paeth": (8, 2, 0, 4), "RGBA 8": (8, 6), "RGBA 8 interlaced": (8, 6, 1),
            "grey+alpha 16": (16, 4), "RGB 16": (16, 2), "RGBA 16 Paeth": (16, 6, 0, 4),
            "RGBA 16 interlaced": (16, 6, 1),
        }.items()
    },
    "jpeg flat": partial(flat, "RGB", "JPEG"),
    "jpeg noise 4:4:4": partial(noisy, "RGB", "JPEG", quality=5, subsampling=0),
    "jpeg progressive noise": partial(noisy, "RGB", "JPEG", quality=5, progressive=True),
    "jpeg progressive 4:4:4": partial(flat, "RGB", "JPEG", progressive=True, subsampling=0),
    "jpeg 19 scans": partial(scans, "L", 12),
    "jpeg CMYK": partial(flat, "CMYK", "JPEG"),
    "jpeg CMYK progressive": partial(flat, "CMYK", "JPEG", progressive=True),
    "jpeg oddity": partial(oddity, "RGB", progressive=True, subsampling=0),
    "jpeg restarts": partial(flat, "RGB", "JPEG", restart_marker_blocks=1),
    "jpeg 4900 comments": partial(segments, b"\xff\xfe\x07\xd0" + bytes(1998)),
    "jpeg 4900 DHT": partial(segments, b"\xff\xc4\x00\x14\x00\x01" + bytes(16)),
    "jpeg 4900 DQT": partial(segments, b"\xff\xdb\x00\x43\x00" + bytes([1]) * 64),
    "jpeg CMYK Exif": lambda: segments(b"\xff\xe1\xfd\xf0" + exif(5_000, 65_000), "CMYK"),
    "jpeg Exif": lambda: flat("RGB", "JPEG", (64, 64), exif=exif(5_000, 65_000)),
    "png eXIf": lambda: flat("RGB", "PNG", (64, 64), exif=exif(25_000, 9_000_000)),
    "webp Exif": lambda: flat("RGB", "WEBP", (64, 64), exif=exif(25_000, 9_000_000)),
    "avif Exif": lambda: flat("RGB", "AVIF", (64, 64), exif=exif(25_000, 9_000_000)),
    "webp flat": partial(flat, "RGB", "WEBP", quality=1, method=0),
    "webp noise": partial(noisy, "RGB", "WEBP", quality=1, method=0),
    "webp alpha": partial(flat, "RGBA", "WEBP", quality=1, method=0),
    "webp lossless": partial(noisy, "RGB", "WEBP", lossless=True, method=0, quality=0),
    "webp animated": partial(animated, "WEBP", quality=1, method=0),
    "avif flat": partial(flat, "RGB", "AVIF", speed=10, quality=10),
    "avif noise 4:4:4": partial(noisy, "RGB", "AVIF", speed=10, quality=10, subsampling="4:4:4"),
    "avif alpha": partial(flat, "RGBA", "AVIF", speed=10, quality=10),
    "avif animated": partial(animated, "AVIF", speed=10, quality=10),
    "gif flat": partial(flat, "P", "GIF"),
    "gif interlaced": partial(flat, "P", "GIF", interlace=1),
    "gif 3e6 extensions": partial(gif, b"!\x01\0"),
    "gif 2e6 comments": partial(gif, b"!\xfe\x01x\0"),
    "gif long comment": lambda: gif(b"!\xfe" + (b"\xff" + b"x" * 255) * 40_000 + b"\0"),
    "gif animated": partial(animated, "GIF"),
    "bmp 1 bit": partial(flat, "1", "BMP"),
    "bmp RLE8 runs of 1": partial(bmp, 1, _RLE, b"\x01\x07"),
    "bmp RLE8 runs of 0": partial(bmp, 1, _RLE, b"\x01\x07" * 8000 + b"\0\0"),
    "bmp RLE8 line ends": partial(bmp, 1, _RLE, b"\x01\x07\0\0"),
    "bmp RLE8 wide line ends": partial(bmp, 1, (2_500_000, 1), b"\x01\x07\0\0"),
    "bmp RLE8 wide deltas": partial(bmp, 1, (2_500_000, 1), b"\0\x02\xff\xff"),
    "bmp RLE4 runs of 255": partial(bmp, 2, _RLE, b"\xff\x17" * 7 + b"\xff\x17\0\0", 4),
    "bmp RLE4 absolute": partial(bmp, 2, _RLE, b"\0\xfe" + bytes(128), 4),
    "bmp RLE8 too large": partial(bmp, 1, (_SIDE, _SIDE), b"\x01\x07\0\0"),
    **{
        f"tiff {mode} {compression}": partial(flat, mode, "TIFF", compression=compression)
        for mode, compression in [
            ("RGBA", "tiff_adobe_deflate"), ("RGBA", "tiff_lzw"), ("CMYK", "tiff_lzw"),
            ("RGB", "packbits"), ("I;16", "tiff_adobe_deflate"), ("I", "tiff_adobe_deflate"),
            ("F", "tiff_adobe_deflate"), ("LAB", "tiff_lzw"), ("1", "group4"), ("1", "tiff_lzw"),
            ("RGB", "jpeg"), ("YCbCr", "jpeg"), ("RGB", "zstd"), ("RGB", "lzma"),
        ]
    },
    "tiff 65536 strips": partial(_tiff_strips, 65_536),
    "tiff 1e6 strips": partial(_tiff_strips, 1_000_000),
    "tiff 30000 tags": _tiff_tags,
    "tiff 1e7 numbers": _tiff_numbers,
}  # fmt: skip


def measure(data: bytes) -> dict[str, Any]:
    """Seconds (of CPU, of the clock), MB at the peak above the start, and what came of it."""
    command = [sys.executable, "-m", "fuzz.bombs", "--judge"]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return {"cpu": 999.0, "wall": 999.0, "mb": 0.0, "answer": "HUNG"}
    if done.returncode:
        return {"cpu": 0.0, "wall": 0.0, "mb": 0.0, "answer": f"CRASH {done.stderr[-300:]!r}"}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def judge(data: bytes) -> dict[str, Any]:
    from sightline.errors import ImageError
    from sightline.vision.decode import decode
    from sightline.vision.header_check import check_header

    decode(encode(Image.new("RGB", (8, 8)), "JPEG"), PIXELS)
    before, cpu, wall = peak(), time.process_time(), time.perf_counter()
    try:
        check_header(data, PIXELS)
        answer = "x".join(map(str, decode(data, PIXELS).shape))
    except ImageError as error:
        answer = f"{type(error).__name__}: {str(error)[:60]}"
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu": cpu, "wall": wall, "mb": peak() - before, "answer": answer}


def peak() -> float:
    """MB this process has used at most; getrusage would count its parent's."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text("ascii"))
    return int(found[1]) / 1024 if found else 0.0


def main(wanted: list[str]) -> None:
    if wanted == ["--judge"]:
        resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
        print(json.dumps(judge(sys.stdin.buffer.read())))
        return
    print("| file | kB | CPU s | wall s | peak MB | bytes/pixel | answer |\n" + "|---" * 7 + "|")
    for name, make in BOMBS.items():
        if wanted and not name.startswith(tuple(wanted)):
            continue
        data = make()
        found = measure(data)
        print(
            f"| {name} | {len(data) // 1000} | {found['cpu']:.1f} | {found['wall']:.1f} "
            f"| {found['mb']:.0f} | {found['mb'] * 2**20 / PIXELS:.1f} | {found['answer']} |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
