"""Headers that say who answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.serving.detector import Detector

DEVICE_HEADER = "X-Sightline-Device"
MODEL_HEADER = "X-Sightline-Model"


def device_header(detector: Detector) -> str:
    """Device, engine and precision that really run."""
    return f"{detector.device}; engine={detector.engine}; precision={detector.precision}"


def answer_headers(detector: Detector) -> dict[str, str]:
    """Model, digest and device of an answer."""
    model = f"{detector.spec.name}; digest={detector.digest}"
    return {MODEL_HEADER: model, DEVICE_HEADER: device_header(detector)}
