from __future__ import annotations

import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from sightline import errors
from sightline.vision.decode import decode, decode_shrunk, from_array, from_pil
from sightline.vision.formats import sniff
from sightline.vision.header_check import check_header
from support import pictures

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIMIT = 50_000_000
SCENE = pictures.scene()
RGB = Image.fromarray(SCENE)


def rgb(data: bytes) -> NDArray[np.int16]:
    return decode(data, LIMIT)[..., ::-1].astype(np.int16)


def assert_close(data: bytes, wanted: NDArray[Any], most: float = 6) -> None:
    got = rgb(data)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).mean() < most


LOSSLESS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "webp": ("WEBP", {"lossless": True}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "tiff-lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff-deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
}
LOSSY: dict[str, tuple[str, dict[str, Any]]] = {
    "jpeg": ("JPEG", {"quality": 95}),
    "jpeg-progressive": ("JPEG", {"quality": 95, "progressive": True}),
    "jpeg-444": ("JPEG", {"quality": 95, "subsampling": 0}),
    "webp": ("WEBP", {"quality": 95}),
    "avif": ("AVIF", {"quality": 95}),
    "gif": ("GIF", {}),
    "tiff-jpeg": ("TIFF", {"compression": "jpeg", "quality": 95}),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_are_exact(name: str) -> None:
    kind, options = LOSSLESS[name]
    assert (rgb(pictures.encode(RGB, kind, **options)) == SCENE).all()


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_formats_are_close(name: str) -> None:
    kind, options = LOSSY[name]
    assert_close(pictures.encode(RGB, kind, **options), SCENE, most=10)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("L", "JPEG"), ("L", "PNG"), ("L", "BMP"), ("L", "TIFF"), ("L", "WEBP"), ("L", "AVIF"),
        ("1", "PNG"), ("1", "BMP"), ("1", "TIFF"), ("CMYK", "JPEG"), ("CMYK", "TIFF"),
        ("P", "PNG"), ("P", "BMP"), ("P", "GIF"), ("LA", "PNG"), ("YCbCr", "JPEG"),
    ],
)  # fmt: skip
def test_colour_modes_look_as_pillow_shows_them(mode: str, kind: str) -> None:
    picture = RGB.convert(mode)
    data = pictures.encode(picture, kind)
    shown = np.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(np.int16)
    assert_close(data, shown, most=2)


def test_a_cmyk_jpeg_has_its_colours() -> None:
    assert_close(pictures.encode(RGB.convert("CMYK"), "JPEG", quality=95), SCENE)


def test_sixteen_bit_grey_keeps_its_range() -> None:
    grey = (np.arange(48 * 32).reshape(32, 48) * 40).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        got = rgb(pictures.encode(Image.fromarray(grey), kind))
        assert (got[..., 0] == grey >> 8).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_what_is_transparent_becomes_white(kind: str) -> None:
    picture = RGB.convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 24, 32))
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    got = rgb(pictures.encode(picture, kind, **options))
    assert (got[:, :24] == 255).all()
    assert (got[:, 24:] == SCENE[:, 24:]).all()


def test_a_transparent_palette_colour_becomes_white() -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 200, 10, 10])
    picture.paste(0, (0, 0, 4, 8))
    got = rgb(pictures.encode(picture, "PNG", transparency=0))
    assert (got[:, :4] == 255).all()
    assert (got[:, 4:] == (200, 10, 10)).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_of_many_frames_counts(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    data = pictures.encode(frames[0], kind, save_all=True, append_images=frames[1:])
    red, _, blue = rgb(data).mean(axis=(0, 1))
    assert red > 240
    assert blue < 15


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"exif": exif} if kind != "TIFF" else {"tiffinfo": {274: orientation}}
    if kind in {"JPEG", "AVIF"}:
        options["quality"] = 95
    if kind == "WEBP":
        options["lossless"] = True
    data = pictures.encode(RGB, kind, **options)
    stored = RGB.copy()
    stored.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(stored)).astype(np.int16)
    assert_close(data, upright)


