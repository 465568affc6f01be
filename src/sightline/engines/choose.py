"""The choice of engine and device, and opening a network on them."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING

from sightline.engines import devices
from sightline.engines.base import Device, Engine
from sightline.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from sightline.engines.cache import EngineCache
    from sightline.settings import EngineName
    from sightline.types import ModelSpec

# Devices of each engine, its default first; `auto` tries the engines in this order.
_DEVICES: dict[EngineName, tuple[str, ...]] = {
    "openvino": ("cpu", "gpu"),
    "onnxruntime": ("cpu", "cuda", "tensorrt"),
    "fake": ("cpu",),
}

_CLASSES: dict[EngineName, str] = {
    "openvino": "OpenVINOEngine",
    "onnxruntime": "OnnxRuntimeEngine",
    "fake": "FakeEngine",
}


def open_engine(
    path: Path,
    spec: ModelSpec,
    *,
    engine: EngineName,
    device: str,
    cache: EngineCache | None = None,
) -> Engine:
    """Open the network at `path` on the selected engine and device.

    `auto` means: an NVIDIA device where ONNX Runtime can use one, else OpenVINO on the CPU.
    An explicit choice is opened or refused, never replaced.

    Args:
        path: `.onnx`, or OpenVINO `.xml`.
        spec: how its input is prepared inside the engine's own graph.
        engine: an engine's name or `auto`.
        device: `auto`, or a kind with an optional index (`cuda:1`).
        cache: of compiled networks; None for none.

    Raises:
        ConfigError: the engine or the device is unknown or not available.
        ModelError: the engine cannot read the file.
    """
    name, chosen = choose(path, engine, device)
    module = import_module(f"sightline.engines.{name}")
    opened: Engine = getattr(module, _CLASSES[name])(path, spec, chosen, cache)
    return opened


def choose(path: Path, engine: EngineName, device: str) -> tuple[EngineName, Device]:
    """Resolve `engine` and `device`, either of which may be `auto`, for the file at `path`.

    Raises:
        ConfigError: one is unknown, or the engine does not support the device.
    """
    wanted = None if device == "auto" else parse_device(device)
    if engine == "auto":
        engine = _engine_for(path, wanted)
    if wanted is None:
        return engine, _default_device(engine)
    if wanted.kind not in _DEVICES[engine]:
        offered = ", ".join(_DEVICES[engine])
        raise ConfigError(f"engine {engine} has no device '{wanted.kind}'; it offers: {offered}")
    return engine, wanted


def parse_device(text: str) -> Device:
    """Parse `cpu`, `cuda:1`, … into a Device.

    Raises:
        ConfigError: no engine knows such a device.
    """
    known = list(dict.fromkeys(kind for kinds in _DEVICES.values() for kind in kinds))
    found = re.fullmatch(r"([a-z]+)(?::(\d{1,2}))?", text.lower())
    if not found or found[1] not in known or (found[1] == "cpu" and found[2]):
        raise ConfigError(f"unknown device '{text}'; choose auto, {', '.join(known)} (or cuda:1)")
    return Device(found[1], int(found[2] or 0))


def _engine_for(path: Path, wanted: Device | None) -> EngineName:
    if path.suffix == ".xml":
        return "openvino"
    if wanted is None:
        return "onnxruntime" if _cuda_works() else "openvino"
    return next(name for name, kinds in _DEVICES.items() if wanted.kind in kinds)


def _default_device(engine: EngineName) -> Device:
    if engine == "onnxruntime" and _cuda_works():
        return Device("cuda")
    return Device(_DEVICES[engine][0])


def _cuda_works() -> bool:
    return devices.nvidia_gpus() > 0 and devices.onnxruntime_has("CUDAExecutionProvider")
