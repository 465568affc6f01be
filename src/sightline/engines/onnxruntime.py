"""ONNX Runtime: CPU, and NVIDIA GPUs through CUDA or TensorRT.

Preprocessing is done by nodes inserted in front of the network's own, so that a GPU receives a
quarter of the bytes (uint8) and does the arithmetic itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from sightline.engines import devices
from sightline.errors import ConfigError, InferenceError, ModelError
from sightline.machine import engine_threads

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sightline.engines.base import Device
    from sightline.engines.cache import EngineCache
    from sightline.types import ModelSpec

_INPUT = "sightline_images"
_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_CPU_BATCH, _GPU_BATCH = 8, 32


class OnnxRuntimeEngine:
    """A network in an ONNX Runtime session. See `engines.base.Engine`."""

    name = "onnxruntime"
    streams = 1  # concurrent calls would share the session's one thread pool

    def __init__(
        self, path: Path, spec: ModelSpec, device: Device, cache: EngineCache | None
    ) -> None:
        """Open the ONNX file at `path` on `device`.

        Raises:
            ConfigError: the wheel or the machine lacks the device.
            ModelError: ONNX Runtime cannot read the file.
        """
        if path.suffix != ".onnx":
            raise ConfigError(f"engine onnxruntime reads .onnx files, not {path.name}")
        provider = _PROVIDERS[device.kind]
        _require_provider(provider, device)
        self.max_batch = spec.batch or (_CPU_BATCH if device.kind == "cpu" else _GPU_BATCH)
        options = _session_options(path)
        providers = _provider_chain(device, spec, self.max_batch, cache)
        try:
            model = onnx.load(path, load_external_data=False)
            precision = _precision(model, device)
            model = with_preprocessing(model, spec)
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers
            )
        except Exception as error:
            raise ModelError(f"ONNX Runtime cannot load {path}: {_first_line(error)}") from error
        _require_used(self._session, provider, device)
        self.device = str(device)
        self.precision = precision

    def infer(self, images: NDArray[np.uint8], *, alone: bool = True) -> list[NDArray[np.float32]]:
        del alone
        try:
            outputs = self._session.run(None, {_INPUT: images})
        except Exception as error:
            raise InferenceError(f"ONNX Runtime failed: {_first_line(error)}") from error
        return [np.asarray(output, np.float32) for output in outputs]

    def limit_batch(self, max_batch: int) -> None:
        self.max_batch = max_batch

    def close(self) -> None:
        del self._session


def with_preprocessing(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """Insert cast, colour, scale and layout nodes, in place, so that `model` takes uint8 NHWC BGR.

    All these operators exist, in this form, in every ONNX operator set.
    """
    graph = model.graph
    weights = {initializer.name for initializer in graph.initializer}
    old = next(value for value in graph.input if value.name not in weights)
    # The picture is BGR; mean and std are in the network's channel order, so they are reversed too.
    channels = slice(None, None, -1 if spec.colour == "rgb" else 1)
    constants: dict[str, NDArray[Any]] = {
        "sightline_mean": np.array(spec.mean, np.float32)[channels],
        "sightline_scale": 1 / np.array(spec.std, np.float32)[channels],
        "sightline_order": np.arange(3)[channels],
    }
    graph.initializer.extend(numpy_helper.from_array(v.copy(), k) for k, v in constants.items())
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Cast", [], {"to": TensorProto.FLOAT}),
        ("Sub", ["sightline_mean"], {}),
        ("Mul", ["sightline_scale"], {}),
        ("Gather", ["sightline_order"], {"axis": 3}),
        ("Transpose", [], {"perm": [0, 3, 1, 2]}),
        ("Cast", [], {"to": old.type.tensor_type.elem_type}),
    ]
    value, nodes = _INPUT, []
    for number, (operator, constant, attributes) in enumerate(steps, start=1):
        result = old.name if number == len(steps) else f"sightline_{number}"
        nodes.append(helper.make_node(operator, [value, *constant], [result], **attributes))
        value = result
    network = list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes + network)
    height, width = ("height", "width") if spec.dynamic else spec.input_size
    shape = [spec.batch or "batch", height, width, 3]
    graph.input.remove(old)
    graph.input.append(helper.make_tensor_value_info(_INPUT, TensorProto.UINT8, shape))
    return model


def _session_options(path: Path) -> Any:
    """Session options (https://onnxruntime.ai/docs/performance/tune-performance/threading.html)."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.parent)
    )
    if threads := engine_threads():
        # By default it starts and pins one thread per core of the machine, even on cores that
        # affinity excludes. Threads that spin while they wait would use up the container's quota.
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _provider_chain(
    device: Device, spec: ModelSpec, max_batch: int, cache: EngineCache | None
) -> list[tuple[str, dict[str, Any]]]:
    """Execution providers and their options (https://onnxruntime.ai/docs/execution-providers/)."""
    cpu: tuple[str, dict[str, Any]] = ("CPUExecutionProvider", {})
    if device.kind == "cpu":
        return [cpu]
    cuda: dict[str, Any] = {
        "device_id": device.index,
        # Exhaustive search would tune again for every new input shape.
        "cudnn_conv_algo_search": "HEURISTIC",
        "do_copy_in_default_stream": True,
    }
    if device.kind == "cuda":
        return [("CUDAExecutionProvider", cuda), cpu]
    tensorrt: dict[str, Any] = {"device_id": device.index, "trt_fp16_enable": True}
    if cache is not None:
        cache.folder.mkdir(parents=True, exist_ok=True)
        tensorrt |= {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(cache.folder),
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(cache.folder),
        }
    if spec.batch is None or spec.dynamic:
        tensorrt |= _tensorrt_profile(spec, max_batch)
    return [("TensorrtExecutionProvider", tensorrt), ("CUDAExecutionProvider", cuda), cpu]


