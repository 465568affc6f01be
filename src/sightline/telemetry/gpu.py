"""How busy the GPU is, as its driver tells."""

from __future__ import annotations

from typing import NamedTuple


class GpuUsage(NamedTuple):
    """Of one GPU: how much of the last moment it was busy (0..100), and memory in use."""

    percent: float
    memory_mb: float


def gpu_usage(index: int = 0) -> GpuUsage | None:
    """Of the NVIDIA GPU of that number; None where there is none, or its driver does not tell."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
        busy = pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu
        return GpuUsage(float(busy), pynvml.nvmlDeviceGetMemoryInfo(gpu).used / 2**20)
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()
