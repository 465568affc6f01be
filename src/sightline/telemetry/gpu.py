"""GPU usage, as reported by the driver."""

from __future__ import annotations

from typing import NamedTuple


class GpuUsage(NamedTuple):
    """Usage of one GPU: share of recent time that it was busy (0..100), and used memory (MiB)."""

    percent: float
    memory_mb: float


def gpu_usage(index: int = 0) -> GpuUsage | None:
    """Usage of NVIDIA GPU `index`; None where there is none, or the driver does not report it."""
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
