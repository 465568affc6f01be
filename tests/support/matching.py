"""Compare detections with a reference, as the acceptance rule has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from sightline import Detection
from sightline.vision.boxes import iou


def same_place(bbox: tuple[float, ...], other: list[float]) -> bool:
    """IoU of at least 0.9, or every corner within 2 pixels."""
    overlap = iou(np.array(bbox), np.array([other]))[0]
    return bool(overlap >= 0.9 or np.abs(np.array(bbox) - other).max() <= 2)


def missed(reference: list[dict[str, Any]], ours: list[Detection]) -> list[dict[str, Any]]:
    """Reference detections of 0.35 and more that we do not have alike."""
    return [
        wanted
        for wanted in reference
        if wanted["confidence"] >= 0.35
        and not any(
            found.label == wanted["label"]
            and same_place(found.bbox, wanted["bbox"])
            and abs(found.confidence - wanted["confidence"]) <= 0.05
            for found in ours
        )
    ]


def invented(reference: list[dict[str, Any]], ours: list[Detection]) -> list[Detection]:
    """Our detections of 0.35 and more that match no reference box of any score."""
    return [
        found
        for found in ours
        if found.confidence >= 0.35
        and not any(same_place(found.bbox, wanted["bbox"]) for wanted in reference)
    ]
