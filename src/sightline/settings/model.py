"""Options of models and of the engines that run them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

EngineName = Literal["auto", "openvino", "onnxruntime", "fake"]


class ModelSettings(BaseModel):
    """Models and engines."""

    model: str | None = Field(
        default=None,
        description="Model to serve: a path to an .onnx or OpenVINO .xml file, a name that "
        "`sightline models` lists, or an https:// or hf://owner/repo/file address. Where none is "
        "named: yolox-tiny if it can be had at once, else the bundled demo model.",
    )
    engine: EngineName = Field(
        default="auto", description="auto, openvino, onnxruntime, or fake (for tests)."
    )
    device: str = Field(
        default="auto",
        description="auto, cpu, gpu (Intel, by OpenVINO), cuda, tensorrt; cuda:1 names the second.",
    )
    confidence: float = Field(
        default=0.5,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Lowest confidence that is reported where a request does not say, 0..1.",
    )
    models_folder: Path | None = Field(
        default=None, description="Folder whose models PUT /models may load; none if not set."
    )
    max_models_mb: float | None = Field(
        default=None,
        gt=0,
        description="Most MB of weights that stay loaded; the least recently used give way.",
    )
    canary_interval: float = Field(
        default=60,
        gt=0,
        allow_inf_nan=False,
        description="Seconds between checks that each model still answers as at its start.",
    )
