"""The JSON of `/health` and `/metrics`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sightline.api.schemas.detect import DIGEST


class Health(BaseModel):
    """What serves, and on what."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "ok",
                    "model": "yolox-tiny",
                    "digest": f"sha256:{DIGEST}",
                    "models": ["yolox-tiny"],
                    "family": "yolox",
                    "classes": 80,
                    "device": "cpu",
                    "engine": "openvino",
                    "precision": "fp32",
                    "gpu_available": False,
                    "confidence": 0.5,
                    "version": "0.1.0",
                    "notice": None,
                }
            ]
        }
    )

    status: Literal["ok"]
    model: str
    digest: str
    models: list[str] = Field(description="all names that `?model=` takes")
    family: str
    classes: int
    device: str
    engine: str
    precision: str
    gpu_available: bool
    confidence: float = Field(description="Lowest that is reported where a request does not say.")
    version: str
    notice: str | None = Field(
        default=None, description="What to know of a default model that nobody asked for."
    )


class Load(BaseModel):
    """How much goes through the detectors, and how fast."""

    avg_latency_ms: float | None = Field(
        description="From queueing a picture to its boxes, over the last minute; null if none came."
    )
    current_fps: float = Field(description="Pictures answered a second, over the last 5 s.")
    queue_depth: int = Field(description="Pictures that wait for the engine now.")
    images_total: int = Field(description="Pictures answered since the start.")
    failed_total: int = Field(description="Pictures that failed since the start.")
    gpu_usage_percent: float | None = Field(description="0..100; null without an NVIDIA GPU.")
    gpu_memory_used_mb: float | None = Field(description="null without an NVIDIA GPU.")


class Metrics(Load):
    """How much goes through the service, and how fast."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "avg_latency_ms": 18.2,
                    "current_fps": 41.6,
                    "queue_depth": 2,
                    "images_total": 1312,
                    "failed_total": 3,
                    "gpu_usage_percent": 38,
                    "gpu_memory_used_mb": 1204.5,
                    "model": "yolox-tiny",
                    "device": "cuda",
                    "backlog_images": 40,
                }
            ]
        }
    )

    model: str = Field(description="The default model.")
    device: str | None = Field(description="What it runs on; null while it is not loaded.")
    backlog_images: int = Field(description="Pictures of tasks that wait for their turn.")


class Live(BaseModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok"]
