"""Tuning: measures the best batch size of an engine."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from sightline.errors import InferenceError
from sightline.machine import cores

if TYPE_CHECKING:
    from sightline.engines.base import Engine
    from sightline.engines.cache import EngineCache
    from sightline.types import ModelSpec

# In a batch, the first image waits for the last. That is worth it only if it saves at least a tenth
# of the time of an image.
_WORTH = 0.9
_CALLS = 3


def best_batch(engine: Engine, spec: ModelSpec, cache: EngineCache | None) -> int:
    """The best batch size: doubled from 1 while each image then takes at least a tenth less time.

    Args:
        engine: not in use by others.
        spec: of the model; a fixed batch size is the result.
        cache: stores the result.
    """
    if spec.batch:
        return spec.batch
    key = f"batch {engine.name} {engine.device} {engine.precision} {cores()}"
    if cache is not None and (kept := cache.load(key)) is not None:
        return min(int(kept), engine.max_batch)
    best = _measure(engine, spec)
    if cache is not None:
        cache.store(key, str(best).encode())
    return best


def _measure(engine: Engine, spec: ModelSpec) -> int:
    best, best_seconds = 1, _seconds(engine, spec, 1)
    while 2 * best <= engine.max_batch:
        seconds = _seconds(engine, spec, 2 * best)
        if seconds > _WORTH * best_seconds:
            break
        best, best_seconds = 2 * best, seconds
    return best


def _seconds(engine: Engine, spec: ModelSpec, batch: int) -> float:
    """Seconds of an image in a call of `batch` images; infinite if the network refuses them."""
    images = np.full((batch, *spec.input_size, 3), spec.pad, np.uint8)
    times = []
    try:
        for _ in range(1 + _CALLS):  # the first one of a shape is slower
            started = perf_counter()
            engine.infer(images, alone=engine.streams == 1)
            times.append(perf_counter() - started)
    except InferenceError:
        return float("inf")
    return min(times[1:]) / batch
