"""The format of a picture that arrives in pieces."""

from __future__ import annotations

import pytest
from PIL import Image

from sightline.errors import EmptyImage, ImageError, UnsupportedImage
from sightline.vision.formats import SNIFF_BYTES, Sniffer, sniff
from support import pictures


@pytest.mark.parametrize("size", [1, 5, 31, 32, 33, 1000])
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "bmp", "tiff", "gif", "avif"])
def test_pieces_do_not_matter(kind: str, size: int) -> None:
    data = pictures.encode(Image.fromarray(pictures.scene()), kind)
    sniffer = Sniffer()
    for start in range(0, len(data), size):
        assert sniffer.format == (kind if start >= SNIFF_BYTES else None)
        sniffer.feed(data[start : start + size])
    sniffer.finish()
    assert sniffer.format == kind == sniff(data)


def test_what_is_no_picture_is_refused_once_enough_of_it_is_there() -> None:
    sniffer = Sniffer()
    sniffer.feed(b"x" * (SNIFF_BYTES - 1))
    with pytest.raises(UnsupportedImage, match="text"):
        sniffer.feed(b"x")


@pytest.mark.parametrize(("data", "error"), [(b"", EmptyImage), (b"%PDF-1.7", UnsupportedImage)])
def test_what_is_short_is_judged_at_its_end(data: bytes, error: type[ImageError]) -> None:
    sniffer = Sniffer()
    sniffer.feed(data)
    with pytest.raises(error):
        sniffer.finish()


def test_a_short_picture() -> None:
    sniffer = Sniffer()
    sniffer.feed(b"GIF89a")
    sniffer.finish()
    assert sniffer.format == "gif"
