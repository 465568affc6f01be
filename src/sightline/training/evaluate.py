"""Evaluation: mAP against labels, and agreement of two models' answers."""

from __future__ import annotations

from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sightline.errors import ConfigError
from sightline.vision.boxes import iou

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sightline.types import Detections

LEAST_CONFIDENCE = 0.001
"""Lowest confidence of boxes that are scored: mAP is computed over all of them."""

SAME_PLACE = 0.5
"""Least IoU of two boxes of one class that count as the same object."""

_MAX_SCORED = 100  # boxes per picture, best first, as in COCO's evaluation


class Score(NamedTuple):
    """Mean average precision at IoU 0.50, and its mean over IoU 0.50 to 0.95.

    0..1; -1 where the labels contain no object.
    """

    map50: float
    map50_95: float


@dataclass(frozen=True, slots=True)
class ImageTruth:
    """Labels of one picture.

    Attributes:
        boxes: float64 [N, 4] xyxy, as shares of the upright picture's width and height, 0..1.
        class_id: int64 [N], indices into the model's labels.
        crowd: bool [N]; a box around a crowd, which counts neither if found nor if missed.
    """

    boxes: NDArray[np.float64]
    class_id: NDArray[np.int64]
    crowd: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of one model's boxes with a reference's, both of at least `confidence`.

    Attributes:
        confidence: 0..1.
        boxes: number of the reference's boxes.
        found: number of these that the other model has too: same class, IoU >= `SAME_PLACE`.
        extra: number of the other model's boxes that the reference does not have.
        mean_iou: of the boxes found by both, 0..1; 1 where there are none.
        confidence_shift: mean absolute difference of the boxes found by both, 0..1.
    """

    confidence: float
    boxes: int
    found: int
    extra: int
    mean_iou: float
    confidence_shift: float


def require_pycocotools() -> None:
    """Raise ConfigError if pycocotools is not installed."""
    try:
        import pycocotools.cocoeval  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"mAP needs pycocotools ({error}): pip install 'sightline[quantize]'"
        ) from error


def mean_average_precision(truths: Sequence[ImageTruth], answers: Sequence[Detections]) -> Score:
    """COCO's mAP, computed by pycocotools.

    Args:
        truths: one per picture, at least one.
        answers: as many, in the same order, with confidences from `LEAST_CONFIDENCE` up.

    Raises:
        ConfigError: pycocotools is not installed.
    """
    require_pycocotools()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = [row for index, answer in enumerate(answers, 1) for row in _rows(index, answer)]
    with redirect_stdout(StringIO()):  # pycocotools prints
        coco = COCO()
        coco.dataset = _dataset(truths, answers)
        coco.createIndex()
        result = COCO()
        result.dataset = coco.dataset | {"annotations": found}
        result.createIndex()
        evaluation = COCOeval(coco, result, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return Score(float(evaluation.stats[1]), float(evaluation.stats[0]))


def _dataset(truths: Sequence[ImageTruth], answers: Sequence[Detections]) -> dict[str, Any]:
    """COCO JSON of the labels; category ids are class ids plus one, as COCO starts at 1."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, (truth, answer) in enumerate(zip(truths, answers, strict=True), 1):
        images.append({"id": index, "width": answer.width, "height": answer.height})
        boxes = truth.boxes * np.array((answer.width, answer.height) * 2)
        for box, class_id, crowd in zip(boxes, truth.class_id, truth.crowd, strict=True):
            annotations.append(
                _annotation(len(annotations) + 1, index, int(class_id), box.tolist())
                | {"iscrowd": int(crowd)}
            )
    labels = answers[0].labels if answers else ()
    categories = [{"id": i, "name": name} for i, name in enumerate(labels, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _rows(index: int, answer: Detections) -> list[dict[str, Any]]:
    return [
        _annotation(1000 * index + rank, index, found.class_id, found.bbox)
        | {"score": found.confidence, "iscrowd": 0}
        for rank, found in enumerate(list(answer)[:_MAX_SCORED])
    ]


def _annotation(number: int, image: int, class_id: int, box: Sequence[float]) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    return {
        "id": number,
        "image_id": image,
        "category_id": class_id + 1,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
    }


def agreement(
    reference: Sequence[Detections], others: Sequence[Detections], confidence: float
) -> Agreement:
    """Agreement of `others` with `reference`, in the same order of pictures."""
    boxes = extra = 0
    overlaps: list[float] = []
    shifts: list[float] = []
    for ours, theirs in zip(reference, others, strict=True):
        count = int((ours.confidence >= confidence).sum())
        free = theirs.confidence >= confidence
        for index in range(count):  # highest confidence first
            same = free & (theirs.class_id == ours.class_id[index])
            overlap = np.where(same, iou(ours.boxes[index], theirs.boxes), 0)
            if overlap.max(initial=0) < SAME_PLACE:
                continue
            best = int(overlap.argmax())
            free[best] = False
            overlaps.append(float(overlap[best]))
            shifts.append(abs(float(theirs.confidence[best] - ours.confidence[index])))
        boxes += count
        extra += int(free.sum())
    return Agreement(
        confidence=confidence,
        boxes=boxes,
        found=len(overlaps),
        extra=extra,
        mean_iou=float(np.mean(overlaps)) if overlaps else 1.0,
        confidence_shift=float(np.mean(shifts)) if shifts else 0.0,
    )
