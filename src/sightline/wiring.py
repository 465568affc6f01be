"""Settings -> live objects. The only composition root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.errors import ConfigError
from sightline.serving.detector import Detector

if TYPE_CHECKING:
    from sightline.settings import Settings


def open_detector(settings: Settings) -> Detector:
    """The detector that `settings` describe, loaded and warm.

    Raises:
        ConfigError: no model is named, or it, its engine or its device cannot be had.
    """
    if settings.model is None and settings.engine != "fake":
        raise ConfigError(
            "no model is named; give one: --model path/to/model.onnx "
            "(make serve MODEL=path/to/model.onnx)"
        )
    return Detector(
        settings.model,
        engine=settings.engine,
        device=settings.device,
        confidence=settings.confidence,
        max_pixels=settings.max_pixels,
        max_queue=settings.max_queue,
        cache_dir=settings.cache_dir,
    )
