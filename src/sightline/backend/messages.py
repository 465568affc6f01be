"""Requests to a backend and its replies: plain values, the same in one process or two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sightline.serving.job import LaneName


@dataclass(frozen=True, slots=True)
class Done:
    """The reply of an operation that returns nothing."""


@dataclass(frozen=True, slots=True)
class Empty:
    """The request of an operation without options."""


class DeviceInfo(NamedTuple):
    """What a model really runs on: `cpu` or `cuda:0`, the engine's name, `fp32`, `fp16`, `int8`."""

    device: str
    engine: str
    precision: str


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """Options for one picture.

    Attributes:
        confidence: lowest confidence reported, 0..1; the model's own if None.
        iou: boxes of one class that overlap more are one object, 0..1; the family's own if None.
        classes: labels or class ids to report; all if None.
        max_detections: most boxes reported, best first.
        model: the model's name; the default one if None.
        drawn: whether to reply with the annotated picture as JPEG, instead of JSON.
        lane: the lane that the picture is queued in.
    """

    confidence: float | None = None
    iou: float | None = None
    classes: list[str] | None = None
    max_detections: int = 300
    model: str | None = None
    drawn: bool = False
    lane: LaneName = "interactive"


@dataclass(frozen=True, slots=True)
class DetectReply:
    """The answer for one picture.

    Attributes:
        body: JSON or a JPEG.
        media_type: of the body.
        model: name of the model that answered.
        digest: of its weights.
        device: what it runs on.
    """

    body: bytes
    media_type: str
    model: str
    digest: str
    device: DeviceInfo


@dataclass(frozen=True, slots=True)
class RoomRequest:
    """A check whether the queue of `model` (the default one if None) takes a picture now."""

    model: str | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model, and what it runs on. Only name, default and loaded are set while it is not loaded.

    Attributes:
        default: whether it answers requests that name no model.
        input_size: height, width.
    """

    name: str
    default: bool
    loaded: bool
    digest: str | None = None
    family: str | None = None
    labels: list[str] | None = None
    input_size: tuple[int, int] | None = None
    device: str | None = None
    engine: str | None = None
    precision: str | None = None


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """Throughput and load of all models together. `api.schemas.health.Load` has the units."""

    avg_latency_ms: float | None
    current_fps: float
    queue_depth: int
    images_total: int
    failed_total: int
    gpu_usage_percent: float | None
    gpu_memory_used_mb: float | None


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """The status of the models and of background work.

    Attributes:
        models: all models, the default first.
        unhealthy_reasons: why the service is not ready; empty if it is.
        notice: a notice about a default model that was not configured, or "".
        gpu_available: whether this machine has a usable GPU.
        load: throughput and load.
    """

    models: list[ModelInfo]
    unhealthy_reasons: list[str]
    notice: str
    gpu_available: bool
    load: LoadFigures


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """Load `source` and serve it as `name`, in place of the model of that name."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class RemoveRequest:
    """Unload the model `name` and forget it."""

    name: str


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A request of `client` (the name of its key, or its address), to be checked for limits."""

    client: str
