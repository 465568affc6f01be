"""Which engine and device a request for one means: explicit is opened or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sightline import ConfigError, ModelSpec
from sightline.engines import devices
from sightline.engines.base import Device
from sightline.engines.cache import EngineCache
from sightline.engines.choose import choose, parse_device

ONNX, IR = Path("m.onnx"), Path("m.xml")


@pytest.mark.parametrize(
    ("path", "engine", "device", "chosen"),
    [
        (ONNX, "auto", "auto", ("openvino", Device("cpu"))),
        (ONNX, "auto", "cpu", ("openvino", Device("cpu"))),
        (ONNX, "auto", "gpu", ("openvino", Device("gpu"))),
        (ONNX, "auto", "cuda:1", ("onnxruntime", Device("cuda", 1))),
        (ONNX, "auto", "TensorRT", ("onnxruntime", Device("tensorrt"))),
        (ONNX, "onnxruntime", "auto", ("onnxruntime", Device("cpu"))),
        (IR, "auto", "auto", ("openvino", Device("cpu"))),
    ],
)
def test_what_is_chosen_without_a_gpu(
    path: Path, engine: Any, device: str, chosen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "nvidia_gpus", lambda: 0)
    assert choose(path, engine, device) == chosen


@pytest.mark.parametrize("engine", ["auto", "onnxruntime"])
def test_auto_takes_a_gpu_that_works(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "nvidia_gpus", lambda: 1)
    monkeypatch.setattr(devices, "onnxruntime_has", lambda _provider: True)
    assert choose(ONNX, engine, "auto") == ("onnxruntime", Device("cuda"))
    assert devices.gpu_available()


@pytest.mark.parametrize("name", ["banana", "", "cuda:", "cuda:x", "cpu:1", "cuda:123", "auto:1"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown device"):
        parse_device(name)


def test_pairs_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ConfigError, match="openvino has no device 'cuda'; it offers: cpu, gpu"):
        choose(ONNX, "openvino", "cuda")
    with pytest.raises(ConfigError, match="onnxruntime has no device 'gpu'"):
        choose(ONNX, "onnxruntime", "gpu")


def test_a_gpu_build_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.engines.onnxruntime import OnnxRuntimeEngine

    spec = ModelSpec("m", "yolov8", ("x",), (64, 64))
    with pytest.raises(ConfigError, match="onnxruntime-gpu"):
        OnnxRuntimeEngine(ONNX, spec, Device("cuda"), None)
    monkeypatch.setattr(devices, "onnxruntime_has", lambda _provider: True)
    monkeypatch.setattr(devices, "nvidia_gpus", lambda: 1)
    with pytest.raises(ConfigError, match=r"cuda:1 is not there.*1 GPU"):
        OnnxRuntimeEngine(ONNX, spec, Device("cuda", 1), None)


def test_tensorrt_options_are_the_documented_ones(tmp_path: Path) -> None:
    from sightline.engines.onnxruntime import _provider_chain

    spec = ModelSpec("m", "yolov8", ("x",), (640, 640), dynamic=True)
    chain = _provider_chain(Device("tensorrt", 1), spec, 8, EngineCache(tmp_path / "cache", "m"))
    assert [name for name, _ in chain] == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    options = chain[0][1]
    assert (options["device_id"], options["trt_fp16_enable"]) == (1, True)
    assert options["trt_engine_cache_path"] == str(tmp_path / "cache")
    assert options["trt_profile_min_shapes"] == "sightline_images:1x32x32x3"
    assert options["trt_profile_max_shapes"] == "sightline_images:8x640x640x3"
    assert (tmp_path / "cache").is_dir()
    assert [name for name, _ in _provider_chain(Device("cuda"), spec, 8, None)] == [
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]


def test_a_silent_fall_back_of_onnxruntime_is_an_error() -> None:
    from sightline.engines.onnxruntime import _require_used

    class Session:
        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    with pytest.raises(ConfigError, match="fell back to CPUExecutionProvider"):
        _require_used(Session(), "CUDAExecutionProvider", Device("cuda"))