@pytest.mark.parametrize("part", [1, 2, 4, 8])
@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_is_decoded_to_a_part_of_its_size(
    part: int, orientation: int, mode: str, progressive: bool
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    large = RGB.resize((208, 144), Image.Resampling.BICUBIC).convert(mode)
    data = pictures.encode(large, "JPEG", quality=95, exif=exif, progressive=progressive)
    whole = decode(data, LIMIT)
    pixels, size = decode_shrunk(data, LIMIT, part)
    height, width = whole.shape[:2]
    assert size == (width, height)
    there = np.array(Image.fromarray(whole).reduce(part)).astype(np.int16)
    assert np.abs(pixels - there).mean() < 3


def test_a_part_of_an_odd_size_is_rounded_up() -> None:
    pixels, size = decode_shrunk(pictures.jpeg(205, 141), LIMIT, 4)
    assert (pixels.shape, size) == ((36, 52, 3), (205, 141))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_types_are_decoded_whole(kind: str) -> None:
    pixels, size = decode_shrunk(pictures.encode(RGB, kind), LIMIT, 4)
    assert (pixels.shape[1], pixels.shape[0]) == size == RGB.size


def test_a_damaged_exif_block_does_not_matter() -> None:
    data = pictures.jpeg(exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert_close(data, SCENE)


def test_jpeg_with_trailing_bytes_is_read() -> None:
    assert_close(pictures.jpeg() + b"\x00 and a phone's own data", SCENE)


def test_jpeg_with_stray_bytes_between_its_segments_is_read() -> None:
    data = pictures.jpeg()
    at = data.index(b"\xff\xdb")
    assert_close(data[:at] + bytes(3) + data[at:], SCENE)


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_truncated_files_are_refused(name: str) -> None:
    kind, options = (LOSSLESS | LOSSY)[name]
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = pictures.encode(Image.fromarray(noise), kind, **options)
    for part in (0.4, 0.9, 0.97):
        with pytest.raises(errors.BrokenImage):
            decode(data[: int(len(data) * part)], LIMIT)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_half_a_jpeg_that_claims_to_be_whole_is_refused(mode: str, progressive: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    picture = Image.fromarray(noise).convert(mode)
    data = pictures.encode(picture, "JPEG", progressive=progressive)
    with pytest.raises(errors.BrokenImage):
        decode(data[: len(data) // 2] + b"\xff\xd9", LIMIT)


def test_a_jpeg_whose_header_claims_more_rows_is_refused() -> None:
    data = bytearray(pictures.jpeg(64, 64))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 2] = (4000).to_bytes(2, "big")
    with pytest.raises(errors.BrokenImage):
        decode(bytes(data), LIMIT)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
@pytest.mark.parametrize("factor", [(1, 2), (1, 0.5), (2, 1), (0.5, 1), (1, 1.1), (2, 0.5)])
def test_a_png_whose_header_lies_is_refused(mode: str, factor: tuple[float, float]) -> None:
    width, height = 96, 80
    grey = np.random.default_rng(0).integers(0, 255, (height, width))
    picture = (
        Image.fromarray(grey.astype(np.uint16))
        if mode == "I;16"
        else Image.fromarray(grey.astype(np.uint8)).convert(mode)
    )
    honest = pictures.encode(picture, "PNG")
    assert decode(honest, LIMIT).shape == (height, width, 3)
    claimed = round(width * factor[0]), round(height * factor[1])
    with pytest.raises(errors.BrokenImage):
        decode(pictures.relabelled_png(honest, *claimed), LIMIT)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (7, 5), (33, 64)])
@pytest.mark.parametrize("mode", ["RGB", "1"])
def test_interlaced_png(size: tuple[int, int], mode: str) -> None:
    """Pillow writes none, so its rows are laid out here: Adam7 with no row filter."""
    picture = Image.fromarray(pictures.scene(*size)).convert(mode)
    data = pictures.interlaced_png(picture)
    shown = np.asarray(picture.convert("RGB"))
    assert (rgb(data) == shown).all()
    with pytest.raises(errors.BrokenImage):
        decode(pictures.relabelled_png(data, size[0], size[1] * 4 + 8), LIMIT)


def test_a_jpeg_of_a_thousand_scans_is_refused_at_once() -> None:
    """75 bytes more are another pass over all pixels: 260 kB could keep a core busy for minutes."""
    data = pictures.encode(Image.new("L", (7000, 7000)), "JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    scan = data[first : data.index(b"\xff", first + 12)]
    bomb = data[:first] + scan * 1000 + data[first:]
    for check in (check_header, decode):
        with pytest.raises(errors.BrokenImage, match="scans"):
            check(bomb, LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        pictures.jpeg()[:2] + b"\xff\xe5\x00\x02" * 1_000_000 + pictures.jpeg()[2:],
        pictures.jpeg()[:2] + b"\xff" * 9_000_000,
        pictures.png()[:33] + (bytes(4) + b"tEXt" + bytes(4)) * 800_000 + pictures.png()[33:],
    ],
    ids=["segments", "fill", "chunks"],
)
def test_absurd_headers_are_given_up_on(data: bytes) -> None:
    with pytest.raises(errors.BrokenImage):
        decode(data, LIMIT)


def test_png_metadata_is_not_looked_into() -> None:
    """A thousand colour profiles that inflate to a megabyte each: none is inflated."""
    from PIL.PngImagePlugin import PngInfo

    profile = pictures.chunk(b"iCCP", b"x\x00\x00" + zlib.compress(bytes(2**20)))
    info = PngInfo()
    info.add_text("comment", "a real one")
    good = pictures.encode(RGB, "PNG", pnginfo=info)
    assert (rgb(good[:33] + profile * 1000 + good[33:]) == SCENE).all()


@pytest.mark.parametrize("name", pictures.NOT_PICTURES)
def test_what_is_no_picture_is_told_by_its_bytes(name: str) -> None:
    with pytest.raises(errors.UnsupportedImage, match="not a picture that can be read"):
        decode(pictures.NOT_PICTURES[name], LIMIT)


def test_the_message_names_what_was_sent() -> None:
    for name, word in (("pdf", "PDF"), ("exe", "program"), ("heic", "HEIC"), ("text", "text")):
        with pytest.raises(errors.UnsupportedImage, match=word):
            sniff(pictures.NOT_PICTURES[name])


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(errors.EmptyImage):
        decode(b"", LIMIT)


def test_too_many_pixels_are_refused_before_decoding() -> None:
    huge = pictures.bare_png(10_000, 10_000)
    assert len(huge) < 120_000
    with pytest.raises(errors.ImageTooLarge, match="10000×10000"):
        decode(huge, LIMIT)


@pytest.mark.parametrize("kind", ["VP8X", "VP8L", "VP8 "])
def test_a_webp_of_too_many_pixels_is_refused_before_its_codec_sees_it(kind: str) -> None:
    options: dict[str, dict[str, Any]] = {
        "VP8X": {"exif": b"Exif\x00\x00II*\x00", "quality": 1},
        "VP8L": {"lossless": True},
        "VP8 ": {"quality": 1},
    }
    data = pictures.encode(Image.new("RGB", (300, 200)), "WEBP", **options[kind])
    assert data[12:16].decode() == kind
    with pytest.raises(errors.ImageTooLarge, match="300×200"):
        decode(data, 300 * 200 - 1)


@pytest.mark.parametrize(
    "data",
    [
        pictures.bare_png(64, 64, claims=(640, 640)),
        pictures.bare_png(64, 64, crc=0),
        pictures.bare_png(64, 64, claims=(0, 64)),
        b"\xff\xd8\xff\xe0" + bytes(60),
        b"GIF89a" + bytes(40),
        b"II*\x00" + bytes(40),
        b"BM" + bytes(12) + b"\x28" + bytes(60),
        pictures.relabelled_png(pictures.png(), 48, 32, interlace=2),
        b"RIFF\x20\x00\x00\x00WEBPVP8 " + bytes(40),
        b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00avifmif1" + bytes(40),
    ],
)
def test_lying_and_empty_headers_are_refused(data: bytes) -> None:
    with pytest.raises(errors.BrokenImage):
        decode(data, LIMIT)


def test_the_header_alone_gives_the_size() -> None:
    assert check_header(pictures.jpeg(48, 32), LIMIT) == (48, 32)
    with pytest.raises(errors.ImageTooLarge):
        check_header(pictures.png(), 48 * 32 - 1)


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"]),
    cuts=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_mutated_pictures_never_raise_anything_else(kind: str, cuts: list[tuple[int, int]]) -> None:
    data = bytearray(pictures.encode(RGB, kind))
    for place, value in cuts:
        data[place % len(data)] = value
    try:
        image = decode(bytes(data), 1_000_000)
    except errors.ImageError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3


def test_arrays_of_all_usual_shapes() -> None:
    bgr = np.ascontiguousarray(SCENE[..., ::-1])
    assert from_array(bgr) is bgr
    grey = bgr[..., 0]
    assert (from_array(grey)[..., 2] == grey).all()
    assert from_array(grey[..., None]).shape == bgr.shape
    opaque = np.dstack((bgr, np.full(bgr.shape[:2], 255, np.uint8)))
    assert (from_array(opaque) == bgr).all()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros(4, np.uint8),
        "text",
    ],
)
def test_other_arrays_are_refused(array: Any) -> None:
    with pytest.raises(errors.BrokenImage, match="must be"):
        from_array(array)


