"""Pictures that are cheap to send and dear to decode are refused by their headers."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuzz import bombs, seeds
from sightline import errors
from sightline.vision.decode import decode
from sightline.vision.draw import encode_jpeg
from sightline.vision.header_check import check_header
from support import pictures

LIMIT = 1_000_000


def deep(kind: str, width: int, height: int) -> bytes:
    """RGBA of 16 bits a colour."""
    if kind == "png":
        return pictures.relabelled_png(seeds.pictures()["png RGBA;16"], width, height)
    strip = (273, 4, 1, 8), (278, 4, 1, height), (279, 4, 1, 8)
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (262, 3, 1, 2), (277, 3, 1, 4),
        (338, 3, 1, 2), *strip,
    ]  # fmt: skip
    return bombs.tiff(entries, bytes(64))


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_deeper_pixels_count_for_more(kind: str) -> None:
    assert check_header(deep(kind, 1000, 500), LIMIT) == (1000, 500)
    for check in (check_header, decode):
        with pytest.raises(errors.ImageTooLarge, match=r"of 64 bits.* is 0\.5 million.*8 bits"):
            check(deep(kind, 1000, 501), LIMIT)


def test_pixels_of_the_usual_depth_count_as_they_are() -> None:
    assert decode(pictures.bare_png(1000, 1000), LIMIT).shape == (1000, 1000, 3)
    data = pictures.encode(Image.new("RGBA", (1000, 1000)), "PNG")
    assert decode(data, LIMIT).shape == (1000, 1000, 3)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_a_million_strips_is_refused(order: str) -> None:
    """Pillow makes an object of each: 10 MB of them took 13 s."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    data = mark + struct.pack(order + "IHHHIII", 8, 1, 273, 4, 65_537, 26, 0)
    with pytest.raises(errors.BrokenImage, match="strips"):
        check_header(data, LIMIT)
    big = data[:2] + struct.pack(order + "HHHQQHHQQQ", 43, 8, 0, 16, 1, 324, 16, 65_537, 44, 0)
    with pytest.raises(errors.BrokenImage, match="tiles"):
        check_header(big, LIMIT)


def test_a_damaged_tiff_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Pillow logs of too many samples a pixel as an error."""
    entries = [(256, 4, 1, 8), (257, 4, 1, 8), (277, 4, 1, 70_000)]
    with pytest.raises(errors.BrokenImage):
        decode(bombs.tiff(entries, bytes(64)), LIMIT)
    assert not caplog.records


def test_large_run_length_bmps_are_refused_and_small_ones_read() -> None:
    large = bombs.bmp(1, (2001, 2000), b"\x01\x07\0\0")
    with pytest.raises(errors.UnsupportedImage, match="Save it as PNG"):
        check_header(large, 50_000_000)
    idle = bombs.bmp(1, (100, 100), b"\x01\x07") + bytes(5_000)
    with pytest.raises(errors.BrokenImage, match="more codes"):
        check_header(idle, LIMIT)
    small = seeds.pictures()["bmp RLE8"]
    shown = np.asarray(Image.open(BytesIO(small)).convert("RGB"))
    assert (decode(small, LIMIT)[..., ::-1] == shown).all()


@pytest.mark.parametrize("name", sorted(seeds.pictures()))
def test_a_file_cut_anywhere_in_its_head_is_an_image_error(name: str) -> None:
    for size in range(1, 56):
        with pytest.raises(errors.ImageError):
            decode(seeds.pictures()[name][:size], LIMIT)


@pytest.mark.parametrize("progressive", [False, True])
def test_inks_are_mixed_as_pillow_mixes_them(progressive: bool) -> None:
    picture = Image.fromarray(pictures.scene(96, 64)).convert("CMYK")
    data = pictures.encode(picture, "JPEG", quality=95, progressive=progressive)
    shown = np.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode(data, LIMIT)[..., ::-1].astype(int) - shown).max() <= 1


@pytest.mark.parametrize("size", [(3_000_000, 1), (1, 3_000_000), (2_000, 1_500)])
@pytest.mark.parametrize("mode", ["LA", "I;16"])
def test_pictures_of_several_blocks_have_their_pixels_in_place(
    size: tuple[int, int], mode: str
) -> None:
    grey = (np.arange(size[0] * size[1]) % 251).astype(np.uint8).reshape(size[::-1])
    picture: Any = Image.fromarray(grey)
    if mode == "LA":
        picture = Image.merge("LA", (picture, Image.new("L", size, 255)))
    else:
        picture = Image.fromarray(grey.astype(np.uint16) << 8)
    found = decode(pictures.encode(picture, "PNG", compress_level=1), 4_000_000)
    assert (found == grey[..., None]).all()


def test_a_jpeg_is_not_asked_for_what_it_cannot_hold() -> None:
    wide = np.zeros((1, 65_501, 3), np.uint8)
    with pytest.raises(errors.BadOption, match="application/json"):
        encode_jpeg(wide)
    assert encode_jpeg(wide[:, :-1]).startswith(b"\xff\xd8")


@pytest.mark.soak
@pytest.mark.parametrize("name", bombs.BOMBS)
def test_no_file_takes_more_than_sixteen_bytes_a_pixel(name: str) -> None:
    data = bombs.BOMBS[name]()
    found = bombs.measure(data)
    assert "CRASH" not in found["answer"]
    assert "HUNG" not in found["answer"]
    assert found["mb"] * 2**20 <= 16 * bombs.PIXELS + 2 * len(data) + 2**24


def test_a_frame_larger_than_its_screen_counts() -> None:
    """A GIF's first frame may lie beyond the screen that its header speaks of."""
    screen, frame = struct.pack("<HH", 64, 48), struct.pack("<HHHH", 0, 0, 32767, 3546)
    head = b"GIF89a" + screen + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    gif = head + b"," + frame + b"\0\x02\x02\x4c\x01\0;"
    for check in (check_header, decode):
        with pytest.raises(errors.ImageTooLarge, match="32767×3546"):
            check(gif, 50_000_000)
