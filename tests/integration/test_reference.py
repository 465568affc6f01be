"""Real models on real photographs find what their upstream code finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sightline import Detector
from sightline.vision.decode import decode
from sightline.vision.draw import encode_jpeg
from sightline.vision.letterbox import surplus
from support.matching import invented, missed

# The batch is given wherever it does not matter: to measure the best one takes seconds.
MODELS = [("yolov8n", "rect", 0.25), ("yolox-nano", "detections", 0.3)]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(("name", "key", "threshold"), MODELS)
def test_the_same_objects_as_upstream(
    shared: Path, engine: Any, name: str, key: str, threshold: float
) -> None:
    reference = json.loads((shared / "reference" / f"{name}.json").read_text())
    compared = 0
    with Detector(shared / "models" / f"{name}.onnx", engine=engine, max_batch=1) as detector:
        for photo, wanted in reference.items():
            ours = list(detector.detect(shared / "photos" / photo, confidence=threshold))
            assert missed(wanted[key], ours) == [], photo
            assert invented(wanted[key], ours) == [], photo
            compared += len(wanted[key])
    assert compared > 25


@pytest.mark.parametrize("name", [pytest.param("yolov8n", marks=pytest.mark.soak), "yolox-nano"])
def test_shrinking_large_pictures_loses_nothing(
    shared: Path, photos: list[Path], name: str
) -> None:
    """The same objects in a JPEG, which is decoded to half its size, as in its pixels."""
    compared = 0
    with Detector(shared / "models" / f"{name}.onnx", max_batch=1) as detector:
        for photo in photos:
            image = decode(photo.read_bytes(), 10**7)
            scale = 3840 / max(image.shape)
            large = np.asarray(cv2.resize(image, None, fx=scale, fy=scale), np.uint8)
            data = encode_jpeg(large)
            height, width = large.shape[:2]
            assert surplus(width, height, detector.spec) > 1
            wanted = [
                {"label": found.label, "confidence": found.confidence, "bbox": found.bbox}
                for found in detector.detect(decode(data, width * height), confidence=0.25)
            ]
            shrunk = detector.detect(data, confidence=0.25)
            assert (shrunk.width, shrunk.height) == (width, height)
            assert missed(wanted, list(shrunk)) == [], photo
            assert invented(wanted, list(shrunk)) == [], photo
            compared += len(wanted)
    assert compared > 10


def test_a_fixed_input_size_too(shared: Path, tmp_path: Path) -> None:
    """The square form, as a network of fixed size sees it."""
    import onnx

    model = onnx.load(shared / "models" / "yolov8n.onnx")
    for dim, size in zip(
        model.graph.input[0].type.tensor_type.shape.dim, (1, 3, 640, 640), strict=True
    ):
        dim.dim_value = size
    onnx.save(model, tmp_path / "fixed.onnx")
    reference = json.loads((shared / "reference" / "yolov8n.json").read_text())
    with Detector(tmp_path / "fixed.onnx", max_batch=1) as detector:
        assert (detector.spec.dynamic, detector.spec.batch) == (False, 1)
        for photo, wanted in reference.items():
            ours = list(detector.detect(shared / "photos" / photo, confidence=0.25))
            assert missed(wanted["square"], ours) == [], photo
