"""How near the service is to what this machine can do: the network, the detector, the service.

Each is measured in every round, one after the other, so that a machine that is slow for a while
is slow for all; the median of the rounds counts.
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
from sightline.engines.base import Engine, open_engine
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
"""Pictures under way at once, in this process and over HTTP."""

STEPS = (
    "the network alone",
    f"in this process, {THREADS} threads",
    f"over HTTP, {THREADS} clients",
)
"""What is measured, each with all that the one before it does."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that was measured.

    Attributes:
        name: what it is.
        per_s: images a second in each round.
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
    """What was measured on one model, from the widest limit to the service.

    Attributes:
        model, engine, device, precision: what ran.
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
    tell: Callable[[str], None],
) -> InProcessLimits:
    """Measure the model that `settings` name, a file on this machine.

    Args:
        settings: model, engine, device.
        pictures: measured in turn; the network sees the first.
        seconds: for each figure in each of `rounds`.
        tell: told what is being measured.

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
        engine = stack.enter_context(_alone(settings, detector.spec))
        tell("starting the service")
        url = stack.enter_context(served(_command(settings)))
        plan = Plan(parse_target(url), pictures, THREADS, seconds, warm_up=min(1.0, seconds))
        steps: tuple[Callable[[], float], ...] = (
            partial(network_rate, engine, tensor, seconds),
            partial(detector_rate, detector, pictures, seconds),
            partial(_service_rate, plan),
        )
        found = _rounds(dict(zip(STEPS, steps, strict=True)), rounds, tell)
    base = median(next(iter(found.values())))
    limits = (Limit(name, rates, median(rates) / base) for name, rates in found.items())
    runs = (detector.spec.name, detector.engine, detector.device, detector.precision)
    return InProcessLimits(*runs, (tensor.shape[2], tensor.shape[1]), tuple(limits))


def network_rate(engine: Engine, tensor: NDArray[np.uint8], seconds: float) -> float:
    """Images a second of `engine` on a ready tensor, one at a time."""
    engine.infer(tensor)
    return _counted(lambda: engine.infer(tensor), seconds)


def detector_rate(
    detector: Detector, pictures: tuple[BenchImage, ...], seconds: float, threads: int = THREADS
) -> float:
    """Images a second of `detector` on compressed pictures, from so many threads."""

    def work(first: int) -> float:
        turns = _turns(pictures, first)
        return _counted(lambda: detector.detect(next(turns)), seconds)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads)))


def _path(settings: Settings) -> Path | None:
    return None if settings.engine == "fake" else Path(settings.model or "").resolve()


def _command(settings: Settings) -> list[str]:
    """The service as `settings` have it, all else as it comes."""
    model = _path(settings)
    return serve_command(
        *("--engine", settings.engine),
        *("--device", settings.device),
        *("--data-dir", str(settings.data_dir.expanduser().resolve())),
        *(("--model", str(model)) if model else ()),
    )


@contextmanager
def _alone(settings: Settings, spec: ModelSpec) -> Iterator[Engine]:
    """An engine of its own, that nobody else runs."""
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
    steps: dict[str, Callable[[], float]], rounds: int, tell: Callable[[str], None]
) -> dict[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = dict.fromkeys(steps, ())
    for number in range(1, rounds + 1):
        for name, step in steps.items():
            tell(f"round {number} of {rounds}: {name}")
            found[name] += (step(),)
    return found


def _service_rate(plan: Plan) -> float:
    """Images a second over HTTP.

    Raises:
        SightlineError: not every request was answered with 200: the rate would mean nothing.
    """
    summary = summarise(run(plan)[0])
    if summary.stopped:
        raise KeyboardInterrupt
    if not summary.clean:
        endings = ", ".join(f"{end.status} {end.kind}" for end in summary.endings)
        raise SightlineError(f"the service did not answer every request with 200: {endings}")
    return summary.ok_per_s


def _counted(work: Callable[[], object], seconds: float) -> float:
    """How often a second `work` is done."""
    started = time.perf_counter()
    count = 0
    while (spent := time.perf_counter() - started) < seconds:
        work()
        count += 1
    return count / spent


def _turns(pictures: tuple[BenchImage, ...], first: int) -> Iterator[bytes]:
    while True:
        yield pictures[first % len(pictures)].data
        first += 1