def _tensorrt_profile(spec: ModelSpec, max_batch: int) -> dict[str, str]:
    """One profile for all shapes, so that TensorRT builds one engine and not one per shape."""
    height, width = spec.input_size
    small_h, small_w = (spec.stride, spec.stride) if spec.dynamic else spec.input_size
    least = spec.batch or 1
    return {
        "trt_profile_min_shapes": f"{_INPUT}:{least}x{small_h}x{small_w}x3",
        "trt_profile_opt_shapes": f"{_INPUT}:{least}x{height}x{width}x3",
        "trt_profile_max_shapes": f"{_INPUT}:{max_batch}x{height}x{width}x3",
    }


def _require_provider(provider: str, device: Device) -> None:
    if not devices.onnxruntime_has(provider):
        raise ConfigError(
            f"device {device} needs ONNX Runtime's GPU build, and the CPU build is installed: "
            "pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
        )
    if device.kind != "cpu" and devices.nvidia_gpus() <= device.index:
        raise ConfigError(
            f"device {device} is not there: the NVIDIA driver reports "
            f"{devices.nvidia_gpus()} GPU(s)"
        )
    if device.kind != "cpu":
        onnxruntime.preload_dlls()  # CUDA and cuDNN from the nvidia-* wheels, if they are installed


def _require_used(session: Any, provider: str, device: Device) -> None:
    """Raise ConfigError if ONNX Runtime has silently fallen back to another provider."""
    used = session.get_providers()
    if provider not in used:
        raise ConfigError(
            f"device {device} could not be started: ONNX Runtime fell back to {used[0]}. "
            "Check that CUDA, cuDNN (and TensorRT) libraries match this onnxruntime-gpu."
        )


def _precision(model: onnx.ModelProto, device: Device) -> str:
    """The precision of the weights; with TensorRT `fp16`, as it is configured."""
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return "int8"
    if device.kind == "tensorrt":
        return "fp16"
    kinds = [weight.data_type for weight in model.graph.initializer if len(weight.dims) > 1]
    return "fp16" if kinds and set(kinds) <= {TensorProto.FLOAT16} else "fp32"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
