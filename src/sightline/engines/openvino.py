"""OpenVINO: the default on CPUs. Reads ONNX and OpenVINO IR (.xml)."""

from __future__ import annotations

import io
from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov

from sightline.errors import ConfigError, InferenceError, ModelError
from sightline.machine import cores, engine_threads

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sightline.engines.base import Device
    from sightline.engines.cache import EngineCache
    from sightline.types import ModelSpec

_MOST_BATCH = 8

# Layer types, in the plugins' names, that do nearly all of a network's arithmetic.
_WEIGHTED = {"Convolution", "Deconvolution", "FullyConnected", "MatMul"}


class OpenVINOEngine:
    """A network compiled by OpenVINO. See `engines.base.Engine`.

    On a CPU it is compiled twice (the weights are shared): for latency, where one call uses all
    cores, and for throughput, where several calls run concurrently on cores of their own. Threads
    that share one image wait for each other, and decoding and HTTP delay all of them.
    """

    name = "openvino"
    max_batch: int

    def __init__(
        self, path: Path, spec: ModelSpec, device: Device, cache: EngineCache | None
    ) -> None:
        """Compile the network at `path` for `device`, or take it from `cache`.

        Raises:
            ConfigError: OpenVINO does not see the device.
            ModelError: OpenVINO cannot read or compile the file.
        """
        target = "CPU" if device.kind == "cpu" else f"GPU.{device.index}"
        _require_device(target)
        several = device.kind == "cpu" and cores() > 1
        hints = ("LATENCY", "THROUGHPUT") if several else ("LATENCY",)
        properties = [_properties(device, hint) for hint in hints]
        try:
            compiled = _compile(path, spec, target, properties, cache)
            self._alone, self._shared = _Compiled(compiled[0]), _Compiled(compiled[-1])
            self.streams = 1
            if several:
                self.streams = compiled[-1].get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load {path}: {_last_line(error)}") from error
        self.device = str(device)
        self.precision = _precision(compiled[0])
        self.max_batch = spec.batch or _MOST_BATCH

    def infer(self, images: NDArray[np.uint8], *, alone: bool = True) -> list[NDArray[np.float32]]:
        try:
            return (self._alone if alone else self._shared).infer(images)
        except RuntimeError as error:
            raise InferenceError(f"OpenVINO failed: {_last_line(error)}") from error

    def limit_batch(self, max_batch: int) -> None:
        self.max_batch = max_batch
        self._alone.release_memory()
        self._shared.release_memory()

    def close(self) -> None:
        del self._alone, self._shared


class _Compiled:
    """A compiled network. Any number of threads may call it."""

    def __init__(self, network: ov.CompiledModel) -> None:
        self._network = network
        self._idle: deque[ov.InferRequest] = deque()

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._network.create_infer_request()
        try:
            outputs = request.infer([images], share_inputs=True)
            return [np.asarray(outputs[port], np.float32) for port in self._network.outputs]
        finally:
            self._idle.append(request)

    def release_memory(self) -> None:
        """Free the buffers between layers; the next calls allocate them again."""
        self._idle.clear()
        self._network.release_memory()


@cache
def core() -> ov.Core:
    """The process's one OpenVINO core.

    It is never released: the CPU plugin gives the thread that loads it a signal stack and frees
    that stack on whichever thread unloads it; the next signal then crashes the process.
    """
    return ov.Core()


def _require_device(target: str) -> None:
    available = core().available_devices
    if target in available or (target == "GPU.0" and "GPU" in available):
        return
    raise ConfigError(
        f"OpenVINO does not see device {target} here; it sees: {', '.join(available)}. "
        "An Intel GPU needs its compute runtime installed."
    )


def _compile(
    path: Path,
    spec: ModelSpec,
    target: str,
    properties: list[dict[str, Any]],
    cache: EngineCache | None,
) -> list[ov.CompiledModel]:
    """The compiled network, once with each of `properties`.

    It is compiled once, exported, and imported for each: an imported network takes half the
    memory of a compiled one, which keeps the network that it was compiled from.
    """
    key = _cache_key(spec, target)
    compiled = None if cache is None else cache.load(key)
    if compiled is None:
        network = with_preprocessing(core().read_model(path), spec)
        compiled = core().compile_model(network, target, properties[0]).export_model().getvalue()
        del network
        if cache is not None:
            cache.store(key, compiled)
    return [core().import_model(io.BytesIO(compiled), target, one) for one in properties]


def _cache_key(spec: ModelSpec, target: str) -> str:
    """All that a compiled network depends on, except the model file."""
    about = [
        core().get_property(target, name)
        for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
    ]
    prepared = (spec.dynamic, spec.input_size, spec.batch, spec.colour, spec.mean, spec.std)
    return repr((ov.get_version(), target, about, prepared))


def _properties(device: Device, hint: str) -> dict[str, Any]:
    properties: dict[str, Any] = {"PERFORMANCE_HINT": hint}
    if device.kind == "cpu":
        # By default OpenVINO uses bfloat16 on CPUs that have it, which moves boxes.
        properties["INFERENCE_PRECISION_HINT"] = "f32"
        # It respects affinity, but not a container's quota. 0 leaves the count to OpenVINO.
        properties["INFERENCE_NUM_THREADS"] = engine_threads()
        # A pinned thread would wait for decoders, HTTP and other services on its core.
        properties["ENABLE_CPU_PINNING"] = False
    return properties


def with_preprocessing(network: ov.Model, spec: ModelSpec) -> ov.Model:
    """Add colour, scale and layout nodes, so that the network takes a uint8 NHWC BGR input."""
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
