from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline import ModelSpec
from sightline.vision.letterbox import Placement, fit, surplus


def spec(**changes: Any) -> ModelSpec:
    fields: dict[str, Any] = {"family": "yolov8", "labels": ("x",), "input_size": (640, 640)}
    return ModelSpec("m", **(fields | changes))


def picture(width: int, height: int) -> Any:
    return np.full((height, width, 3), 200, np.uint8)


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [
        (1280, 720, (384, 640)),
        (810, 1080, (640, 480)),
        (640, 640, (640, 640)),
        (3840, 2160, (384, 640)),
        (1, 1, (640, 640)),
        (8000, 2, (32, 640)),
    ],
)
def test_a_dynamic_model_gets_the_smallest_shape_that_fits(
    width: int, height: int, shape: tuple[int, int]
) -> None:
    tensor, _ = fit(picture(width, height), spec(dynamic=True))
    assert tensor.shape == (*shape, 3)


def test_a_fixed_model_gets_its_own_shape_with_the_picture_in_the_middle() -> None:
    tensor, placement = fit(picture(1280, 720), spec())
    assert tensor.shape == (640, 640, 3)
    assert placement.offset == (0, 140)
    assert (tensor[139] == 114).all()
    assert (tensor[140] == 200).all()
    assert (tensor[500] == 114).all()


def test_yolox_puts_it_top_left() -> None:
    tensor, placement = fit(picture(100, 50), spec(input_size=(416, 416), anchor="top-left"))
    assert placement.offset == (0, 0)
    assert (tensor[:208] == 200).all()
    assert (tensor[208:] == 114).all()


def test_stretching_fills_the_input() -> None:
    tensor, placement = fit(picture(100, 50), spec(resize="stretch"))
    assert (tensor == 200).all()
    assert placement.scale == (6.4, 12.8)


@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    dynamic=st.booleans(),
    anchor=st.sampled_from(["center", "top-left"]),
    resize=st.sampled_from(["letterbox", "stretch"]),
)
def test_boxes_come_back_to_where_they_were(
    width: int, height: int, dynamic: bool, anchor: Any, resize: Any
) -> None:
    tensor, placement = fit(
        np.broadcast_to(np.uint8(9), (height, width, 3)),
        spec(dynamic=dynamic, anchor=anchor, resize=resize, input_size=(128, 128)),
    )
    assert max(tensor.shape[:2]) <= 128
    if dynamic and resize == "letterbox":
        assert tensor.shape[0] % 32 == tensor.shape[1] % 32 == 0
    box = np.array([[0.1, 0.2, 0.7, 0.9]], np.float32) * (width, height, width, height)
    inside = box * (placement.scale * 2) + np.array(placement.offset * 2)
    back = placement.to_source(inside.astype(np.float32))
    assert back == pytest.approx(box, abs=max(width, height) * 1e-4)


def test_boxes_are_clipped_to_the_picture() -> None:
    placement = Placement(100, 50, (1.0, 1.0), (0, 0))
    boxes = np.array([[-5, -5, 200, np.inf]], np.float32)
    assert placement.to_source(boxes).tolist() == [[0, 0, 100, 50]]


@pytest.mark.parametrize(
    ("size", "changes", "part"),
    [
        ((1280, 720), {}, 1),
        ((3839, 2160), {}, 1),
        ((3840, 2160), {}, 2),
        ((2160, 3840), {}, 2),
        ((4000, 3000), {}, 2),
        ((7680, 4320), {}, 4),
        ((100_000, 100), {}, 8),
        ((3840, 2160), {"resize": "stretch"}, 1),  # 2160 are not six times 640
        ((3840, 3840), {"resize": "stretch"}, 2),
        ((2496, 416), {"input_size": (416, 416)}, 2),
    ],
)
def test_what_is_far_larger_than_the_input_may_be_shrunk(
    size: tuple[int, int], changes: Any, part: int
) -> None:
    assert surplus(*size, spec(**({"input_size": (640, 640)} | changes))) == part


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_a_shrunk_copy_lies_where_its_source_would(resize: Any) -> None:
    wanted = spec(input_size=(96, 160), resize=resize)
    whole, half = picture(1281, 721), picture(641, 361)
    assert fit(half, wanted, (1281, 721))[1] == fit(whole, wanted)[1]
