"""The JSON of tasks, as OpenAPI shows it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sightline.api.schemas.detect import DetectionOut, DetectQuery, ImageSize, TimingOut
from sightline.api.schemas.problem import Problem
from sightline.tasks.task import Priority, Status

_TASK_ID = "6d1f0b9a4e8c4c7f9b0a5f3d2c1e0a98"
_ACCEPTED: dict[str, Any] = {
    "task_id": _TASK_ID,
    "status": "queued",
    "priority": "normal",
    "total": 3,
    "failed": 0,
    "created_at": "2026-01-31T12:00:00.123+00:00",
}
_IMAGE: dict[str, Any] = {
    "index": 0,
    "filename": "photo.jpg",
    "status": "completed",
    "model": "yolox-tiny",
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
}
_FAILED: dict[str, Any] = {
    "index": 1,
    "filename": "notes.txt",
    "status": "error",
    "error": {
        "type": "urn:sightline:problem:unsupported-image",
        "title": "Not a picture type that is read",
        "status": 415,
        "detail": "This is text, not a picture that can be read. "
        "Send JPEG, PNG, WebP, BMP, TIFF, GIF or AVIF.",
    },
}
_STATE: dict[str, Any] = {
    "task_id": _TASK_ID,
    "status": "completed",
    "priority": "normal",
    "model": "yolox-tiny",
    "digest": "sha256:427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7",
    "created_at": "2026-01-31T12:00:00.123+00:00",
    "started_at": "2026-01-31T12:00:00.150+00:00",
    "completed_at": "2026-01-31T12:00:00.200+00:00",
    "expires_at": "2026-01-31T12:05:00.200+00:00",
    "progress": {"done": 2, "total": 2, "failed": 1},
    "results": [_IMAGE, _FAILED],
}


class PredictQuery(DetectQuery):
    """What can be asked of a task. The options hold for each of its pictures."""

    priority: Priority = Field(
        default="normal",
        description="`high` gets eight times the turns of `low` and twice those of `normal`; none "
        "waits for ever.",
        examples=["high"],
    )
    callback_url: str | None = Field(
        default=None,
        max_length=4096,
        description="Called with a signed webhook when the task ends.",
        examples=["https://example.com/hooks/sightline"],
    )
    strict: bool = Field(
        default=False,
        description="Refuse the whole task if one file is no picture; else that one fails alone.",
        examples=[True],
    )


class ResultQuery(BaseModel):
    """How a task is told of."""

    model_config = ConfigDict(extra="forbid")

    wait: float = Field(
        default=0,
        ge=0,
        le=60,
        allow_inf_nan=False,
        description="Seconds to wait for the task to end or, where If-None-Match names what you "
        "know of it, for anything to change.",
        examples=[20],
    )
    annotated: Literal["inline"] | None = Field(
        default=None,
        description="`inline` adds the annotated pictures as data URLs.",
        examples=["inline"],
    )


class DeleteQuery(BaseModel):
    """What becomes of a task that has ended."""

    model_config = ConfigDict(extra="forbid")

    forget: bool = Field(
        default=True,
        description="`false` leaves a task that has ended as it is, and answers its state: for "
        "those who mean to cancel, and want what was found until then.",
        examples=[False],
    )


class TaskAccepted(BaseModel):
    """A task that is kept. `failed` counts the files that are no pictures."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ACCEPTED]})

    task_id: str
    status: Literal["queued"]
    priority: Priority
    total: int
    failed: int
    created_at: str = Field(description="ISO 8601, UTC")


class ProgressOut(BaseModel):
    """In images. `done` counts those that failed too."""

    done: int
    total: int
    failed: int


class QueueOut(BaseModel):
    """While a task is queued."""

    position: int = Field(description="images that come before its first")
    estimated_wait_s: float | None = Field(description="by how fast the queue moved lately")


class ImageOut(BaseModel):
    """One image: what `POST /detect` answers, or why it failed, or neither yet."""

    index: int
    filename: str
    status: Status
    error: Problem | None = None
    model: str | None = None
    digest: str | None = None
    image: ImageSize | None = None
    count: int | None = None
    detections: list[DetectionOut] | None = None
    inference_time_ms: float | None = None
    fps: float | None = None
    timing: TimingOut | None = None
    annotated: str | None = Field(
        default=None, description="With `?annotated=inline`: a data URL of a JPEG."
    )


class AttemptOut(BaseModel):
    """One call of the callback."""

    at: str
    status: int | None
    error: str | None


class WebhookOut(BaseModel):
    """What came of the callback."""

    url: str
    state: Literal["waiting", "due", "delivered", "failed"]
    attempts: list[AttemptOut]


class TaskHead(BaseModel):
    """All of a task but its results. Times are ISO 8601, UTC."""

    task_id: str
    status: Status
    priority: Priority
    model: str | None = Field(description="null where none was asked for, and none has answered")
    digest: str | None
    created_at: str
    started_at: str | None
    completed_at: str | None
    expires_at: str | None = Field(description="when the results are deleted")
    progress: ProgressOut
    queue: QueueOut | None = None
    webhook: WebhookOut | None = None


class TaskOut(TaskHead):
    """A task, as it is now. Members without a value may be left out."""

    model_config = ConfigDict(json_schema_extra={"examples": [_STATE]})

    results: list[ImageOut]


class TaskProgress(BaseModel):
    """How far a task is, as its events tell it."""

    status: Status
    progress: ProgressOut
    queue: QueueOut | None = None


class TasksOut(BaseModel):
    """The queue at a glance."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "statuses": {"processing": 1, "completed": 12},
                    "priorities": {"normal": 13},
                    "images_waiting": 40,
                    "bytes_waiting": 5_242_880,
                }
            ]
        }
    )

    statuses: dict[Status, int] = Field(description="how many tasks there are of each")
    priorities: dict[Priority, int]
    images_waiting: int
    bytes_waiting: int
    ids: list[str] | None = Field(default=None, description="With the admin key: the latest tasks.")


EVENTS: dict[str, type[BaseModel]] = {
    "task": TaskOut,
    "image": ImageOut,
    "progress": TaskProgress,
    "end": TaskHead,
    "problem": Problem,
}
"""What the events of a task are about."""
