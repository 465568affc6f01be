"""Core types: detections, model specifications, options.

This module imports nothing else of Sightline at import time (`Detections.draw` imports
`vision.draw` when it is called: docs/decisions/0002).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator

BGRImage: TypeAlias = NDArray[np.uint8]
"""A picture: uint8 [height, width, 3], blue-green-red as in OpenCV, upright."""

FamilyName = Literal["yolov8", "yolov5", "yolox", "end2end", "detr"]
ResizeMode = Literal["letterbox", "stretch"]
Anchor = Literal["center", "top-left"]
ColourOrder = Literal["rgb", "bgr"]


@dataclass(frozen=True, slots=True)
class Detection:
    """One detected object.

    Attributes:
        label: the class's name.
        class_id: the class's index in the model's labels.
        confidence: 0..1.
        bbox: (x1, y1, x2, y2), pixels of the upright source image, x1 <= x2 and y1 <= y2.
    """

    label: str
    class_id: int
    confidence: float
    bbox: tuple[float, float, float, float]

    def to_dict(self) -> dict[str, Any]:
        """A dict as in the HTTP API (pixels rounded to 2 decimals, confidence to 4)."""
        return {
            "label": self.label,
            "class_id": self.class_id,
            "confidence": round(self.confidence, 4),
            "bbox": {
                corner: round(value, 2)
                for corner, value in zip(("x1", "y1", "x2", "y2"), self.bbox, strict=True)
            },
        }


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """All detections in one image, highest confidence first. N may be 0.

    Attributes:
        boxes: float32 [N, 4], xyxy, pixels of the upright source image.
        confidence: float32 [N], 0..1.
        class_id: int64 [N], an index into `labels`.
        labels: the model's class names.
        width: of the upright source image, pixels.
        height: of the upright source image, pixels.

    Raises:
        ValueError: the arrays do not have these shapes, dtypes and ranges.
    """

    boxes: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int64]
    labels: tuple[str, ...]
    width: int
    height: int

    def __post_init__(self) -> None:
        count = len(self.boxes)
        _require(self.boxes, "boxes", np.float32, (count, 4))
        _require(self.confidence, "confidence", np.float32, (count,))
        _require(self.class_id, "class_id", np.int64, (count,))
        if not np.isfinite(self.boxes).all():
            raise ValueError("boxes must be finite")
        if (self.boxes[:, 2:] < self.boxes[:, :2]).any():
            raise ValueError("boxes must be xyxy with x1 <= x2 and y1 <= y2")
        if not ((self.confidence >= 0) & (self.confidence <= 1)).all():
            raise ValueError("confidence must lie in 0..1")
        if not ((self.class_id >= 0) & (self.class_id < len(self.labels))).all():
            raise ValueError(f"class_id must lie in 0..{len(self.labels) - 1}, as there are labels")

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        for box, confidence, class_id in zip(
            self.boxes.tolist(), self.confidence.tolist(), self.class_id.tolist(), strict=True
        ):
            yield Detection(self.labels[class_id], class_id, confidence, tuple(box))

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dict per detection, as in the HTTP API's `detections`."""
        return [detection.to_dict() for detection in self]

    def to_supervision(self) -> Any:
        """Convert to a `supervision.Detections`.

        Raises:
            ImportError: supervision is not installed (`pip install 'sightline[supervision]'`).
        """
        import supervision

        return supervision.Detections(
            xyxy=self.boxes,
            confidence=self.confidence,
            class_id=self.class_id,
            data={"class_name": np.array([self.labels[i] for i in self.class_id], dtype=str)},
        )

    def draw(self, image: BGRImage) -> BGRImage:
        """A copy of `image` (uint8 [height, width, 3] BGR, upright) with the boxes drawn on it.

        Raises:
            ValueError: `image` has another size than the picture that the detections are of.
        """
        from sightline.vision.draw import draw_detections

        return draw_detections(image, self)


def _require(array: Any, name: str, dtype: type, shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        found = f"{getattr(array, 'dtype', type(array).__name__)} {getattr(array, 'shape', '')}"
        raise ValueError(f"{name} must be {dtype.__name__} {list(shape)}, not {found}")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model's preprocessing and output format.

    Attributes:
        name: the model's name in answers.
        family: the format of its outputs.
        labels: class names, by class id.
        input_size: (height, width) of the input in pixels; where `dynamic` is set, the largest.
        dynamic: other input sizes work too, if each side is a multiple of `stride`.
        stride: the network's largest stride, in pixels.
        batch: images per call, where the file fixes it; None where it does not.
        resize: `letterbox` keeps the aspect ratio and pads, `stretch` does not.
        anchor: position of a letterboxed picture within the padding.
        pad: grey value of the padding, 0..255.
        colour: channel order of the network's input.
        mean: per channel in `colour` order, in 0..255 units; input = (pixel - mean) / std.
        std: likewise; 255 scales to 0..1.
    """

    name: str
    family: FamilyName
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    dynamic: bool = False
    stride: int = 32
    batch: int | None = None
    resize: ResizeMode = "letterbox"
    anchor: Anchor = "center"
    pad: int = 114
    colour: ColourOrder = "rgb"
    mean: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0))
    std: tuple[float, float, float] = field(default=(255.0, 255.0, 255.0))

    def __post_init__(self) -> None:
        if not self.labels:
            raise ValueError("labels must name at least one class")
        if min(self.input_size) < 1 or self.stride < 1:
            raise ValueError(f"input_size {self.input_size} and stride {self.stride} must be >= 1")
        if not 0 <= self.pad <= 255:
            raise ValueError(f"pad must lie in 0..255, not {self.pad}")
        if not all(map(isfinite, self.mean + self.std)) or min(self.std) <= 0:
            raise ValueError(f"mean and std must be finite, std positive: {self.mean}, {self.std}")


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """Detection options of one request.

    Attributes:
        confidence: lowest confidence that is reported, 0..1.
        iou: NMS threshold: boxes of one class that overlap more are one object, 0..1; None for the
            family's default. Families without duplicates do not use it.
        classes: class ids to report; None for all.
        max_detections: most boxes reported, highest confidence first.
    """

    confidence: float = 0.5
    iou: float | None = None
    classes: frozenset[int] | None = None
    max_detections: int = 300


@dataclass(frozen=True, slots=True)
class Timing:
    """The time that one picture took, in milliseconds.

    `inference_ms` is the engine call that the picture was part of; `total_ms` runs from
    submission to the answer.
    """

    queue_ms: float
    decode_ms: float
    inference_ms: float
    postprocess_ms: float
    total_ms: float
