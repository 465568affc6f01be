"""A header is judged alike, whether its picture is there as a whole or arrives in pieces."""

from __future__ import annotations

import struct
from random import Random
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from fuzz import bombs
from fuzz.mutate import mutate
from fuzz.seeds import pictures as seeds
from sightline.errors import ImageError, ImageTooLarge
from sightline.vision import header_check
from sightline.vision.formats import sniff
from sightline.vision.header_check import HEAD_BYTES, HeaderCheck, check_header
from sightline.vision.jpeg_header import read_jpeg_header
from support import pictures

if TYPE_CHECKING:
    from collections.abc import Iterator

PIXELS = 100_000
LIMITS = (PIXELS, 100)  # one that the samples keep, and one that most of them do not
PROFILE = b"\xff\xe2\xff\xff" + bytes(65_533)  # a segment as long as one can be
SAMPLES = seeds() | {
    "jpeg two sizes": pictures.jpeg()[:-2] + pictures.jpeg(400, 400)[2:],
    "jpeg fill": pictures.jpeg()[:2] + b"\xff" * 3000 + pictures.jpeg()[2:],
    "jpeg late": pictures.jpeg()[:2] + PROFILE * 9 + pictures.jpeg()[2:],
    "jpeg segments": pictures.jpeg()[:2] + b"\xff\xe5\x00\x02" * 6000 + pictures.jpeg()[2:],
    "bmp codes": bombs.bmp(1, (100, 100), b"\x01\x07") + bytes(30_000),
    "gif comments": seeds()["gif"][:-1] + b"\x21\xfe" + b"\xff" * 20_000,
    "tiff behind": seeds()["tiff bigger"] + bytes(20_000),
    "webp behind": seeds()["webp"] + bytes(20_000),
}  # fmt: skip


def on_the_whole(data: bytes, max_pixels: int) -> str:
    try:
        check_header(data, max_pixels)
    except ImageError as error:
        return f"{type(error).__name__}: {error}"
    return "good"


def in_pieces(data: bytes, max_pixels: int, pieces: Iterator[int]) -> str:
    """The verdict on `data`, whose type is good, in pieces of so many bytes."""
    check = HeaderCheck(sniff(data), max_pixels)
    try:
        position = 0
        while position < len(data):
            end = position + next(pieces)
            check.feed(data[position:end])
            position = end
        check.finish()
    except ImageError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        check.close()
    return "good"


def odd_sizes(random: Random) -> Iterator[int]:
    while True:
        yield random.choice((1, 2, 3, 7, 31, 64, 997, 4093, 65_537))


def variants(data: bytes, random: Random) -> Iterator[bytes]:
    yield data
    for _ in range(12):
        yield data[: random.randrange(1, len(data))]
        yield data[: random.randrange(1, min(200, len(data)))]
    others = list(seeds().values())
    for _ in range(25):
        yield mutate(data, random, others)


@pytest.mark.parametrize("head_bytes", [64, 1000, HEAD_BYTES])
@pytest.mark.parametrize("name", SAMPLES)
def test_pieces_do_not_matter(name: str, head_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short head leaves much to the file, a long one nothing."""
    monkeypatch.setattr(header_check, "HEAD_BYTES", head_bytes)
    random = Random(f"{name} {head_bytes}")
    for data in variants(SAMPLES[name], random):
        for limit in LIMITS:
            whole = on_the_whole(data, limit)
            if whole.startswith(("EmptyImage", "UnsupportedImage: This is")):
                continue  # told by its first bytes
            assert in_pieces(data, limit, odd_sizes(random)) == whole


def test_jpegs_in_single_bytes() -> None:
    for data in (pictures.jpeg(), SAMPLES["jpeg Exif"], SAMPLES["jpeg two sizes"]):
        assert in_pieces(data, PIXELS, iter([1] * len(data))) == "good"


def test_the_exif_block_is_whole() -> None:
    data = SAMPLES["jpeg Exif"]
    block = read_jpeg_header(data, PIXELS).exif
    assert block.startswith(b"Exif\0\0")
    assert block in data
    assert b"a description" in block


def large(kind: str) -> bytes:
    """400 by 300 pixels, and a megabyte of nothing behind them."""
    return pictures.encode(Image.new("RGB", (400, 300)), kind) + bytes(2**20)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_all_there(kind: str) -> None:
    data = large(kind)
    check = HeaderCheck(sniff(data), 1000)
    with pytest.raises(ImageTooLarge):
        check.feed(data[:HEAD_BYTES])
    check.close()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_header_that_is_known_is_not_kept(kind: str) -> None:
    data = large(kind)
    check = HeaderCheck(sniff(data), PIXELS * 2)
    for start in range(0, len(data), 100_000):
        check.feed(data[start : start + 100_000])
    assert check._file is None
    assert not check._head
    check.finish()


def test_a_tiff_whose_header_comes_last() -> None:
    entries = [
        (256, 4, 1, 400), (257, 4, 1, 300), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8),
        (278, 4, 1, 300), (279, 4, 1, 2**20),
    ]  # fmt: skip
    head = b"II*\0" + struct.pack("<I", 8 + 2**20) + bytes(2**20)
    tags = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    data = head + struct.pack("<H", len(entries)) + tags + bytes(4)
    for limit in (1000, PIXELS * 2):
        assert in_pieces(data, limit, iter([100_000] * 20)) == on_the_whole(data, limit)
    assert on_the_whole(data, 1000).startswith("ImageTooLarge")
    assert on_the_whole(data, PIXELS * 2) == "good"
