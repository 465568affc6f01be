"""Sightline: object detection you can put in production.

Importing this package does nothing and costs next to nothing: every public name is loaded on
first use (PEP 562), so that `import sightline` stays far below its budget of 0.3 s.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.errors import (
        ConfigError,
        DeadlineExceeded,
        ImageError,
        InferenceError,
        ModelError,
        Overloaded,
        SightlineError,
    )
    from sightline.serving.detector import Detector
    from sightline.types import Detection, Detections, ModelSpec

# OpenVINO tells Google Analytics of its import, and NNCF of each call, unless this package cannot
# be imported: both have a stub for that. Nothing may be sent, so this comes before either.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "DeadlineExceeded",
    "Detection",
    "Detections",
    "Detector",
    "ImageError",
    "InferenceError",
    "ModelError",
    "ModelSpec",
    "Overloaded",
    "SightlineError",
    "__version__",
]

_HOME = {
    "Detector": "sightline.serving.detector",
    "Detection": "sightline.types",
    "Detections": "sightline.types",
    "ModelSpec": "sightline.types",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'sightline' has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "sightline.errors")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
