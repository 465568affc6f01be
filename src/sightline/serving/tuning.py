"""How many images an engine call should take, found by measuring."""

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

# A batch makes its first image wait for its last: for less than a tenth of the time it is not
# worth it.
_WORTH = 0.9
_CALLS = 3


def best_batch(engine: Engine, spec: ModelSpec, cache: EngineCache | None) -> int:
    """Most images a call: doubled from 1 for as long as an image then takes a tenth less time.

    Args:
        engine: not in use yet.
        spec: whose batch, where the model fixes it, is the answer.
        cache: where the answer is looked for and kept.
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
    best, pace = 1, _seconds(engine, spec, 1)
    while 2 * best <= engine.max_batch:
        seconds = _seconds(engine, spec, 2 * best)
        if seconds > _WORTH * pace:
            break
        best, pace = 2 * best, seconds
    return best


def _seconds(engine: Engine, spec: ModelSpec, batch: int) -> float:
    """What an image takes in a call of `batch`; for ever if the network does not take so many."""
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
