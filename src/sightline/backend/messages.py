"""What is asked of a backend and what it answers: plain values, the same in one process or two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sightline.serving.job import LaneName


@dataclass(frozen=True, slots=True)
class Done:
    """The answer of an operation that has nothing to tell."""


@dataclass(frozen=True, slots=True)
class Empty:
    """The request of an operation that takes no options."""


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
        drawn: answer with the annotated picture as JPEG, instead of JSON.
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
    """Asks whether a picture for `model` (the default one if None) would be served soon."""

    model: str | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model, and what it runs on while it is loaded (all else is None while it is not).

    Attributes:
        default: it answers requests that name no model.
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
    """How much goes through all models together. See `api.schemas.health.Load` for the units."""

    avg_latency_ms: float | None
    current_fps: float
    queue_depth: int
    images_total: int
    failed_total: int
    gpu_usage_percent: float | None
    gpu_memory_used_mb: float | None


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """How the models are.

    Attributes:
        models: all of them, the default first.
        unhealthy_reasons: why it is not ready; empty if all is well.
        notice: what people should know of a default model that nobody asked for, or "".
        gpu_available: whether this machine has a GPU that could be used.
        load: how much goes through them.
    """

    models: list[ModelInfo]
    unhealthy_reasons: list[str]
    notice: str
    gpu_available: bool
    load: LoadFigures


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """Load `source` and serve it as `name`, in place of what was there."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class RemoveRequest:
    """Unload the model `name` and forget it."""

    name: str


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A request of `client` (the name of its key, or its address), to be held to its limits."""

    client: str
