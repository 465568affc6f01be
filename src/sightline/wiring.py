"""Settings -> live objects. The only composition root."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sightline.models.pull import silent
from sightline.models.resolve import resolve
from sightline.serving.detector import Detector

if TYPE_CHECKING:
    from sightline.net.download import Progress
    from sightline.settings import Settings

_log = logging.getLogger("sightline")


def find_model(settings: Settings, progress: Progress = silent) -> tuple[Settings, str]:
    """`settings` whose model is a file on this machine, fetched if need be.

    Returns:
        The settings, and what to tell people about a model they did not ask for (else "").

    Raises:
        ConfigError: there is no model, or it cannot be had.
    """
    if settings.engine == "fake":
        return settings, ""
    found = resolve(settings.model, settings.pulled_dir, progress)
    return settings.model_copy(update={"model": str(found.path)}), found.notice


def open_detector(settings: Settings) -> Detector:
    """The detector that `settings` describe, loaded and warm.

    Raises:
        ConfigError: its model, its engine or its device cannot be had.
    """
    settings, notice = find_model(settings)
    if notice:
        _log.warning("%s", notice)
    return Detector(
        settings.model,
        engine=settings.engine,
        device=settings.device,
        confidence=settings.confidence,
        max_pixels=settings.max_pixels,
        max_queue=settings.max_queue,
        cache_dir=settings.cache_dir,
    )
