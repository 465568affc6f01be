"""Reads a picture from a path, bytes, an array or a Pillow image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sightline.errors import BrokenImage
from sightline.types import BGRImage
from sightline.vision.decode import from_array, from_pil

if TYPE_CHECKING:
    from PIL.Image import Image

Source: TypeAlias = "str | os.PathLike[str] | bytes | BGRImage | Image"
"""A picture: a path, a compressed file's bytes, a BGR array, or a Pillow image."""


def read_source(image: Source) -> bytes | BGRImage:
    """A picture's compressed bytes, or its pixels.

    Raises:
        ImageError: it cannot be read, or is not a picture.
    """
    match image:
        case str() | os.PathLike():
            return _read_file(Path(image))
        case bytes():
            return image
        case np.ndarray():
            return from_array(image).copy()  # the caller may change its buffer
        case _ if hasattr(image, "mode") and hasattr(image, "getexif"):
            return from_pil(image)
        case _:
            raise BrokenImage(
                "A picture must be a path, bytes, a NumPy array or a Pillow image, "
                f"not {type(image).__name__}."
            )


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BrokenImage(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # a zero byte in the name
        raise BrokenImage(f"{path!r} cannot be read: {error}.") from error
