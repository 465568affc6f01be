from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sightline.vision.boxes import cxcywh_to_xyxy, iou, nms


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def run(found: np.ndarray, scores: list[float], classes: list[int], **options: float) -> list[int]:
    kept = nms(
        found,
        np.array(scores, np.float32),
        np.array(classes, np.int64),
        options.get("iou", 0.5),
        int(options.get("most", 300)),
    )
    return [int(index) for index in kept]


def test_iou_of_known_boxes() -> None:
    others = boxes((0, 0, 10, 10), (5, 0, 15, 10), (20, 20, 30, 30), (0, 0, 0, 0))
    assert iou(others[0], others) == pytest.approx([1, 1 / 3, 0, 0])


def test_centre_and_size_become_corners() -> None:
    assert cxcywh_to_xyxy(boxes((5, 6, 4, 2))).tolist() == [[3, 5, 7, 7]]
    assert cxcywh_to_xyxy(boxes((5, 6, -4, 2))).tolist() == [[5, 5, 5, 7]]


def test_the_best_of_duplicates_stays() -> None:
    found = boxes((0, 0, 10, 10), (0, 0, 10, 11), (50, 50, 60, 60))
    assert run(found, [0.5, 0.9, 0.7], [0, 0, 0]) == [1, 2]


def test_classes_do_not_suppress_each_other() -> None:
    found = boxes((0, 0, 10, 10), (0, 0, 10, 10))
    assert run(found, [0.9, 0.8], [0, 1]) == [0, 1]


def test_only_more_than_the_threshold_is_a_duplicate() -> None:
    found = boxes((0, 0, 10, 10), (0, 0, 10, 5))
    assert run(found, [0.9, 0.8], [0, 0], iou=0.5) == [0, 1]
    assert run(found, [0.9, 0.8], [0, 0], iou=0.49) == [0]


def test_far_coordinates_keep_their_precision_between_classes() -> None:
    found = boxes((8000, 8000, 8010, 8010), (8000, 8000, 8010, 8010.5))
    assert run(found, [0.9, 0.8], [79, 79]) == [0]


def test_it_stops_at_max_detections() -> None:
    found = boxes(*((i * 20.0, 0.0, i * 20.0 + 10, 10.0) for i in range(50)))
    assert run(found, [i / 50 for i in range(50)], [0] * 50, most=3) == [49, 48, 47]


def test_nothing_in_nothing_out() -> None:
    assert run(boxes(), [], []) == []


@given(
    corners=arrays(np.float32, (30, 4), elements=st.floats(0, 100, width=32)),
    scores=arrays(np.float32, 30, elements=st.floats(0, 1, width=32)),
    classes=arrays(np.int64, 30, elements=st.integers(0, 3)),
)
def test_survivors_of_a_class_do_not_overlap_and_cover_the_rest(
    corners: np.ndarray, scores: np.ndarray, classes: np.ndarray
) -> None:
    found = np.hstack((corners[:, :2], corners[:, :2] + corners[:, 2:] + 1))
    kept = nms(found, scores, classes, 0.5, 300)
    assert (np.diff(scores[kept]) <= 0).all()
    for index in range(30):
        same = kept[classes[kept] == classes[index]]
        overlap = iou(found[index].astype(np.float64), found[same].astype(np.float64))
        if index in kept:
            assert (overlap[same != index] <= 0.5 + 1e-6).all()
        else:
            assert (overlap[scores[same] >= scores[index]] > 0.5 - 1e-6).any()
