"""Files of scenes: pictures, and JSON files of their truth."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from sightline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sightline.demo.truth import Scene
    from sightline.types import BGRImage

_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_QUALITY = 95  # of a JPEG, 0..100: the scene was compressed once already


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError into a ConfigError about `path`.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path} cannot be written: {reason}") from error


def truth_path(path: Path) -> Path:
    """The path of the truth of the picture or video at `path`.

    Raises:
        ConfigError: it would be `path` itself, or `path` is not a file name.
    """
    try:
        beside = path.with_suffix(".json")
    except ValueError as error:
        raise ConfigError(f"'{path}' names no file to write") from error
    if beside == path:
        raise ConfigError(f"{path} is where the truth goes: name a picture or a video")
    return beside


def write_picture(path: Path, image: BGRImage) -> None:
    """Write `image`, uint8 [height, width, 3] BGR, in the format of the suffix.

    Raises:
        ConfigError: the suffix is unknown, or the file cannot be written.
    """
    if path.suffix.lower() not in _PICTURES:
        raise ConfigError(f"{path} is no picture: name one of {', '.join(_PICTURES)}")
    _, packed = cv2.imencode(path.suffix.lower(), image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    with writing(path):
        path.write_bytes(np.asarray(packed, np.uint8).tobytes())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON.

    Raises:
        ConfigError: the file cannot be written.
    """
    with writing(path):
        path.write_text(json.dumps(value, indent=1) + "\n", "utf-8")


def write_scene(path: Path, scene: Scene, seed: int) -> None:
    """Write the picture to `path` and the truth to the `.json` beside it.

    Raises:
        ConfigError: either cannot be written.
    """
    beside = truth_path(path)
    height, width = scene.image.shape[:2]
    write_picture(path, scene.image)
    shape = {"width": width, "height": height}
    write_json(beside, {"seed": seed, "image": shape, "objects": scene.truth.to_dicts()})
