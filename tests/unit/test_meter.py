"""The meter, on a clock of the test's own; and what a driver tells of a GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pynvml

from sightline.telemetry.gpu import gpu_usage
from sightline.telemetry.meter import Meter
from sightline.types import Timing

if TYPE_CHECKING:
    import pytest


def took(milliseconds: float) -> Timing:
    return Timing(0, 0, 0, 0, milliseconds)


def test_the_rate_is_that_of_the_last_whole_seconds() -> None:
    now = [100.5]
    meter = Meter(lambda: now[0])
    for _ in range(10):
        meter.note(took(20))
    assert meter.read().rate == 0  # the second is not over
    now[0] = 101
    assert meter.read().rate == 2
    now[0] = 105.9
    assert meter.read().rate == 2
    now[0] = 106
    assert meter.read().rate == 0


def test_latency_is_the_last_minutes() -> None:
    now = [0.0]
    meter = Meter(lambda: now[0])
    assert meter.read().latency_ms is None
    meter.note(took(100))
    now[0] = 50
    meter.note(took(20))
    assert meter.read().latency_ms == 60
    now[0] = 61
    assert meter.read().latency_ms == 20
    now[0] = 1000
    assert meter.read().latency_ms is None
    assert meter.read().images == 2


def test_failures_are_counted_apart() -> None:
    meter = Meter()
    meter.note(None)
    assert (meter.read().images, meter.read().failed) == (0, 1)


def test_what_a_gpu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    ended = []
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: ended.append(1))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    rates = SimpleNamespace(gpu=37)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", lambda _: rates)
    memory = SimpleNamespace(used=3 * 2**20)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda _: memory)
    assert gpu_usage() == (37, 3)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", refuse)
    assert gpu_usage() is None
    assert len(ended) == 2
    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    assert gpu_usage() is None
