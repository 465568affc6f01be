"""Opens models: resolves the configured one, and makes detectors, repository and canary."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from sightline.demo import canary
from sightline.errors import NotAllowed
from sightline.machine import DECODING_BYTES, budget, give_memory_back, memory_limit
from sightline.models.digest import digest
from sightline.models.pull import silent
from sightline.models.resolve import BUNDLED, is_pulled, resolve
from sightline.serving.canary import Canary
from sightline.serving.detector import Detector
from sightline.serving.repository import Repository

if TYPE_CHECKING:
    from sightline.net.download import Progress
    from sightline.serving.events import Events
    from sightline.settings import Settings

_log = logging.getLogger("sightline")


def find_model(settings: Settings, progress: Progress = silent) -> tuple[Settings, str]:
    """Resolve the model of `settings` to a local file, fetched if need be.

    Returns:
        The settings with that file, and a notice about a model that was not configured (else "").

    Raises:
        ConfigError: there is no model, or it cannot be fetched.
    """
    if settings.engine == "fake":
        return settings, ""
    found = resolve(settings.model, settings.pulled_dir, progress)
    return settings.model_copy(update={"model": str(found.path)}), found.notice


def open_detector(settings: Settings) -> Detector:
    """The detector that `settings` describe, loaded and warm.

    Raises:
        ConfigError: its model, its engine or its device is not available.
    """
    settings, _ = _find_and_log(_fit_to_memory(settings))
    return _open(settings, None, settings.model, None)


def open_repository(
    settings: Settings, notice: str | None = None, events: Events | None = None
) -> Repository:
    """The repository of the models that `settings` and earlier swaps name.

    Args:
        settings: their model is the default; it is loaded and warm on return.
        notice: what `find_model` returned, if it was called already.
        events: receives the events of the models.

    Raises:
        ConfigError: as `open_detector`.
    """
    give_memory_back()
    cv2.setNumThreads(1)  # its idle threads spin; each picture is decoded on one thread
    settings = _fit_to_memory(settings)
    if notice is None:
        settings, notice = _find_and_log(settings)
    budget = settings.max_models_mb
    return Repository(
        lambda name, source: _open(settings, name, source, events),
        "fake" if settings.model is None else Path(settings.model).stem,
        settings.model,
        notice=notice,
        state_file=settings.state_file,
        max_bytes=None if budget is None else int(budget * 2**20),
    )


def _fit_to_memory(settings: Settings) -> Settings:
    """`settings`, with `max_pixels` lowered to what memory suffices to decode."""
    most = budget().pixels
    if settings.max_pixels <= most:
        return settings
    _log.warning(
        "Pictures of more than %.1f million pixels are refused, not %.1f: there are %d MB of "
        "memory, and decoding takes up to %d bytes a pixel. Give the service more memory, or set "
        "SIGHTLINE_MAX_PIXELS=%d to say the same without this line.",
        most / 1e6, settings.max_pixels / 1e6, memory_limit() // 2**20, DECODING_BYTES, most,
    )  # fmt: skip
    return settings.model_copy(update={"max_pixels": most})


def _find_and_log(settings: Settings) -> tuple[Settings, str]:
    settings, notice = find_model(settings)
    if notice:
        _log.warning("%s", notice)
    return settings, notice


def open_canary(settings: Settings, repository: Repository) -> Canary:
    """The canary of `repository`, with a scene whose toys the bundled demo model knows."""
    picture, truth = canary.read()
    truths = {digest(BUNDLED): truth} if BUNDLED.is_file() else {}
    return Canary(repository, picture, truths, settings.canary_interval)


def check_source(settings: Settings, source: str) -> None:
    """Check that a model may be loaded from `source` over HTTP.

    Raises:
        NotAllowed: it is a path outside the configured folder, or no folder is configured.
    """
    if is_pulled(source):
        return
    folder = settings.models_folder
    if folder is None:
        raise NotAllowed("Paths are loaded over HTTP from SIGHTLINE_MODELS_FOLDER alone; set it.")
    if not Path(source).resolve().is_relative_to(folder.expanduser().resolve()):
        raise NotAllowed("The source is outside the folder that models may be loaded from.")


def _open(
    settings: Settings, name: str | None, source: str | None, events: Events | None
) -> Detector:
    fake = settings.engine == "fake"
    return Detector(
        source if fake else resolve(source, settings.pulled_dir).path,
        name=name,
        engine=settings.engine,
        device=settings.device,
        confidence=settings.confidence,
        max_pixels=settings.max_pixels,
        max_queue=settings.max_queue,
        max_batch=settings.max_batch,
        cache_dir=settings.cache_dir,
        events=events,
    )
