"""Throughput of network, detector and service on this machine, to compare with each other.

All three are measured in each round, so that a temporary slowdown of the machine affects all; the
result is the median of the rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from sightline.bench.load import run
from sightline.bench.plan import BenchImage, Plan, parse_target
from sightline.bench.service import serve_command, served
from sightline.bench.stats import summarise
from sightline.engines.base import Engine
from sightline.engines.choose import open_engine
from sightline.errors import SightlineError
from sightline.serving.detector import Detector
from sightline.vision.decode import decode
from sightline.vision.letterbox import fit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sightline.settings import Settings
    from sightline.types import ModelSpec

THREADS = 8
"""Concurrent pictures, in this process and over HTTP."""

STEPS = (
    "the network alone",
    f"in this process, {THREADS} threads",
    f"over HTTP, {THREADS} clients",
)
"""Names of the measurements; each includes the work of the one before it."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One measurement.

    Attributes:
        name: one of `STEPS`.
        per_s: images per second in each round.
        share: of the first limit's median.
    """

    name: str
    per_s: tuple[float, ...]
    share: float

    @property
    def median(self) -> float:
        return median(self.per_s)


@dataclass(frozen=True, slots=True)
class InProcessLimits:
    """All measurements of one model.

    Attributes:
        model, engine, device, precision: of the detector.
        size: (width, height) of the tensor, pixels.
        limits: the network alone first.
    """

    model: str
    engine: str
    device: str
    precision: str
    size: tuple[int, int]
    limits: tuple[Limit, ...]


def measure(
    settings: Settings,
    pictures: tuple[BenchImage, ...],
    seconds: float,
    rounds: int,
    on_step: Callable[[str], None],
) -> InProcessLimits:
    """Measure the model that `settings` name, a file on this machine.

    Args:
        settings: model, engine, device.
        pictures: measured in turn; the network sees the first.
        seconds: per measurement, in each of `rounds`.
        on_step: called with the current step.

    Raises:
        ConfigError: the model cannot be loaded, or served.
        ImageError: a picture cannot be read.
    """
    with ExitStack() as stack:
        detector = stack.enter_context(
            Detector(_path(settings), engine=settings.engine, device=settings.device)
        )
        for picture in pictures:
            detector.detect(picture.data)
        tensor = fit(decode(pictures[0].data, settings.max_pixels), detector.spec)[0][None]
        engine = stack.enter_context(_own_engine(settings, detector.spec))
        on_step("starting the service")
        url = stack.enter_context(served(_command(settings)))
        plan = Plan(parse_target(url), pictures, THREADS, seconds, warm_up=min(1.0, seconds))
        steps: tuple[Callable[[], float], ...] = (
            partial(network_rate, engine, tensor, seconds),
            partial(detector_rate, detector, pictures, seconds),
            partial(_service_rate, plan),
        )
        found = _rounds(dict(zip(STEPS, steps, strict=True)), rounds, on_step)
    base = median(next(iter(found.values())))
    limits = (Limit(name, rates, median(rates) / base) for name, rates in found.items())
    runs = (detector.spec.name, detector.engine, detector.device, detector.precision)
    return InProcessLimits(*runs, (tensor.shape[2], tensor.shape[1]), tuple(limits))


def network_rate(engine: Engine, tensor: NDArray[np.uint8], seconds: float) -> float:
    """Images per second of `engine` on a prepared tensor, one at a time."""
    engine.infer(tensor)
    return _rate(lambda: engine.infer(tensor), seconds)


def detector_rate(
    detector: Detector, pictures: tuple[BenchImage, ...], seconds: float, threads: int = THREADS
) -> float:
    """Images per second of `detector` on compressed pictures, from `threads` threads."""

    def work(first: int) -> float:
        sources = _cycle(pictures, first)
        return _rate(lambda: detector.detect(next(sources)), seconds)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads)))


def _path(settings: Settings) -> Path | None:
    return None if settings.engine == "fake" else Path(settings.model or "").resolve()


def _command(settings: Settings) -> list[str]:
    """The command of a service with model, engine and device of `settings`, else defaults."""
    model = _path(settings)
    return serve_command(
        *("--engine", settings.engine),
        *("--device", settings.device),
        *("--data-dir", str(settings.data_dir.expanduser().resolve())),
        *(("--model", str(model)) if model else ()),
    )


@contextmanager
def _own_engine(settings: Settings, spec: ModelSpec) -> Iterator[Engine]:
    """An engine that no detector uses."""
    engine = open_engine(
        _path(settings) or Path(),
        spec,
        engine=settings.engine,
        device=settings.device,
    )
    try:
        yield engine
    finally:
        engine.close()


def _rounds(
    steps: dict[str, Callable[[], float]], rounds: int, on_step: Callable[[str], None]
) -> dict[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = dict.fromkeys(steps, ())
    for number in range(1, rounds + 1):
        for name, step in steps.items():
            on_step(f"round {number} of {rounds}: {name}")
            found[name] += (step(),)
    return found


def _service_rate(plan: Plan) -> float:
    """Images per second over HTTP.

    Raises:
        SightlineError: a request was not answered with 200, so the rate would be meaningless.
    """
    summary = summarise(run(plan)[0])
    if summary.stopped:
        raise KeyboardInterrupt
    if not summary.clean:
        endings = ", ".join(f"{end.status} {end.kind}" for end in summary.endings)
        raise SightlineError(f"the service did not answer every request with 200: {endings}")
    return summary.ok_per_s


def _rate(work: Callable[[], object], seconds: float) -> float:
    """Calls of `work` per second."""
    started = time.perf_counter()
    count = 0
    while (spent := time.perf_counter() - started) < seconds:
        work()
        count += 1
    return count / spent


def _cycle(pictures: tuple[BenchImage, ...], first: int) -> Iterator[bytes]:
    while True:
        yield pictures[first % len(pictures)].data
        first += 1
