"""The JSON of `POST /detect`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sightline.backend.messages import DetectRequest
from sightline.serving.job import LaneName
from sightline.serving.options import MAX_DETECTIONS

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


DIGEST = "427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7"
"""In examples."""


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

    def to_request(self, *, drawn: bool = False, lane: LaneName = "interactive") -> DetectRequest:
        """What is asked of the backend."""
        return DetectRequest(
            confidence=self.confidence,
            iou=self.iou,
            classes=self.class_names(),
            max_detections=self.max_detections,
            model=self.model,
            drawn=drawn,
            lane=lane,
        )


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
                    "digest": f"sha256:{DIGEST}",
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
