"""Annotated pictures of a task, drawn on request."""

from __future__ import annotations

import asyncio
import base64
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.api.tasks.representation import entry_of, head_of, to_json
from sightline.errors import NotYet, SightlineError
from sightline.threads import ANNOTATIONS
from sightline.types import Detections
from sightline.vision.decode import decode
from sightline.vision.draw import draw_detections, encode_jpeg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from sightline.storage.blobs import Blobs
    from sightline.tasks.task import Image, Task

_LARGE = 20_000_000  # pixels: of such pictures one is decoded at once


class AnnotatedImages:
    """Draws annotated pictures on threads of its own, apart from detection."""

    def __init__(self, blobs: Blobs, max_pixels: int) -> None:
        """A drawer of the pictures in `blobs`, which have up to `max_pixels` pixels."""
        self._blobs = blobs
        self._max_pixels = max_pixels
        self._threads = ANNOTATIONS.pool()
        self._one_large = threading.Lock()

    async def jpeg(self, task: Task, image: Image) -> bytes:
        """A picture of `task` with its boxes, as JPEG.

        Raises:
            NotYet: the picture has no boxes yet.
            ExpiredTask: the picture has been removed.
            StorageUnavailable: the picture cannot be read now.
            BadOption: the picture is larger than a JPEG can be.
        """
        if image.answer is None:
            raise NotYet(_why_not(image))
        return await asyncio.wrap_future(self._threads.submit(self._draw, task.id, image))

    async def state(self, task: Task, queue: Mapping[str, Any] | None) -> AsyncIterator[bytes]:
        """The JSON of `task` with its annotated pictures, in pieces.

        Only one picture is in memory: the next is drawn once the last has been read.
        """
        head = to_json(head_of(task, queue))
        yield head[:-1] + b',"results":['
        for number, image in enumerate(task.images):
            more = {} if image.answer is None else await self._annotated(task, image)
            yield (b"," if number else b"") + entry_of(image, **more)
        yield b"]}"

    async def _annotated(self, task: Task, image: Image) -> dict[str, str | None]:
        try:
            jpeg = await self.jpeg(task, image)
        except SightlineError:  # part of the answer is sent, and the boxes are there
            return {"annotated": None}
        return {"annotated": f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"}

    def _draw(self, task_id: str, image: Image) -> bytes:
        boxes = _boxes(image.result or {})
        large = boxes.width * boxes.height > _LARGE
        with self._one_large if large else nullcontext():
            data = self._blobs.read(image.blob or f"{task_id}/{image.index}")
            return encode_jpeg(draw_detections(decode(data, self._max_pixels), boxes))


def _boxes(result: Mapping[str, Any]) -> Detections:
    """The detections in an answer of /detect."""
    found = result["detections"]
    names = {one["class_id"]: one["label"] for one in found}
    corners = [[one["bbox"][corner] for corner in ("x1", "y1", "x2", "y2")] for one in found]
    return Detections(
        boxes=np.array(corners, np.float32).reshape(-1, 4),
        confidence=np.array([one["confidence"] for one in found], np.float32),
        class_id=np.array([one["class_id"] for one in found], np.int64),
        labels=tuple(names.get(number, "") for number in range(max(names, default=0) + 1)),
        width=result["image"]["width"],
        height=result["image"]["height"],
    )


def _why_not(image: Image) -> str:
    if image.status == "cancelled":
        return "The picture's task was cancelled before its turn came: there is nothing to draw."
    return f"The picture is {image.status}: its boxes are drawn once it is completed. Ask again."
