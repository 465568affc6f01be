"""The shipped demo model, through our own detector, on scenes that it was never trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import sightline
from sightline import Detector
from sightline.cli import app
from sightline.demo.moving import MovingScene
from sightline.demo.scenes import make_scene
from sightline.demo.toys import CLASSES
from sightline.vision.boxes import iou
from support.scoring import Score, score

if TYPE_CHECKING:
    from sightline.settings import EngineName

MODEL = Path(sightline.__file__).parent / "models" / "bundled" / "demo.onnx"
SIZES = [(640, 480), (1280, 720), (480, 640)]
ENGINES: list[EngineName] = ["openvino", "onnxruntime"]


def scores(scenes: int) -> dict[EngineName, Score]:
    """Training starts at seed 1,000,000."""
    held_out = [make_scene(seed, *SIZES[seed % len(SIZES)]) for seed in range(scenes)]
    found = {}
    for engine in ENGINES:
        with Detector(MODEL, engine=engine, max_batch=1) as detector:
            found[engine] = score(detector, held_out)
    return found


@pytest.mark.parametrize("scenes", [9, pytest.param(180, marks=pytest.mark.soak)])
def test_it_finds_toys_in_scenes_it_never_saw(scenes: int) -> None:
    found = scores(scenes)
    for engine in ENGINES:
        assert found[engine].map50 >= 0.95, found
        assert found[engine].map50_95 >= 0.75, found
    np.testing.assert_allclose(found["openvino"], found["onnxruntime"], atol=0.01)


def test_it_is_small_and_says_what_it_is() -> None:
    assert MODEL.stat().st_size <= 4_000_000
    said = {entry.key: entry.value for entry in onnx.load(MODEL).metadata_props}
    assert said["license"] == "Apache-2.0"
    assert said["task"] == "detect"
    with Detector(MODEL, max_batch=1) as detector:
        spec = detector.spec
    assert spec.labels == CLASSES
    assert spec.family == "yolov8"
    assert spec.dynamic
    assert spec.batch is None


@pytest.mark.parametrize("engine", ENGINES)
def test_it_finds_the_toys_of_a_demo_image(tmp_path: Path, engine: EngineName) -> None:
    """The default picture, at the default confidence: every toy, once, and nothing else."""
    path = tmp_path / "out.jpg"
    assert CliRunner().invoke(app, ["demo", "image", str(path)]).exit_code == 0
    truth = json.loads(path.with_suffix(".json").read_text())["objects"]
    with Detector(MODEL, engine=engine, max_batch=1) as detector:
        found = detector.detect(path)
    boxes = np.array([list(toy["bbox"].values()) for toy in truth], np.float32)
    overlap = np.stack([iou(box, found.boxes) for box in boxes])
    assert len(found) == len(truth)
    assert overlap.max(1).min() > 0.6
    assert [found.class_id[row.argmax()] for row in overlap] == [toy["class_id"] for toy in truth]


def test_it_sees_a_moving_scene() -> None:
    frames = list(MovingScene(0, 640, 480, fps=1).frames(12))
    with Detector(MODEL, max_batch=1) as detector:
        assert score(detector, frames).map50 > 0.85


def test_an_empty_table_is_empty() -> None:
    with Detector(MODEL, max_batch=1) as detector:
        for grey in (0, 114, 255):
            assert len(detector.detect(np.full((240, 320, 3), grey, np.uint8))) == 0
        noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
        assert len(detector.detect(cv2.GaussianBlur(noise, (0, 0), 3).astype(np.uint8))) == 0
