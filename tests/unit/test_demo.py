"""Scenes: the same from the same seed, with a truth that is true."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import yaml
from pycocotools.coco import COCO
from typer.testing import CliRunner

from sightline import ConfigError
from sightline.cli import app
from sightline.demo import canary
from sightline.demo.dataset import write_dataset
from sightline.demo.moving import MovingScene
from sightline.demo.scenes import make_scene
from sightline.demo.table import Table, Toy
from sightline.demo.toys import CLASSES, draw_toy
from sightline.demo.truth import LEAST_VISIBLE, Truth
from sightline.vision.decode import decode

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIZES = [(640, 480), (1280, 720), (240, 320), (64, 64), (333, 97)]


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def read(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(path)), np.uint8)


def require_true(truth: Truth, width: int, height: int) -> None:
    assert truth.boxes.dtype == np.float32
    assert truth.class_id.dtype == truth.track_id.dtype == np.int64
    low, high = truth.boxes[:, :2], truth.boxes[:, 2:]
    assert (low >= 0).all()
    assert (high <= [width, height]).all()
    assert (low < high).all()
    assert ((truth.class_id >= 0) & (truth.class_id < len(CLASSES))).all()
    assert ((truth.visible >= LEAST_VISIBLE) & (truth.visible <= 1)).all()
    assert len(set(truth.track_id.tolist())) == len(truth)


def test_a_seed_gives_the_same_pixels_and_another_seed_others() -> None:
    once, again, other = make_scene(3, 320, 240), make_scene(3, 320, 240), make_scene(4, 320, 240)
    assert np.array_equal(once.image, again.image)
    assert np.array_equal(once.truth.boxes, again.truth.boxes)
    assert not np.array_equal(once.image, other.image)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_any_size_and_the_truth_lies_inside(width: int, height: int) -> None:
    for seed in range(4):
        scene = make_scene(seed, width, height)
        assert scene.image.shape == (height, width, 3)
        assert scene.image.dtype == np.uint8
        require_true(scene.truth, width, height)


def test_every_class_appears() -> None:
    seen: Counter[int] = Counter()
    for seed in range(40):
        seen.update(make_scene(seed, 128, 96).truth.class_id.tolist())
    assert sorted(seen) == list(range(len(CLASSES)))
    assert min(seen.values()) > max(seen.values()) / 4


def test_a_box_is_tight_around_what_shows() -> None:
    """One toy half over another: the lower one's box ends where the upper one begins."""
    rng = np.random.default_rng(0)
    table = Table(rng, 400, 200)
    ball = CLASSES.index("ball")
    lower = Toy(ball, 1, 120.0, 100.0, 100.0, 0.0, 1)
    alone = table.picture(rng, [lower]).truth
    np.testing.assert_allclose(alone.boxes, [[72, 52, 168, 148]], atol=2)
    assert alone.visible.tolist() == [1.0]
    block = Toy(CLASSES.index("block"), 1, 190.0, 100.0, 140.0, 0.0, 2)
    both = table.picture(rng, [lower, block]).truth
    assert both.track_id.tolist() == [1, 2]
    assert both.boxes[0, 2] < 140
    assert both.visible[0] < 0.7
    hidden = table.picture(rng, [lower, Toy(ball, 2, 120.0, 100.0, 140.0, 0.0, 3)]).truth
    assert hidden.track_id.tolist() == [3]
    outside = table.picture(rng, [Toy(ball, 2, -500.0, 100.0, 140.0, 0.0, 3)]).truth
    assert outside.boxes.shape == (0, 4)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("angle", [0.0, 45.0, 90.0, 200.0])
def test_a_toy_fills_its_size_and_never_its_canvas(name: str, angle: float) -> None:
    for look in range(3):
        alpha = draw_toy(name, look, 100, angle).alpha
        rows, columns = np.nonzero(alpha > 0.5)
        assert max(np.ptp(rows), np.ptp(columns)) > 75
        edge = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        assert edge.max() < 0.5


@pytest.mark.parametrize(
    ("seed", "width", "height"),
    [(0, 63, 100), (0, 100, 0), (0, -5, 100), (0, 9000, 100), (-1, 99, 99)],
)
def test_what_cannot_be_made_is_refused(seed: int, width: int, height: int) -> None:
    with pytest.raises(ConfigError, match=r"pixels a side|0 or more"):
        make_scene(seed, width, height)
    with pytest.raises(ConfigError):
        MovingScene(seed, width, height)