def test_pillow_pictures() -> None:
    assert (from_pil(RGB)[..., ::-1] == SCENE).all()
    turned = RGB.copy()
    turned.getexif()[0x0112] = 6
    assert from_pil(turned).shape == (48, 32, 3)


def test_a_pillow_picture_without_pixels_is_refused() -> None:
    with pytest.raises(errors.BrokenImage, match="no pixels"):
        from_pil(Image.new("RGB", (0, 0)))


def test_wide_integers_that_hold_eight_bits_stay_as_they_are() -> None:
    grey = Image.fromarray(np.arange(64, dtype=np.int32).reshape(8, 8) * 4)
    assert grey.mode == "I"
    assert (from_pil(grey)[..., 0] == np.asarray(grey)).all()


def test_thirty_two_bit_grey_keeps_its_range() -> None:
    full = (np.arange(64, dtype=np.uint32).reshape(8, 8) * 67_000_000).view(np.int32)
    data = pictures.encode(Image.fromarray(full), "TIFF")
    assert (rgb(data)[..., 0] == full.view(np.uint32) >> 24).all()


def test_floating_point_tiff_is_refused_with_a_reason() -> None:
    data = pictures.encode(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF")
    with pytest.raises(errors.UnsupportedImage, match="8 or 16 bits"):
        decode(data, LIMIT)
