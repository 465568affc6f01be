"""Settings -> live objects. The only composition root."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sightline.errors import ConfigError, NotAllowed
from sightline.serving.detector import Detector
from sightline.serving.repository import Repository

if TYPE_CHECKING:
    from sightline.settings import Settings


def open_detector(settings: Settings, name: str | None = None) -> Detector:
    """The detector that `settings` describe, loaded and warm.

    Raises:
        ConfigError: no model is named, or it, its engine or its device cannot be had.
    """
    return _open(settings, name, settings.model)


def open_repository(settings: Settings) -> Repository:
    """The models that `settings` and earlier swaps name, the default loaded and warm.

    Raises:
        ConfigError: as `open_detector`.
    """
    budget = settings.max_models_mb
    return Repository(
        lambda name, source: _open(settings, name, source),
        default_name(settings),
        settings.model,
        state_file=settings.state_file,
        max_bytes=None if budget is None else int(budget * 2**20),
    )


def default_name(settings: Settings) -> str:
    """What the default model is called."""
    return "fake" if settings.model is None else Path(settings.model).stem


def check_source(settings: Settings, source: str) -> None:
    """Whether a model may be loaded from `source` over HTTP.

    Raises:
        NotAllowed: it is not inside the configured folder.
    """
    folder = settings.models_folder
    if folder is None:
        raise NotAllowed("Models are loaded over HTTP from SIGHTLINE_MODELS_FOLDER; set it.")
    if not Path(source).resolve().is_relative_to(folder.expanduser().resolve()):
        raise NotAllowed("The source is outside the folder that models may be loaded from.")


def _open(settings: Settings, name: str | None, source: str | None) -> Detector:
    if source is None and settings.engine != "fake":
        raise ConfigError(
            "no model is named; give one: --model path/to/model.onnx "
            "(make serve MODEL=path/to/model.onnx)"
        )
    return Detector(
        source,
        name=name,
        engine=settings.engine,
        device=settings.device,
        confidence=settings.confidence,
        max_pixels=settings.max_pixels,
        max_queue=settings.max_queue,
        cache_dir=settings.cache_dir,
    )
