"""Box arithmetic on arrays: conversion to corners, IoU, non-maximum suppression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_CANDIDATES = 5_000
"""Most boxes that NMS compares, best first: bounds its time whatever threshold a client sets."""


def cxcywh_to_xyxy(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes [N, 4] from centre and size to corners, in the same unit."""
    half = np.maximum(boxes[:, 2:], 0) / 2
    corners: NDArray[np.float32] = np.concatenate(
        (boxes[:, :2] - half, boxes[:, :2] + half), axis=1
    )
    return corners


def iou(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of `box` [4] with each of `boxes` [N, 4], xyxy; 0 where empty."""
    top_left = np.maximum(box[:2], boxes[:, :2])
    bottom_right = np.minimum(box[2:], boxes[:, 2:])
    size = np.maximum(bottom_right - top_left, 0)
    intersection: NDArray[np.float32] = size[:, 0] * size[:, 1]
    union = _area(box[None]) + _area(boxes) - intersection
    nothing = np.zeros_like(intersection)
    ratio: NDArray[np.float32] = np.divide(intersection, union, out=nothing, where=union > 0)
    return ratio


def _area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    size = boxes[:, 2:] - boxes[:, :2]
    area: NDArray[np.float32] = size[:, 0] * size[:, 1]
    return area


def nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    iou_threshold: float,
    max_detections: int,
) -> NDArray[np.intp]:
    """Greedy class-aware non-maximum suppression.

    Of boxes of one class that overlap by more than `iou_threshold` the best stays; boxes of
    different classes never suppress each other.

    Args:
        boxes: float32 [N, 4] xyxy.
        scores: float32 [N].
        class_ids: int64 [N].
        iou_threshold: 0..1.
        max_detections: stops when so many are kept.

    Returns:
        Indices of the kept boxes, highest score first.
    """
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    if len(order) == 0:
        return order
    if iou_threshold >= 1:  # no two boxes overlap by more than that
        return order[:max_detections]
    # Classes are moved apart so far that boxes of two of them cannot overlap.
    apart = np.float32(boxes.max() - boxes.min() + 1)
    shifted = boxes.astype(np.float64) + (class_ids * apart)[:, None]
    kept: list[int] = []
    while len(order) and len(kept) < max_detections:
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[iou(shifted[best], shifted[order]) <= iou_threshold]
    return np.array(kept, np.intp)
