"""mAP by pycocotools, of our own detector on scenes."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sightline.demo.dataset import add_to_coco, empty_coco

if TYPE_CHECKING:
    from sightline import Detector
    from sightline.demo.truth import Scene


class Score(NamedTuple):
    """mAP at IoU 0.50, and its mean over IoU 0.50 to 0.95; 0..1."""

    map50: float
    map50_95: float


def score(detector: Detector, scenes: list[Scene]) -> Score:
    truth, answers = empty_coco(), []
    for image_id, scene in enumerate(scenes, 1):
        add_to_coco(truth, scene, image_id, f"{image_id}.jpg")
        answers += _answers(detector, scene, image_id)
    with redirect_stdout(StringIO()):  # pycocotools talks
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(answers), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return Score(float(evaluation.stats[1]), float(evaluation.stats[0]))


def _answers(detector: Detector, scene: Scene, image_id: int) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image_id,
            "category_id": found.class_id + 1,
            "score": found.confidence,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
        }
        for found in detector.detect(scene.image, confidence=0.001, iou=0.7, max_detections=100)
        for x1, y1, x2, y2 in [found.bbox]
    ]
