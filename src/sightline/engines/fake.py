"""A fake engine without a network, shipped so that users can test without a model.

It finds one object, where a picture differs from the letterbox padding around it: its answer
depends on the pixels, so that tests notice mixed-up pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from sightline.engines.base import Device
    from sightline.engines.cache import EngineCache
    from sightline.types import ModelSpec

FAKE_SPEC_LABELS = ("bright", "dark")


class FakeEngine:
    """An engine that answers in the `end2end` form: one row [x1, y1, x2, y2, score, class].

    The box spans the pixels that differ from the padding; the score is the mean brightness of
    the input over 255; class 0 is `bright`, class 1 `dark`.

    Attributes:
        before_infer: called with each batch first; tests block, count or raise in it.
    """

    name = "fake"
    precision = "fp32"
    max_batch = 4
    streams = 1

    def __init__(
        self, path: Path, spec: ModelSpec, device: Device, cache: EngineCache | None
    ) -> None:
        del path, cache
        self.device = str(device)
        self._grey = (spec.pad, spec.pad, spec.pad)
        self.before_infer: Callable[[NDArray[np.uint8]], None] = lambda _images: None

    def infer(self, images: NDArray[np.uint8], *, alone: bool = True) -> list[NDArray[np.float32]]:
        del alone
        self.before_infer(images)
        return [np.stack([self._detect(image) for image in images])]

    def limit_batch(self, max_batch: int) -> None:
        self.max_batch = max_batch

    def close(self) -> None:
        """Does nothing."""

    def _detect(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        padding = cv2.inRange(image, self._grey, self._grey)
        left, top, width, height = cv2.boundingRect(cv2.bitwise_not(padding))
        if not width:
            return np.zeros((1, 6), np.float32)
        padded = cv2.countNonZero(padding)
        unpadded = padding.size - padded
        total = sum(cv2.sumElems(image)) - sum(self._grey) * padded
        brightness = total / (3 * unpadded) / 255
        box = (left, top, left + width, top + height)
        return np.array([[*box, brightness, float(brightness < 0.5)]], np.float32)
