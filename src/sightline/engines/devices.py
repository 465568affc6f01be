"""Accelerators of this machine, as their drivers report them."""

from __future__ import annotations


def nvidia_gpus() -> int:
    """Number of NVIDIA GPUs that the driver reports; 0 where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()


def onnxruntime_has(provider: str) -> bool:
    """Whether the installed ONNX Runtime wheel was built with `provider`."""
    import onnxruntime

    return provider in onnxruntime.get_available_providers()


def gpu_available() -> bool:
    """Whether there is a GPU that one of the engines could use."""
    if nvidia_gpus() and onnxruntime_has("CUDAExecutionProvider"):
        return True
    from sightline.engines.openvino import core

    return any(name.startswith("GPU") for name in core().available_devices)