def test_moving_toys_keep_their_numbers_travel_and_leave() -> None:
    frames = list(MovingScene(1, 192, 144, fps=5).frames(100))
    seen: dict[int, list[int]] = {}
    for index, frame in enumerate(frames):
        require_true(frame.truth, 192, 144)
        for track_id in frame.truth.track_id.tolist():
            seen.setdefault(track_id, []).append(index)
    assert len(seen) > 10
    last = len(frames) - 1
    assert any(indices[0] > 0 and indices[-1] < last for indices in seen.values())
    gaps = [b - a for indices in seen.values() for a, b in pairwise(indices)]
    assert max(gaps) > 1, "somebody hid and came back"
    classes = {
        (track_id, class_id)
        for frame in frames
        for track_id, class_id in zip(
            frame.truth.track_id.tolist(), frame.truth.class_id.tolist(), strict=True
        )
    }
    assert len(classes) == len(seen), "a number stands for one toy"


def test_moving_scenes_repeat() -> None:
    moving = MovingScene(2, 96, 64, fps=10)
    for once, again in zip(moving.frames(6), moving.frames(6), strict=True):
        assert np.array_equal(once.image, again.image)
        assert np.array_equal(once.truth.boxes, again.truth.boxes)
    with pytest.raises(ConfigError, match="fps"):
        MovingScene(2, 96, 64, fps=0)


def test_a_data_set_is_what_trainers_and_evaluators_read(tmp_path: Path) -> None:
    folder = tmp_path / "toys"
    assert list(write_dataset(folder, 10, 0, 160, 120)) == list(range(1, 11))
    data = yaml.safe_load((folder / "data.yaml").read_text())
    assert list(data["names"].values()) == list(CLASSES)
    for split, count in (("train", 8), ("val", 2)):
        pictures = sorted((folder / data[split]).glob("*.jpg"))
        assert len(pictures) == count
        coco = COCO(folder / "annotations" / f"{split}.json")
        assert len(coco.getImgIds()) == count
        for picture in pictures:
            assert read(picture).shape == (120, 160, 3)
            lines = (folder / "labels" / split / f"{picture.stem}.txt").read_text().splitlines()
            entry = next(i for i in coco.dataset["images"] if i["file_name"] == picture.name)
            boxes = coco.loadAnns(coco.getAnnIds(entry["id"]))
            assert len(lines) == len(boxes)
            for line, box in zip(lines, boxes, strict=True):
                class_id, cx, cy, w, h = map(float, line.split())
                assert box["category_id"] == class_id + 1
                x1, y1 = (cx - w / 2) * 160, (cy - h / 2) * 120
                np.testing.assert_allclose(box["bbox"], [x1, y1, w * 160, h * 120], atol=0.01)


def test_the_commands_write_the_truth_beside(tmp_path: Path) -> None:
    picture, film, folder = tmp_path / "a.png", tmp_path / "a film.mp4", tmp_path / "set"
    assert (
        run("demo", "image", picture, "--seed", 7, "--width", 200, "--height", 100).exit_code == 0
    )
    scene = make_scene(7, 200, 100)
    assert np.array_equal(read(picture), scene.image)
    truth = json.loads((tmp_path / "a.json").read_text())
    assert truth["image"] == {"width": 200, "height": 100}
    assert truth["objects"] == scene.truth.to_dicts()

    size = ("--width", 96, "--height", 64)
    assert run("demo", "video", film, *size, "--seconds", 1, "--fps", 5).exit_code == 0
    reader = cv2.VideoCapture(str(film))
    count = 0
    while reader.read()[0]:
        count += 1
    frames = json.loads((tmp_path / "a film.json").read_text())["frames"]
    assert count == len(frames) == 5
    assert frames[1]["time_s"] == 0.2

    assert run("demo", "dataset", folder, *size, "--count", 3).exit_code == 0
    assert len(list(folder.rglob("*.jpg"))) == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("image", "missing/a.jpg"), "No such file"),
        (("image", "a.txt"), "is no picture"),
        (("image", "a.json"), "where the truth goes"),
        (("image", "."), "names no file"),
        (("image", "a.jpg", "--width", "10"), "pixels a side"),
        (("video", "missing/a.mp4"), "No such file"),
        (("video", "a.jpg"), "is no video"),
        (("video", "a.mp4", "--seconds", "0"), "seconds"),
        (("video", "a.mp4", "--width", "101"), "must be even"),
        (("dataset", "full"), "is not empty"),
        (("dataset", "file"), "cannot be written"),
        (("dataset", "new", "--count", "1"), "2 pictures or more"),
    ],
)
def test_what_cannot_be_written_is_one_clear_line(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    (tmp_path / "file").touch()
    answer = run("demo", *arguments)
    assert isinstance(answer.exception, ConfigError)
    assert says in str(answer.exception)
    assert "\n" not in str(answer.exception)


def test_the_canarys_scene_is_what_would_be_drawn_now() -> None:
    """`python -m sightline.demo.canary` draws it again."""
    picture, truth = canary.read()
    drawn, told = canary.draw()
    assert np.abs(decode(picture, 10**6).astype(int) - decode(drawn, 10**6)).mean() < 1
    assert np.array(json.loads(told)["boxes"]) == pytest.approx(truth.boxes)
    assert json.loads(told)["class_id"] == truth.class_id.tolist()
