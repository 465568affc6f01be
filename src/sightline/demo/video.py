"""Video files of moving scenes, with a JSON file of each frame's truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2

from sightline.demo.files import truth_path, write_json, writing
from sightline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sightline.demo.moving import MovingScene
    from sightline.demo.truth import Scene

_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".avi": "MJPG"}


def write_video(path: Path, moving: MovingScene, count: int) -> Iterator[int]:
    """Write `count` frames to `path` and the truth to the `.json` beside it.

    Yields:
        After each frame, how many are written. The file is complete when the iterator ends.

    Raises:
        ConfigError: the suffix is not a video's, a side is odd, or a file cannot be written.
    """
    codec = _CODECS.get(path.suffix.lower())
    if codec is None:
        raise ConfigError(f"{path} is no video: name one of {', '.join(_CODECS)}")
    if moving.width % 2 or moving.height % 2:
        size = f"{moving.width}×{moving.height}"
        raise ConfigError(f"a video of {size} cannot be written: both sides must be even")
    beside = truth_path(path)
    with writing(path):  # OpenCV's own messages are long and do not say why
        path.open("wb").close()
    truth: list[dict[str, Any]] = []
    yield from _encode(path, codec, moving, _noted(moving.frames(count), truth, moving.fps))
    write_json(
        beside,
        {
            "seed": moving.seed,
            "fps": moving.fps,
            "image": {"width": moving.width, "height": moving.height},
            "frames": truth,
        },
    )


def _noted(scenes: Iterable[Scene], truth: list[dict[str, Any]], fps: float) -> Iterator[Scene]:
    for index, scene in enumerate(scenes):
        time_s = round(index / fps, 4)
        truth.append({"index": index, "time_s": time_s, "objects": scene.truth.to_dicts()})
        yield scene


def _encode(path: Path, codec: str, moving: MovingScene, scenes: Iterator[Scene]) -> Iterator[int]:
    fourcc = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(str(path), fourcc, moving.fps, (moving.width, moving.height))
    try:
        if not writer.isOpened():
            raise ConfigError(f"{path} cannot be written: this OpenCV has no {codec} encoder")
        for written, scene in enumerate(scenes, 1):
            writer.write(scene.image)
            yield written
    finally:
        writer.release()
