"""Image format detection by magic bytes."""

from __future__ import annotations

from typing import Literal

from sightline.errors import EmptyImage, UnsupportedImage

PictureFormat = Literal["jpeg", "png", "webp", "bmp", "tiff", "gif", "avif"]

SNIFF_BYTES = 32
"""Leading bytes that are needed (AVIF is named among the compatible brands)."""

_MAGIC: tuple[tuple[bytes, PictureFormat], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
)

_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})

# Other formats that are sent by mistake, so that the error can name them.
_NOT_PICTURES = (
    (b"%PDF", "a PDF document"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "XML (an SVG drawing, perhaps)"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"{", "JSON"),
)


class Sniffer:
    """Incremental `sniff`: the format of a picture that arrives in chunks.

    Attributes:
        format: None until `SNIFF_BYTES` are there.
    """

    def __init__(self) -> None:
        self.format: PictureFormat | None = None
        self._head = b""

    def feed(self, data: bytes) -> None:
        """Take the next chunk. Raises as `sniff`, once enough bytes are there."""
        if self.format is None:
            self._head += data[: SNIFF_BYTES - len(self._head)]
            if len(self._head) == SNIFF_BYTES:
                self.format = sniff(self._head)

    def finish(self) -> None:
        """The picture is complete, and may be shorter. Raises as `sniff`."""
        if self.format is None:
            self.format = sniff(self._head)


def sniff(data: bytes) -> PictureFormat:
    """The format of a picture from its first `SNIFF_BYTES` bytes (fewer if it is shorter).

    Raises:
        EmptyImage: there are no bytes.
        UnsupportedImage: not a supported format; the message says what it looks like.
    """
    head = data[:SNIFF_BYTES]
    if not head:
        raise EmptyImage
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "bmp"
    if head[4:8] == b"ftyp" and (b"avif" in head[8:32] or b"avis" in head[8:32]):
        return "avif"
    raise UnsupportedImage(
        f"This is {_guess(head)}, not a picture that can be read. "
        "Send JPEG, PNG, WebP, BMP, TIFF, GIF or AVIF."
    )


def _guess(head: bytes) -> str:
    for magic, description in _NOT_PICTURES:
        if head.lstrip().startswith(magic):
            return description
    if head[4:8] == b"ftyp":
        brand = head[8:12].decode("ascii", "replace")
        return "a HEIC photograph" if brand.startswith(("hei", "mif")) else "a video"
    text = head.decode("utf-8", "ignore")
    if text and all(sign.isprintable() or sign.isspace() for sign in text):
        return "text"
    return "an unknown kind of file"
