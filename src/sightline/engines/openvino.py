"""OpenVINO: the default on CPUs. Reads ONNX and OpenVINO IR (.xml)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov

from sightline.errors import ConfigError, InferenceError, ModelError
from sightline.machine import engine_threads

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sightline.engines.base import Device
    from sightline.types import ModelSpec


# Layers, as the plugins name them, that do nearly all of a network's work.
_WEIGHTED = {"Convolution", "Deconvolution", "FullyConnected", "MatMul"}


class OpenVINOEngine:
    """A network compiled by OpenVINO. See `engines.base.Engine`."""

    name = "openvino"

    def __init__(self, path: Path, spec: ModelSpec, device: Device, cache_dir: Path) -> None:
        """Compile the network at `path` for `device`.

        Raises:
            ConfigError: OpenVINO does not see the device.
            ModelError: OpenVINO cannot read or compile the file.
        """
        del cache_dir  # ov.Core can cache too: worth it once start-up time is measured
        target = "CPU" if device.kind == "cpu" else f"GPU.{device.index}"
        _require_device(target)
        try:
            network = with_preprocessing(core().read_model(path), spec)
            self._compiled = core().compile_model(network, target, _properties(device))
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load {path}: {_last_line(error)}") from error
        self._request = self._compiled.create_infer_request()
        self.device = str(device)
        self.precision = _precision(self._compiled)
        # Measured on CPUs: a batch takes as long as its images one by one, and waits longer.
        self.max_batch = spec.batch or (1 if device.kind == "cpu" else 8)

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        try:
            outputs = self._request.infer([images], share_inputs=True)
        except RuntimeError as error:
            raise InferenceError(f"OpenVINO failed: {_last_line(error)}") from error
        return [np.asarray(outputs[port], np.float32) for port in self._compiled.outputs]

    def close(self) -> None:
        del self._request, self._compiled


@cache
def core() -> ov.Core:
    """The process's one OpenVINO core.

    It is kept to the end: the CPU plugin gives the thread that loads it a signal stack, and
    frees that on whichever thread unloads it; the next signal then crashes the process.
    """
    return ov.Core()


def _require_device(target: str) -> None:
    there = core().available_devices
    if target in there or (target == "GPU.0" and "GPU" in there):
        return
    raise ConfigError(
        f"OpenVINO does not see device {target} here; it sees: {', '.join(there)}. "
        "An Intel GPU needs its compute runtime installed."
    )


def _properties(device: Device) -> dict[str, Any]:
    properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if device.kind == "cpu":
        # OpenVINO picks bfloat16 by itself on CPUs that have it, and boxes move.
        properties["INFERENCE_PRECISION_HINT"] = "f32"
        # It heeds affinity, but not the quota of a container. 0 leaves the count to OpenVINO.
        properties["INFERENCE_NUM_THREADS"] = engine_threads()
    return properties


def with_preprocessing(network: ov.Model, spec: ModelSpec) -> ov.Model:
    """The network behind a uint8 NHWC BGR input: colour, scale and layout become graph nodes."""
    steps = ov.preprocess.PrePostProcessor(network)
    tensor = steps.input().tensor()
    height, width = (-1, -1) if spec.dynamic else spec.input_size
    tensor.set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    tensor.set_shape([spec.batch or -1, height, width, 3])
    tensor.set_color_format(ov.preprocess.ColorFormat.BGR)
    prepare = steps.input().preprocess().convert_element_type(ov.Type.f32)
    if spec.colour == "rgb":
        prepare.convert_color(ov.preprocess.ColorFormat.RGB)
    prepare.mean(list(spec.mean)).scale(list(spec.std))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    for index in range(len(network.outputs)):
        steps.output(index).tensor().set_element_type(ov.Type.f32)
    return steps.build()


def _precision(compiled: ov.CompiledModel) -> str:
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        if info["layerType"].astype(str) in _WEIGHTED and (
            info["runtimePrecision"].astype(str) in {"i8", "u8"}
        ):
            return "int8"
    hint = compiled.get_property("INFERENCE_PRECISION_HINT")
    return {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}.get(hint.to_string(), str(hint))


def _last_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
