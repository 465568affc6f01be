from __future__ import annotations

from typing import Any

import pytest

from sightline import ModelSpec
from sightline.errors import BadOption
from sightline.serving.options import make_options

SPEC = ModelSpec("tiny", "yolov8", ("person", "dog", "7"), (64, 64))


def make(**changes: Any) -> Any:
    given: dict[str, Any] = {"confidence": 0.5, "iou": None, "classes": None, "max_detections": 300}
    return make_options(SPEC, **(given | changes))


def test_classes_by_label_or_id() -> None:
    assert make(classes=["dog", 0, "1"]).classes == {0, 1}
    assert make(classes="dog").classes == {1}
    assert make(classes=["7"]).classes == {2}, "a label wins over an id"
    assert make().classes is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confidence": 7}, r"confidence must lie in 0\.\.1, not 7"),
        ({"confidence": float("nan")}, "confidence"),
        ({"iou": -0.1}, "iou"),
        ({"max_detections": 0}, "max_detections"),
        ({"max_detections": 1001}, "max_detections"),
        ({"classes": ["dgo"]}, "no class 'dgo'. Did you mean 'dog'"),
        ({"classes": [3]}, "no class '3'"),
        ({"classes": [-1]}, "no class '-1'"),
        ({"classes": ["9" * 500]}, "no class '9{80}'"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption, match=message):
        make(**changes)
