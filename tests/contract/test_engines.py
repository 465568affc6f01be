"""The one contract suite that every engine passes.

CONTRACT_DEVICES=cuda,tensorrt runs it on these devices of ONNX Runtime too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from sightline import ConfigError, InferenceError, ModelError, ModelSpec
from sightline.engines.base import Engine
from sightline.engines.choose import open_engine
from support import graphs

DEVICES = [
    name for name in os.environ.get("CONTRACT_DEVICES", "").split(",") if name not in {"", "cpu"}
]
REAL = ["openvino/cpu", "onnxruntime/cpu", *(f"onnxruntime/{device}" for device in DEVICES)]
ALL = [*REAL, "fake/cpu"]
FREE: graphs.Dims = ("batch", 3, "height", "width")


def spec(**changes: Any) -> ModelSpec:
    fields: dict[str, Any] = {
        "family": "end2end",
        "labels": ("a", "b"),
        "input_size": (64, 96),
        "dynamic": True,
    }
    return ModelSpec("m", **(fields | changes))


def opened(name: str, path: Path, wanted: ModelSpec) -> Engine:
    """`name` is an engine's and a device's."""
    engine: Any
    engine, _, device = name.partition("/")
    return open_engine(path, wanted, engine=engine, device=device)


def close_to(expected: Any, name: str, error: float) -> Any:
    """Equal but for rounding; TensorRT computes in half precision, 11 bits."""
    largest = float(np.abs(expected).max(initial=0))
    return pytest.approx(expected, abs=max(error, largest / 2**9 if "tensorrt" in name else 0))


def pictures(count: int, height: int = 64, width: int = 96) -> np.ndarray:
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.fixture(params=ALL)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine = opened(request.param, graphs.seeing_network(tmp_path / "m.onnx"), spec())
    yield engine
    engine.close()


def test_it_says_what_it_is(engine: Engine, request: pytest.FixtureRequest) -> None:
    wanted, _, device = request.node.callspec.params["engine"].partition("/")
    assert engine.name == wanted
    assert engine.device.removesuffix(":0") == device.removesuffix(":0")
    assert engine.precision == ("fp16" if device.startswith("tensorrt") else "fp32")
    assert engine.max_batch >= 1
    assert engine.streams >= 1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_outputs_belong_to_their_inputs(engine: Engine, count: int) -> None:
    images = pictures(count)
    together = engine.infer(images)
    assert [output.dtype for output in together] == [np.float32]
    assert [len(output) for output in together] == [count]
    for index in range(count):
        alone = engine.infer(images[index : index + 1])
        assert together[0][index] == close_to(alone[0][0], engine.device, 1e-4)


def test_answers_are_the_callers_own(engine: Engine) -> None:
    images = pictures(1)
    first = engine.infer(images)[0]
    kept = first.copy()
    engine.infer(np.zeros_like(images))
    assert (first == kept).all()


def test_calls_at_once_get_their_own_answers(engine: Engine) -> None:
    """As many as it has streams, some told that they are alone, in sizes that change."""
    expected = [engine.infer(pictures(1, 64, 32 * size))[0] for size in (1, 2, 3)]

    def call(number: int) -> bool:
        size = number % 3
        found = engine.infer(pictures(1, 64, 32 * (size + 1)), alone=number % 2 == 0)[0]
        return bool((np.abs(found - expected[size]) < 1e-4).all())

    with ThreadPoolExecutor(engine.streams) as threads:
        assert all(threads.map(call, range(60)))


def test_sizes_may_change_from_call_to_call(engine: Engine) -> None:
    for height, width in ((64, 96), (32, 32), (64, 96), (96, 64)):
        assert len(engine.infer(pictures(2, height, width))[0]) == 2


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize("dynamic", [True, False])
def test_the_network_gets_what_the_spec_says(
    name: str, colour: Any, dynamic: bool, tmp_path: Path
) -> None:
    """uint8 NHWC BGR in; the network sees (pixel - mean) / std, NCHW, in its own colour order."""
    image = FREE if dynamic else (1, 3, 64, 96)
    mean, std = (10.0, 20.0, 30.0), (2.0, 4.0, 8.0)
    wanted = spec(colour=colour, mean=mean, std=std, dynamic=dynamic, batch=None if dynamic else 1)
    engine = opened(name, graphs.echo_network(tmp_path / "m.onnx", image=image), wanted)
    pixels = pictures(1)
    ordered = pixels[..., ::-1] if colour == "rgb" else pixels
    expected = ((ordered - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2)
    assert engine.infer(pixels)[0] == close_to(expected, name, 1e-3)


@pytest.mark.parametrize("name", REAL)
def test_several_outputs_come_in_the_files_order(name: str, tmp_path: Path) -> None:
    outputs = {
        "logits": np.full((5, 3), 7, np.float32),
        "boxes": np.full((5, 4), 8, np.float32),
    }
    engine = opened(name, graphs.constant_network(tmp_path / "m.onnx", outputs), spec())
    first, second = engine.infer(pictures(2, 64, 64))
    assert (first.shape, second.shape) == ((2, 5, 3), (2, 5, 4))
    assert (first == 7).all()
    assert (second == 8).all()


@pytest.mark.parametrize("name", REAL)
def test_a_network_in_half_precision(name: str, tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Identity", ["images"], ["echo"])]
    half = onnx.TensorProto.FLOAT16
    infos = [onnx.helper.make_tensor_value_info(n, half, list(FREE)) for n in ("images", "echo")]
    graph = onnx.helper.make_graph(nodes, "half", infos[:1], infos[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "m.onnx")
    engine = opened(name, tmp_path / "m.onnx", spec(std=(1.0, 1.0, 1.0), colour="bgr"))
    output = engine.infer(pixels := pictures(1))[0]
    assert output.dtype == np.float32
    assert output == pytest.approx(pixels.transpose(0, 3, 1, 2), abs=0.2)


@pytest.mark.parametrize("name", REAL)
def test_weights_in_a_file_of_their_own(name: str, tmp_path: Path) -> None:
    outputs = {"out": np.arange(600, dtype=np.float32).reshape(100, 6)}
    path = graphs.constant_network(tmp_path / "m.onnx", outputs)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=100)
    assert (tmp_path / "m.data").is_file()
    engine = opened(name, path, spec())
    assert (engine.infer(pictures(1, 64, 64))[0][0] == outputs["out"]).all()


@pytest.mark.parametrize("name", REAL)
def test_a_file_it_cannot_read_is_a_model_error(name: str, tmp_path: Path) -> None:
    path = graphs.echo_network(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, path)
    with pytest.raises(ModelError, match="cannot load"):
        opened(name, path, spec())


@pytest.mark.parametrize("name", REAL)
def test_a_failed_run_leaves_it_usable(name: str, tmp_path: Path) -> None:
    path = graphs.seeing_network(tmp_path / "m.onnx", image=(1, 3, 64, 96))
    engine = opened(name, path, spec(dynamic=False, batch=1))
    with pytest.raises(InferenceError):
        engine.infer(pictures(1, 32, 32))
    assert engine.infer(pictures(1))[0].shape == (1, 1, 6)


def test_onnxruntime_reads_onnx_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"reads \.onnx files"):
        opened("onnxruntime/cpu", tmp_path / "m.xml", spec())


def test_openvino_names_what_it_sees(tmp_path: Path) -> None:
    path = graphs.seeing_network(tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match=r"does not see device GPU\.7"):
        open_engine(path, spec(), engine="openvino", device="gpu:7")
