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

# Layers, as the plugins name them, that do nearly all of a network's work.
_WEIGHTED = {"Convolution", "Deconvolution", "FullyConnected", "MatMul"}


class OpenVINOEngine:
    """A network compiled by OpenVINO. See `engines.base.Engine`.

    On a CPU it is compiled twice (the weights are shared): for one call that takes all cores, and
    for as many calls at once as give the most images a second. There each has its own cores: two
    threads that work on one image wait for each other, and decoding and HTTP hold up both.
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
        self._alone.rest()
        self._shared.rest()

    def close(self) -> None:
        del self._alone, self._shared


class _Compiled:
    """A compiled network that any number of threads may call."""

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

    def rest(self) -> None:
        """Give back what calls so far have needed between layers; the next ask for it again."""
        self._idle.clear()
        self._network.release_memory()


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


def _compile(
    path: Path,
    spec: ModelSpec,
    target: str,
    properties: list[dict[str, Any]],
    cache: EngineCache | None,
) -> list[ov.CompiledModel]:
    """The network with each of `properties`.

    It is compiled once, and what that gave is read back for each: a network that was read back
    takes half the memory of one that was compiled, which holds on to what it was made from.
    """
    key = _cache_key(spec, target)
    made = None if cache is None else cache.load(key)
    if made is None:
        network = with_preprocessing(core().read_model(path), spec)
        made = core().compile_model(network, target, properties[0]).export_model().getvalue()
        del network
        if cache is not None:
            cache.store(key, made)
    return [core().import_model(io.BytesIO(made), target, one) for one in properties]


def _cache_key(spec: ModelSpec, target: str) -> str:
    """All that a compiled network depends on, but for the file that it comes from."""
    about = [
        core().get_property(target, name)
        for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
    ]
    prepared = (spec.dynamic, spec.input_size, spec.batch, spec.colour, spec.mean, spec.std)
    return repr((ov.get_version(), target, about, prepared))


def _properties(device: Device, hint: str) -> dict[str, Any]:
    properties: dict[str, Any] = {"PERFORMANCE_HINT": hint}
    if device.kind == "cpu":
        # OpenVINO picks bfloat16 by itself on CPUs that have it, and boxes move.
        properties["INFERENCE_PRECISION_HINT"] = "f32"
        # It heeds affinity, but not the quota of a container. 0 leaves the count to OpenVINO.
        properties["INFERENCE_NUM_THREADS"] = engine_threads()
        # A thread that is tied to its core waits there for decoders, HTTP, and other services.
        properties["ENABLE_CPU_PINNING"] = False
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
