"""What each family's outputs mean, on tables whose boxes are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sightline import ModelError
from sightline.models.families import FAMILIES, recognise
from sightline.models.families.base import Outline
from sightline.models.graph import TensorInfo
from support.graphs import grid_table

SIZE = (64, 64)


def outline(
    *shapes: tuple[int | None, ...], labels: int | None = None, **metadata: object
) -> Outline:
    tensors = tuple(TensorInfo(f"out{i}", shape) for i, shape in enumerate(shapes))
    return Outline(tensors, SIZE, labels, metadata)


@pytest.mark.parametrize(
    ("known", "family"),
    [
        (outline((1, 84, 84), labels=80), "yolov8"),
        (outline((None, 6, 84)), "yolov8"),
        (outline((1, 84, 84)), "yolov8"),
        (outline((1, 84, None), labels=80), "yolov8"),
        (outline((1, 6, 50), labels=2), "yolov8"),
        (outline((1, 252, 85)), "yolov5"),
        (outline((1, 252, 6)), "yolov5"),
        (outline((1, 84, 85)), "yolox"),
        (outline((1, 84, 6)), "yolox"),
        (outline((1, 300, 6)), "end2end"),
        (outline((1, 300, 6), labels=1), "end2end"),
        (outline((None, None, 6), labels=80, end2end=True), "end2end"),
        (outline((1, 84, 6), labels=1, args={"nms": True}), "end2end"),
        (outline((1, 300, 80), (1, 300, 4)), "detr"),
        (outline((1, 300, 4), (1, 300, 91)), "detr"),
        (outline((1, 300, 4), (1, 300, 4)), "detr"),
        (outline((None, None, 80), (None, None, 4)), "detr"),
        (outline((1, 300, 84), labels=80), "detr"),
        (outline((1, 300, 6), labels=2, head="RTDETRDecoder"), "detr"),
    ],
)
def test_families_are_recognised_from_shapes_and_metadata(known: Outline, family: str) -> None:
    assert recognise(known) == family


@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 1000)],
        [(1, 3, 64, 64)],
        [(1, 116, 84), (1, 32, 16, 16)],
        [(1, 300, 80), (1, 200, 4)],
        [(1, 300), (1, 300, 4), (1, 300)],
        [(1, 7, 50)],
        [(1, 100, 92), (1, 100, 4)],
        [(1, 255, 8, 8), (1, 255, 4, 4), (1, 255, 2, 2)],
        [()],
    ],
)
def test_other_outputs_are_refused_by_shape(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(ModelError, match="fit no detection family") as caught:
        recognise(outline(*shapes))
    assert str(TensorInfo("out0", shapes[0])) in str(caught.value)


def test_an_ambiguous_output_asks_for_model_toml() -> None:
    with pytest.raises(ModelError, match=r"yolov5, yolox.*model\.toml"):
        recognise(outline((None, None, 85)))


def decode(name: Any, *outputs: np.ndarray, confidence: float = 0.3) -> list[tuple[Any, ...]]:
    found = FAMILIES[name].decode(list(outputs), SIZE, confidence)
    assert found.boxes.dtype == np.float32
    assert found.class_ids.dtype == np.int64
    return [
        (*np.round(box, 3).tolist(), round(float(score), 3), int(class_id))
        for box, score, class_id in zip(found.boxes, found.scores, found.class_ids, strict=True)
    ]


def test_yolov8() -> None:
    table = grid_table(6).T
    table[:, 3] = (32, 16, 20, 10, 0.2, 0.9)
    table[:, 7] = (10, 10, 4, 4, 0.29, 0.1)
    assert decode("yolov8", table) == [(22, 11, 42, 21, 0.9, 1)]


def test_yolov5_multiplies_objectness() -> None:
    table = grid_table(7, 252)
    table[5] = (32, 16, 20, 10, 0.5, 0.2, 0.8)
    table[6] = (32, 16, 20, 10, 0.5, 0.2, 0.5)
    assert decode("yolov5", table) == [(22, 11, 42, 21, 0.4, 1)]


def test_yolox_lays_its_grids() -> None:
    table = grid_table(7)
    table[0] = (0.5, 0.5, np.log(2), np.log(1), 1, 0.9, 0)  # stride 8, cell (0, 0)
    table[8 * 2 + 3] = (0, 0, 0, 0, 1, 0, 0.8)  # stride 8, column 3, row 2
    table[64 + 4 + 1] = (0, 0, 0, 0, 1, 0, 0.7)  # stride 16, column 1, row 1
    table[83] = (0, 0, 0, 0, 1, 0.6, 0)  # stride 32, column 1, row 1
    assert decode("yolox", table) == [
        (-4, 0, 12, 8, 0.9, 0),
        (20, 12, 28, 20, 0.8, 1),
        (8, 8, 24, 24, 0.7, 1),
        (16, 16, 48, 48, 0.6, 0),
    ]


def test_yolox_survives_absurd_sizes() -> None:
    table = grid_table(6)
    table[0] = (0, 0, 1000, 1000, 1, 1)
    assert np.isfinite(FAMILIES["yolox"].decode([table], SIZE, 0.5).boxes).all()


def test_end2end_leaves_unused_rows_out_even_at_confidence_zero() -> None:
    table = np.zeros((300, 6), np.float32)
    table[0] = (1, 2, 3, 4, 0.9, 5)
    assert decode("end2end", table, confidence=0) == [(1, 2, 3, 4, 0.9, 5)]


def logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


@pytest.mark.parametrize("boxes_first", [True, False])
@pytest.mark.parametrize("classes", [3, 4])
def test_detr_in_either_order_whatever_the_number_of_classes(
    boxes_first: bool, classes: int
) -> None:
    boxes = np.tile(np.array([0.5, 0.25, 0.5, 0.25], np.float32), (10, 1))
    logits = np.full((10, classes), -9, np.float32)
    logits[4, 1], logits[4, 2] = logit(0.8), logit(0.6)
    outputs = (boxes, logits) if boxes_first else (logits, boxes)
    box = (16, 8, 48, 24)
    assert decode("detr", *outputs) == [(*box, 0.8, 1), (*box, 0.6, 2)]


def test_detr_of_ultralytics_has_scores_already() -> None:
    table = np.zeros((300, 6), np.float32)
    table[0] = (0.5, 0.25, 0.5, 0.25, 0.1, 0.9)
    assert decode("detr", table) == [(16, 8, 48, 24, 0.9, 1)]


def test_rf_detr_is_normalised_as_imagenet_and_others_are_not() -> None:
    shapes = (1, 300, 4), (1, 300, 7)
    tensors = tuple(map(TensorInfo, ("dets", "labels"), shapes))
    rf_detr = replace(outline(), outputs=tensors)
    assert FAMILIES["detr"].preprocessing(rf_detr)["mean"][0] == 123.675
    assert "mean" not in FAMILIES["detr"].preprocessing(outline(*shapes))


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_found_is_an_answer(name: Any) -> None:
    empty: dict[str, list[np.ndarray]] = {
        "yolov8": [grid_table(6).T],
        "yolov5": [grid_table(6, 252)],
        "yolox": [grid_table(6)],
        "end2end": [np.zeros((300, 6), np.float32)],
        "detr": [np.zeros((10, 4), np.float32), np.full((10, 3), -50, np.float32)],
    }
    assert decode(name, *empty[name]) == []


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "outputs",
    [
        [np.zeros(5, np.float32)],
        [np.zeros((3, 3), np.float32)],
        [np.zeros((7, 7, 7), np.float32)],
        [np.zeros((10, 4), np.float32), np.zeros((11, 3), np.float32)],
        [],
    ],
)
def test_outputs_of_another_form_are_an_error(name: Any, outputs: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"are not|fit no grid"):
        FAMILIES[name].decode(outputs, SIZE, 0.5)
