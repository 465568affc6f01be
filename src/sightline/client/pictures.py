"""Whatever people have a picture in, as something that can be sent, and sent again."""

from __future__ import annotations

import errno
import math
import os
import re
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, TypeAlias, Union, cast

import numpy as np

from sightline.client.paths import expand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from PIL.Image import Image

Source: TypeAlias = Union[
    str, "os.PathLike[str]", bytes, bytearray, memoryview, IO[bytes], "NDArray[Any]", "Image"
]
"""One picture, or a name of several.

- str or Path: a file; for `submit` also a folder or a glob, meaning all pictures in it, sorted
- str with `://`: an address, which the service fetches
- bytes: a compressed file's
- a binary file object: all of it, from its start. One that cannot seek is read into memory
- NumPy array: uint8 [height, width, 3] BGR as OpenCV has it, [height, width, 4] BGRA or [height,
  width] grey; sent as PNG, so that no pixel changes, or as JPEG of quality 95 where a PNG would be
  more than 8 MB (as a type it may be of any dtype, because OpenCV does not tell more of what it
  reads)
- Pillow image: likewise, upright. 16-bit ones are sent as PNG whatever their size
"""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # C:// is none
_CHANNELS = {1: (slice(None), slice(None), 0), 3: np.s_[..., ::-1], 4: np.s_[..., [2, 1, 0, 3]]}
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_LARGEST_PNG = 8_000_000  # bytes: a service takes 10 MB, unless it was told otherwise
_LONGEST_JPEG = 65_500  # pixels a side


@dataclass(frozen=True, slots=True)
class Picture:
    """A file to be sent.

    Attributes:
        name: what the service is to call it.
        source: the path it came from, else its name.
        size: bytes.
        open: gives its bytes from the start, each time.
    """

    name: str
    source: str
    size: int
    open: Callable[[], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True, slots=True)
class Address:
    """A picture that the service is to fetch."""

    url: str

    @property
    def source(self) -> str:
        return self.url


def gather(images: Source | Iterable[Source]) -> Iterator[Picture | Address]:
    """The pictures that `images` stand for, in order; each is looked at when its turn comes.

    Raises:
        ConfigError: a folder or a glob without pictures.
        OSError: a file that cannot be looked at.
        TypeError: something that is no picture.
        ValueError: an array that is no picture.
    """
    number = 0
    for image in _several(images):
        for one in _expanded(image):
            yield picture_of(one, number)
            number += 1


def picture_of(image: Any, number: int = 0) -> Picture | Address:
    """`image` as it is sent; `number` names it if it has no name.

    Raises:
        OSError, TypeError, ValueError: as `gather`.
    """
    match image:
        case str() if _ADDRESS.match(image):
            return Address(image)
        case str() | os.PathLike():
            return _from_path(os.fspath(image))
        case bytes() | bytearray() | memoryview():
            return _from_bytes(bytes(image), f"image-{number}")
        case np.ndarray():
            return _from_pillow(_from_array(image), number)
    if callable(getattr(image, "read", None)):
        return _from_file(image, number)
    if callable(getattr(image, "getexif", None)):
        return _from_pillow(image, number)
    raise TypeError(
        "A picture is a path, an address, bytes, a binary file object, a NumPy array or a Pillow "
        f"image, not {type(image).__name__}."
    )


def _several(images: Any) -> Iterable[Any]:
    """`images`, if they are several and not one picture (or the name of a folder)."""
    if isinstance(images, np.ndarray):
        return images if images.ndim == 4 else [images]  # four: a stack of pictures
    alone = isinstance(images, str | os.PathLike | bytes | bytearray | memoryview)
    if alone or hasattr(images, "read") or not hasattr(images, "__iter__"):
        return [images]
    return cast("Iterable[Any]", images)


def _expanded(image: Any) -> Iterable[Any]:
    if isinstance(image, str | os.PathLike) and not _ADDRESS.match(os.fspath(image)):
        return expand(os.fspath(image))
    return [image]


def _from_path(source: str) -> Picture:
    if not source:  # which Path takes for the folder that one is in
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
    path = Path(source).expanduser()
    if path.is_dir():
        raise IsADirectoryError(f"{source} is a folder: `submit` takes all pictures in one.")
    return Picture(path.name, source, path.stat().st_size, lambda: path.open("rb"))


def _from_bytes(data: bytes, name: str) -> Picture:
    return Picture(name, name, len(data), partial(BytesIO, data))


def _from_file(file: Any, number: int) -> Picture:
    given = getattr(file, "name", None)
    source = given if isinstance(given, str) else f"image-{number}"
    if not (hasattr(file, "seekable") and file.seekable()):
        return _from_bytes(_require_bytes(file.read()), Path(source).name)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    _require_bytes(file.read(0))

    def rewound() -> AbstractContextManager[BinaryIO]:
        file.seek(0)
        return nullcontext(file)  # whoever opened it closes it

    return Picture(Path(source).name, source, size, rewound)


def _require_bytes(data: Any) -> bytes:
    if not isinstance(data, bytes):
        raise TypeError("The file gives text: open it in binary mode ('rb').")
    return data


def _from_array(array: NDArray[Any]) -> Image:
    from PIL import Image

    channels = {2: 1, 3: array.shape[-1]}.get(array.ndim)
    if array.dtype != np.uint8 or channels not in _CHANNELS or not array.size:
        raise ValueError(
            "A picture array must be uint8 [height, width], [height, width, 3] BGR or [height, "
            f"width, 4] BGRA, not {array.dtype} {list(array.shape)}."
        )
    pixels = np.atleast_3d(array)[_CHANNELS[channels]]
    return Image.fromarray(np.ascontiguousarray(pixels))


class _TooMuch(Exception):
    """A file becomes larger than it may."""


class _Bounded(BytesIO):
    """A file in memory that takes so many bytes."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self._most = most

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > self._most:
            raise _TooMuch
        return super().write(data)


def _from_pillow(image: Image, number: int) -> Picture:
    from PIL import ImageOps

    turned = ImageOps.exif_transpose(image)
    if turned.mode not in _PNG_MODES:
        turned = turned.convert("RGB")
    is_jpeg_possible = turned.mode != "I;16" and max(turned.size) <= _LONGEST_JPEG
    buffer: BytesIO = _Bounded(_LARGEST_PNG if is_jpeg_possible else math.inf)
    try:
        turned.save(buffer, "PNG", compress_level=1)
    except _TooMuch:
        buffer = BytesIO()
        _opaque(turned).save(buffer, "JPEG", quality=95, subsampling=0)
        return _from_bytes(buffer.getvalue(), f"image-{number}.jpg")
    return _from_bytes(buffer.getvalue(), f"image-{number}.png")


def _opaque(image: Image) -> Image:
    """`image` on white, as the service has it."""
    from PIL import Image

    if image.mode in {"L", "RGB"}:
        return image
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    white.alpha_composite(layer)
    return white.convert("RGB")
