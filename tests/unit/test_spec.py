"""From a file to a ModelSpec, and a clear word where that is not possible."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sightline import ModelError
from sightline.models.labels import COCO80, COCO91
from sightline.models.spec import read_spec
from support import graphs

YOLOV8 = {"output0": np.zeros((6, 84), np.float32)}


def test_a_real_ultralytics_export_says_all(yolov8n: Path) -> None:
    spec = read_spec(yolov8n)
    assert (spec.family, spec.labels, spec.input_size) == ("yolov8", COCO80, (640, 640))
    assert (spec.dynamic, spec.stride, spec.batch) == (True, 32, None)
    assert (spec.colour, spec.std, spec.anchor) == ("rgb", (255, 255, 255), "center")


def test_a_real_yolox_export_is_known_by_its_shapes(shared: Path) -> None:
    spec = read_spec(shared / "models" / "yolox-nano.onnx")
    assert (spec.family, spec.labels, spec.input_size) == ("yolox", COCO80, (416, 416))
    assert (spec.dynamic, spec.batch) == (False, 1)
    assert (spec.colour, spec.std, spec.anchor) == ("bgr", (1, 1, 1), "top-left")


def test_shapes_left_open_are_inferred(tmp_path: Path) -> None:
    path = graphs.constant_network(
        tmp_path / "m.onnx", YOLOV8, image=("n", 3, "h", "w"), hide_shapes=True,
        metadata={"imgsz": "[64, 64]"},
    )  # fmt: skip
    assert read_spec(path).family == "yolov8"


def test_labels_from_metadata_defaults_or_numbers(tmp_path: Path) -> None:
    named = graphs.constant_network(
        tmp_path / "a.onnx", YOLOV8, metadata=graphs.names("cat", "dog")
    )
    assert read_spec(named).labels == ("cat", "dog")
    bare = graphs.constant_network(tmp_path / "b.onnx", YOLOV8)
    assert read_spec(bare).labels == ("class_0", "class_1")
    logits = {"dets": np.zeros((5, 4), np.float32), "labels": np.zeros((5, 91), np.float32)}
    assert read_spec(graphs.constant_network(tmp_path / "c.onnx", logits)).labels == COCO91


@pytest.mark.parametrize("name", ["model.toml", "m.toml"])
def test_model_toml_wins(tmp_path: Path, name: str) -> None:
    path = graphs.constant_network(tmp_path / "m.onnx", YOLOV8, metadata=graphs.names("a", "b"))
    (tmp_path / name).write_text(
        'family = "yolov8"\nlabels = ["cat", "dog"]\npad = 0\ncolour = "bgr"\nstd = [1, 1, 1]\n'
    )
    spec = read_spec(path)
    assert (spec.labels, spec.pad, spec.colour, spec.std) == (("cat", "dog"), 0, "bgr", (1, 1, 1))


def test_model_toml_says_what_shapes_cannot(tmp_path: Path) -> None:
    odd = {"out": np.zeros((7, 50), np.float32)}
    path = graphs.constant_network(tmp_path / "m.onnx", odd)
    with pytest.raises(ModelError, match=r"out\[\?,7,50\] fit no detection family"):
        read_spec(path)
    (tmp_path / "model.toml").write_text('family = "yolov8"\n')
    assert len(read_spec(path).labels) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('famly = "yolov8"', "'famly'.*keys are: family, labels"),
        ('family = "yolo99"', "'family'"),
        ("pad = 300", "'pad'"),
        ("family = ", "not readable TOML"),
        ('labels = ["only one"]', "2 classes, but 1 labels"),
        ('family = "yolox"', r"fits? no grid|are not of the yolox form|cannot be served"),
        ('family = "end2end"', r"are not of the end2end form \[N,rows,6\]"),
        ("input_size = [32, 32]", "is fixed"),
    ],
)
def test_a_wrong_model_toml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    outputs = {"out": np.zeros((6, 4), np.float32)} if "yolox" in text else YOLOV8
    path = graphs.constant_network(tmp_path / "m.onnx", outputs)
    (tmp_path / "model.toml").write_text(text)
    with pytest.raises(ModelError, match=message):
        read_spec(path)


def test_a_network_that_is_no_detector(tmp_path: Path) -> None:
    classifier = {"probabilities": np.zeros(1000, np.float32)}
    path = graphs.constant_network(tmp_path / "m.onnx", classifier)
    with pytest.raises(ModelError, match=r"probabilities\[\?,1000\] fit no detection family"):
        read_spec(path)


def test_a_network_for_another_task(tmp_path: Path) -> None:
    metadata = graphs.names("a", "b") | {"task": "segment"}
    path = graphs.constant_network(tmp_path / "m.onnx", YOLOV8, metadata=metadata)
    with pytest.raises(ModelError, match="for 'segment', not for detection"):
        read_spec(path)


def test_a_network_that_takes_no_picture(tmp_path: Path) -> None:
    path = graphs.constant_network(tmp_path / "m.onnx", YOLOV8, image=("batch", 1, 64, 64))
    with pytest.raises(ModelError, match=r"images\[\?,1,64,64\] is not a picture"):
        read_spec(path)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"not protobuf at all")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "junk.xml").write_text("<net>")
    (tmp_path / "no-net.xml").write_text("<net></net>")
    for name, message in {
        "junk.onnx": "not a readable ONNX",
        "empty.onnx": "not a readable ONNX",
        "junk.xml": "not a readable OpenVINO",
        "no-net.xml": "no outputs",
        "missing.onnx": "does not exist",
        "model.pt": "yolo export",
        "model.tflite": "no model that can be read",
    }.items():
        with pytest.raises(ModelError, match=message):
            read_spec(tmp_path / name)


def test_openvino_files_are_read_with_ultralytics_metadata(tmp_path: Path, yolov8n: Path) -> None:
    import openvino as ov

    folder = tmp_path / "yolov8n_openvino_model"
    path = folder / "yolov8n.xml"
    ov.save_model(ov.convert_model(yolov8n), path)
    (folder / "metadata.yaml").write_text("task: detect\nnames:\n  0: person\n  1: bicycle\n")
    with pytest.raises(ModelError, match="80 classes, but 2 labels"):
        read_spec(path)
    (folder / "metadata.yaml").unlink()
    spec = read_spec(path)
    assert (spec.family, spec.labels, spec.dynamic) == ("yolov8", COCO80, True)
    shutil.move(folder / "yolov8n.bin", folder / "elsewhere.bin")
    with pytest.raises(ModelError, match=r"needs its weights beside it: yolov8n\.bin"):
        read_spec(path)
