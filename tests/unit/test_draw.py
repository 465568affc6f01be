from __future__ import annotations

import numpy as np
import pytest

from sightline import Detections
from sightline.vision.decode import decode
from sightline.vision.draw import class_colour, draw_detections, encode_jpeg, line_width


def found(width: int, height: int, *rows: tuple[float, float, float, float]) -> Detections:
    count = len(rows)
    return Detections(
        boxes=np.array(rows, np.float32).reshape(-1, 4),
        confidence=np.linspace(0.9, 0.5, count, dtype=np.float32),
        class_id=np.arange(count, dtype=np.int64) % 3,
        labels=("person", "traffic light", "猫"),
        width=width,
        height=height,
    )


def grey(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def test_the_box_has_its_class_colour_where_it_should_be() -> None:
    image = grey(400, 300)
    drawn = found(400, 300, (100, 100, 200, 200)).draw(image)
    assert tuple(drawn[150, 100]) == class_colour(0)
    assert tuple(drawn[150, 150]) == (128, 128, 128)
    assert (image == 128).all(), "the caller's picture stays as it was"


@pytest.mark.parametrize(
    "box", [(0, 0, 40, 40), (360, 0, 400, 40), (0, 260, 40, 300), (360, 260, 400, 300)]
)
def test_labels_keep_inside_the_picture(box: tuple[float, float, float, float]) -> None:
    """In each corner the label's whole text shows: as many coloured pixels as in the middle."""
    drawn = found(400, 300, box).draw(grey(400, 300))
    middle = found(400, 300, (180, 140, 220, 180)).draw(grey(400, 300))
    ink = (drawn == class_colour(0)).all(axis=2).sum()
    assert ink == pytest.approx((middle == class_colour(0)).all(axis=2).sum(), rel=0.25)


def test_labels_of_neighbours_do_not_hide_each_other() -> None:
    alone = found(400, 300, (100, 100, 200, 200)).draw(grey(400, 300))
    both = found(400, 300, (100, 100, 200, 200), (102, 101, 210, 220)).draw(grey(400, 300))
    text_of_first = (alone == 0).all(axis=2)
    assert (both[text_of_first] == 0).all()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (8000, 2), (3, 500), (20, 20)])
def test_pictures_too_small_for_words_are_drawn_all_the_same(width: int, height: int) -> None:
    drawn = found(width, height, (0, 0, width, height)).draw(grey(width, height))
    assert drawn.shape == (height, width, 3)


def test_lines_follow_the_picture_size() -> None:
    assert line_width(grey(100, 100)) == 1
    assert line_width(np.broadcast_to(np.uint8(0), (2160, 3840, 3))) > 5


def test_neighbouring_classes_look_different() -> None:
    colours = [np.array(class_colour(i), int) for i in range(12)]
    for i, one in enumerate(colours):
        for other in colours[i + 1 :]:
            assert np.abs(one - other).sum() > 60


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="400×300"):
        draw_detections(grey(300, 400), found(400, 300))


def test_a_jpeg_comes_out() -> None:
    image = grey(64, 48)
    assert np.abs(decode(encode_jpeg(image), 10_000).astype(int) - image).max() < 3
