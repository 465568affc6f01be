"""Conversion of paths, bytes, files, arrays and Pillow images to uploads that can be repeated."""

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
"""One picture, or a path of several.

- str or Path: a file; for `submit` also a folder or a glob, meaning all pictures in it, sorted
- str with `://`: an address, which the service fetches
- bytes: of a compressed file
- a binary file object: all of it, from its start. One that cannot seek is read into memory
- NumPy array: uint8 [height, width, 3] BGR as in OpenCV, [height, width, 4] BGRA or [height,
  width] grey; sent as PNG, which is lossless, or as JPEG of quality 95 where a PNG would be
  more than 8 MB (the type allows any dtype, because OpenCV's functions are typed so)
- Pillow image: likewise, upright. 16-bit images are sent as PNG at any size
"""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # at least two letters: not C://
_CHANNELS = {1: (slice(None), slice(None), 0), 3: np.s_[..., ::-1], 4: np.s_[..., [2, 1, 0, 3]]}
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_LARGEST_PNG = 8_000_000  # bytes: a service takes 10 MB by default
_LONGEST_JPEG = 65_500  # pixels a side


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to be uploaded.

    Attributes:
        name: its file name in the upload.
        source: its path, else its name.
        size: bytes.
        open: opens it for reading from its start; may be called repeatedly.
    """

    name: str
    source: str
    size: int
    open: Callable[[], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True, slots=True)
class Address:
    """A picture that the service fetches itself."""

    url: str

    @property
    def source(self) -> str:
        return self.url


def gather(images: Source | Iterable[Source]) -> Iterator[Picture | Address]:
    """Convert `images`, one or several, to pictures, in order and lazily.

    Raises:
        ConfigError: a folder or a glob without pictures.
        OSError: a file cannot be read.
        TypeError: not a picture.
        ValueError: an array is not a picture.
    """
    number = 0
    for image in _several(images):
        for one in _expanded(image):
            yield picture_of(one, number)
            number += 1


def picture_of(image: Any, number: int = 0) -> Picture | Address:
    """Convert one image; `number` becomes part of its name if it has none.

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
    """`images` as an iterable; one picture (or the path of a folder) becomes a list of one."""
    if isinstance(images, np.ndarray):
        return images if images.ndim == 4 else [images]  # 4 dimensions: a stack of pictures
    alone = isinstance(images, str | os.PathLike | bytes | bytearray | memoryview)
    if alone or hasattr(images, "read") or not hasattr(images, "__iter__"):
        return [images]
    return cast("Iterable[Any]", images)


def _expanded(image: Any) -> Iterable[Any]:
    if isinstance(image, str | os.PathLike) and not _ADDRESS.match(os.fspath(image)):
        return expand(os.fspath(image))
    return [image]


def _from_path(source: str) -> Picture:
    if not source:  # Path("") is the working directory
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
        return nullcontext(file)  # the caller opened it and closes it

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


class _TooLarge(Exception):
    """A `_BoundedBuffer` is full."""


class _BoundedBuffer(BytesIO):
    """A file in memory of at most `most` bytes."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self._most = most

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > self._most:
            raise _TooLarge
        return super().write(data)


def _from_pillow(image: Image, number: int) -> Picture:
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode not in _PNG_MODES:
        upright = upright.convert("RGB")
    is_jpeg_possible = upright.mode != "I;16" and max(upright.size) <= _LONGEST_JPEG
    buffer: BytesIO = _BoundedBuffer(_LARGEST_PNG if is_jpeg_possible else math.inf)
    try:
        upright.save(buffer, "PNG", compress_level=1)
    except _TooLarge:
        buffer = BytesIO()
        _opaque(upright).save(buffer, "JPEG", quality=95, subsampling=0)
        return _from_bytes(buffer.getvalue(), f"image-{number}.jpg")
    return _from_bytes(buffer.getvalue(), f"image-{number}.png")


def _opaque(image: Image) -> Image:
    """`image` composited on white, as the service does it."""
    from PIL import Image

    if image.mode in {"L", "RGB"}:
        return image
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    white.alpha_composite(layer)
    return white.convert("RGB")
