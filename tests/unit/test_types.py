from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sightline import Detection, Detections, ModelSpec


def make(**changes: Any) -> Detections:
    fields: dict[str, Any] = {
        "boxes": np.array([[1, 2, 30, 40], [0, 0, 5, 5]], np.float32),
        "confidence": np.array([0.9, 0.25], np.float32),
        "class_id": np.array([1, 0], np.int64),
        "labels": ("cat", "dog"),
        "width": 64,
        "height": 48,
    }
    return Detections(**(fields | changes))


def test_iterates_as_detections() -> None:
    found = make()
    assert len(found) == 2
    first = next(iter(found))
    assert first == Detection("dog", 1, float(np.float32(0.9)), (1.0, 2.0, 30.0, 40.0))


def test_to_dicts_has_the_api_form() -> None:
    assert make().to_dicts()[0] == {
        "label": "dog",
        "class_id": 1,
        "confidence": 0.9,
        "bbox": {"x1": 1.0, "y1": 2.0, "x2": 30.0, "y2": 40.0},
    }


def test_nothing_found_is_as_good_as_any() -> None:
    empty = make(
        boxes=np.zeros((0, 4), np.float32),
        confidence=np.zeros(0, np.float32),
        class_id=np.zeros(0, np.int64),
    )
    assert (len(empty), list(empty), empty.to_dicts()) == (0, [], [])
    image = np.zeros((48, 64, 3), np.uint8)
    assert (empty.draw(image) == image).all()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("boxes", np.zeros((2, 4), np.float64), "boxes must be float32"),
        ("boxes", np.zeros((2, 5), np.float32), "boxes must be float32"),
        ("boxes", [[1, 2, 3, 4], [1, 2, 3, 4]], "not list"),
        ("boxes", np.full((2, 4), np.nan, np.float32), "finite"),
        ("boxes", np.array([[5, 0, 1, 1], [0, 0, 1, 1]], np.float32), "x1 <= x2"),
        ("confidence", np.array([0.5], np.float32), "confidence must be"),
        ("confidence", np.array([0.5, 1.5], np.float32), r"0\.\.1"),
        ("confidence", np.array([0.5, np.nan], np.float32), r"0\.\.1"),
        ("class_id", np.array([0, 1], np.int32), "int64"),
        ("class_id", np.array([0, 2], np.int64), r"0\.\.1"),
        ("class_id", np.array([0, -1], np.int64), r"0\.\.1"),
    ],
)
def test_wrong_arrays_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**{field: value})


def test_to_supervision_hands_over_the_same_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """supervision is an optional extra: its constructor's documented keywords stand in for it."""
    import sys
    import types

    module = types.ModuleType("supervision")
    module.Detections = lambda **given: given  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", module)
    found = make()
    given = found.to_supervision()
    assert given["xyxy"] is found.boxes
    assert given["data"]["class_name"].tolist() == ["dog", "cat"]


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ()},
        {"input_size": (0, 64)},
        {"pad": 300},
        {"std": (0.0, 1.0, 1.0)},
        {"stride": 0},
    ],
)
def test_impossible_specs_are_refused(changes: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"family": "yolov8", "labels": ("cat",), "input_size": (64, 64)}
    with pytest.raises(ValueError, match="must"):
        ModelSpec("m", **(fields | changes))
