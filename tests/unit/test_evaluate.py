"""Scores whose value is known without computing it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.errors import ConfigError
from sightline.training.evaluate import ImageTruth, agreement, mean_average_precision
from sightline.training.truths import OtherClasses, coco_truths, yolo_truths
from sightline.types import Detections

LABELS = ("cat", "dog")


def answer(*rows: tuple[int, float, tuple[float, ...]]) -> Detections:
    """Class, confidence, box in pixels of a picture of 200 × 100."""
    return Detections(
        boxes=np.array([box for _, _, box in rows], np.float32).reshape(-1, 4),
        confidence=np.array([confidence for _, confidence, _ in rows], np.float32),
        class_id=np.array([class_id for class_id, _, _ in rows], np.int64),
        labels=LABELS,
        width=200,
        height=100,
    )


def truth(*rows: tuple[int, tuple[float, ...]], crowd: bool = False) -> ImageTruth:
    """Class, box as shares of the picture."""
    return ImageTruth(
        np.array([box for _, box in rows], np.float64).reshape(-1, 4),
        np.array([class_id for class_id, _ in rows], np.int64),
        np.full(len(rows), crowd),
    )


LEFT, RIGHT = (0.1, 0.2, 0.4, 0.8), (0.6, 0.2, 0.9, 0.8)
LEFT_PIXELS, RIGHT_PIXELS = (20, 20, 80, 80), (120, 20, 180, 80)


def test_what_is_all_right_scores_one() -> None:
    found = answer((0, 0.9, LEFT_PIXELS), (1, 0.8, RIGHT_PIXELS))
    assert mean_average_precision([truth((0, LEFT), (1, RIGHT))], [found]) == pytest.approx((1, 1))


def test_a_class_that_is_missed_halves_it() -> None:
    found = answer((0, 0.9, LEFT_PIXELS), (0, 0.1, RIGHT_PIXELS))
    assert mean_average_precision([truth((0, LEFT), (1, RIGHT))], [found]) == pytest.approx(
        (0.5, 0.5)
    )


def test_nothing_found_is_zero_and_nothing_labelled_is_no_score() -> None:
    assert mean_average_precision([truth((0, LEFT))], [answer()]) == (0, 0)
    assert mean_average_precision([truth()], [answer((0, 0.9, LEFT_PIXELS))]) == (-1, -1)


def test_a_box_that_is_a_little_off_counts_at_low_iou_alone() -> None:
    off = answer((0, 0.9, (20, 20, 80, 66)))  # IoU 46 / 60 = 0.77
    score = mean_average_precision([truth((0, LEFT))], [off])
    assert score.map50 == pytest.approx(1)
    assert score.map50_95 == pytest.approx(0.6)  # 0.50 to 0.75


def test_in_a_crowd_nothing_is_wrong() -> None:
    truths = [truth((0, LEFT)), truth((0, RIGHT), crowd=True)]
    answers = [answer((0, 0.8, LEFT_PIXELS)), answer((0, 0.9, RIGHT_PIXELS))]
    assert mean_average_precision(truths, answers) == pytest.approx((1, 1))


def test_agreement() -> None:
    ours = answer((0, 0.9, LEFT_PIXELS), (1, 0.5, RIGHT_PIXELS), (1, 0.2, LEFT_PIXELS))
    theirs = answer((0, 0.8, LEFT_PIXELS), (0, 0.7, LEFT_PIXELS), (0, 0.6, RIGHT_PIXELS))
    found = agreement([ours, answer()], [theirs, answer()], 0.4)
    assert (found.boxes, found.found, found.extra) == (2, 1, 2)
    assert found.mean_iou == 1
    assert found.confidence_shift == pytest.approx(0.1)


def test_agreement_about_nothing() -> None:
    found = agreement([answer()], [answer()], 0.4)
    assert (found.boxes, found.found, found.extra) == (0, 0, 0)
    assert (found.mean_iou, found.confidence_shift) == (1, 0)


def labelled(folder: Path, name: str, text: str) -> Path:
    (folder / "images" / "val").mkdir(parents=True, exist_ok=True)
    (folder / "labels" / "val").mkdir(parents=True, exist_ok=True)
    (folder / "labels" / "val" / f"{name}.txt").write_text(text)
    return folder / "images" / "val" / f"{name}.jpg"


def test_yolo_labels_parallel_and_beside(tmp_path: Path) -> None:
    parallel = labelled(tmp_path, "a", "1 0.25 0.5 0.3 0.6\n\n")
    beside, unknown, empty = (tmp_path / f"{name}.jpg" for name in "bcd")
    beside.with_suffix(".txt").write_text("0 0.75 0.5 0.3 0.6")
    empty.with_suffix(".txt").touch()
    truths = yolo_truths([parallel, beside, unknown, empty], LABELS)
    assert list(truths) == [parallel, beside, empty]
    np.testing.assert_allclose(truths[parallel].boxes, [LEFT])
    np.testing.assert_allclose(truths[beside].boxes, [RIGHT])
    assert truths[parallel].class_id.tolist() == [1]
    assert truths[empty].boxes.shape == (0, 4)


@pytest.mark.parametrize("names", ["[mouse, cat]", "{0: mouse, 1: cat}"])
def test_yolo_classes_go_by_name_where_they_have_one(tmp_path: Path, names: str) -> None:
    picture = labelled(tmp_path, "a", "1 0.25 0.5 0.3 0.6\n0 0.75 0.5 0.3 0.6")
    (tmp_path / "data.yaml").write_text(f"names: {names}")
    assert yolo_truths([picture], LABELS)[picture].class_id.tolist() == [0]
    with pytest.raises(OtherClasses, match="mouse, cat"):
        yolo_truths([picture], ("car",))


@pytest.mark.parametrize("line", ["1 0.25 0.5 0.3", "cat 0.25 0.5 0.3 0.6", "1 a b c d"])
def test_a_damaged_label_file_is_named(tmp_path: Path, line: str) -> None:
    picture = labelled(tmp_path, "a", f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(ConfigError, match=r"a\.txt, line 2"):
        yolo_truths([picture], LABELS)


def test_a_data_yaml_without_names_is_named(tmp_path: Path) -> None:
    picture = labelled(tmp_path, "a", "0 0.5 0.5 0.1 0.1")
    (tmp_path / "data.yaml").write_text("train: images/train")
    with pytest.raises(ConfigError, match=r"data\.yaml does not name"):
        yolo_truths([picture], LABELS)


COCO: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "val/a.jpg", "width": 200, "height": 100}],
    "categories": [{"id": 3, "name": "dog"}, {"id": 5, "name": "mouse"}],
    "annotations": [
        {"image_id": 7, "category_id": 3, "bbox": [20, 20, 60, 60], "iscrowd": 1},
        {"image_id": 7, "category_id": 5, "bbox": [0, 0, 9, 9]},
    ],
}


def test_coco_labels(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(COCO))
    picture, other = tmp_path / "val" / "a.jpg", tmp_path / "train" / "a.jpg"
    truths = coco_truths(path, [other, picture], LABELS)
    assert list(truths) == [picture]
    np.testing.assert_allclose(truths[picture].boxes, [LEFT])
    assert truths[picture].class_id.tolist() == [1]
    assert truths[picture].crowd.tolist() == [True]


def test_coco_labels_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(COCO))
    with pytest.raises(ConfigError, match="names none of the pictures"):
        coco_truths(path, [tmp_path / "b.jpg"], LABELS)
    with pytest.raises(OtherClasses, match="dog, mouse"):
        coco_truths(path, [tmp_path / "val" / "a.jpg"], ("car",))
    for broken in ("{", "{}", "[]"):
        path.write_text(broken)
        with pytest.raises(ConfigError, match="no readable COCO JSON"):
            coco_truths(path, [tmp_path / "val" / "a.jpg"], LABELS)
