"""mAP of our own detector on scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sightline.training.evaluate import LEAST_CONFIDENCE, ImageTruth, Score, mean_average_precision

if TYPE_CHECKING:
    from sightline import Detector
    from sightline.demo.truth import Scene

__all__ = ["Score", "score"]


def score(detector: Detector, scenes: list[Scene]) -> Score:
    answers = [detector.detect(scene.image, confidence=LEAST_CONFIDENCE) for scene in scenes]
    return mean_average_precision([_truth(scene) for scene in scenes], answers)


def _truth(scene: Scene) -> ImageTruth:
    height, width = scene.image.shape[:2]
    return ImageTruth(
        boxes=scene.truth.boxes / np.array((width, height) * 2, np.float64),
        class_id=scene.truth.class_id,
        crowd=np.zeros(len(scene.truth), np.bool_),
    )
