"""The API's JSON, as OpenAPI shows it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from sightline.serving.options import MAX_DETECTIONS

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

Missing = SkipJsonSchema[None]
"""Where something is left out."""


_DIGEST = "427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7"


class DetectQuery(BaseModel):
    """What can be asked of one picture. A parameter that is not listed here is refused."""

    model_config = ConfigDict(extra="forbid")

    confidence: Fraction | None = Field(
        default=None,
        description="Lowest confidence reported; the service's own if left out.",
        examples=[0.5],
    )
    iou: Fraction | None = Field(
        default=None,
        description="Boxes of one class that overlap more than this are one object.",
        examples=[0.45],
    )
    classes: list[str] | None = Field(
        default=None,
        description="Labels or class ids to report, comma-separated or repeated: `person,bus`.",
        examples=[["person", "bus"]],
    )
    max_detections: int = Field(
        default=300,
        ge=1,
        le=MAX_DETECTIONS,
        description="Most boxes reported, best first.",
        examples=[100],
    )
    model: str | None = Field(
        default=None, description="Name of the model; see `/health`.", examples=["yolox-tiny"]
    )

    def class_names(self) -> list[str] | None:
        """`classes`, split at commas; None if it was not given."""
        if self.classes is None:
            return None
        return [name.strip() for item in self.classes for name in item.split(",")]


class Box(BaseModel):
    """Corners in pixels of the upright source image."""

    x1: float
    y1: float
    x2: float
    y2: float


class DetectionOut(BaseModel):
    """One object."""

    label: str
    class_id: int
    confidence: float = Field(description="0..1")
    bbox: Box


class ImageSize(BaseModel):
    """Of the picture, upright, in pixels."""

    width: int
    height: int


class TimingOut(BaseModel):
    """Where the time went."""

    queue_ms: float
    decode_ms: float
    inference_ms: float
    postprocess_ms: float
    total_ms: float


class DetectAnswer(BaseModel):
    """The objects in one picture, highest confidence first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "yolox-tiny",
                    "digest": f"sha256:{_DIGEST}",
                    "image": {"width": 1280, "height": 720},
                    "count": 1,
                    "detections": [
                        {
                            "label": "person",
                            "class_id": 0,
                            "confidence": 0.913,
                            "bbox": {"x1": 50.2, "y1": 395.0, "x2": 216.4, "y2": 898.1},
                        }
                    ],
                    "inference_time_ms": 15.4,
                    "fps": 64.9,
                    "timing": {
                        "queue_ms": 0.2,
                        "decode_ms": 3.1,
                        "inference_ms": 15.4,
                        "postprocess_ms": 0.4,
                        "total_ms": 20.3,
                    },
                }
            ]
        }
    )

    model: str
    digest: str = Field(description="of the weights that answered")
    image: ImageSize
    count: int
    detections: list[DetectionOut]
    inference_time_ms: float
    fps: float = Field(description="1000 / inference_time_ms")
    timing: TimingOut


class Health(BaseModel):
    """What serves, and on what."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "ok",
                    "model": "yolox-tiny",
                    "digest": f"sha256:{_DIGEST}",
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


def _without_default(schema: dict[str, Any]) -> None:
    """Where it has no value it is not there, rather than null."""
    schema.pop("default")


class OptionError(BaseModel):
    """A parameter that is not acceptable."""

    parameter: str
    message: str
    value: str


class Problem(BaseModel):
    """RFC 9457. `type` is stable; `detail` is for people and says what to do."""

    type: str = Field(pattern="^urn:sightline:problem:[a-z-]+$")
    title: str
    status: int = Field(ge=400, le=599, description="as the answer's")
    detail: str
    retry_after: Annotated[int, Field(ge=1)] | Missing = Field(
        default=None,
        description="With 429 and 503: seconds, as in Retry-After.",
        json_schema_extra=_without_default,
    )
    errors: list[OptionError] | Missing = Field(
        default=None,
        description="With `bad-option`: each parameter that is not acceptable.",
        json_schema_extra=_without_default,
    )
