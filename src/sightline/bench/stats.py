"""Statistics of a load test's record: rates, percentiles, course over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sightline.bench.record import RequestRecord

PERCENTS = (50.0, 90.0, 95.0, 99.0)
_CURVE = (0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 99.999)
_MOST_SLICES = 40
_LEAST_IN_SLICE = 10  # requests per slice, on average: with fewer the chart is noise
_MOST_BARS = 32


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies of requests that were answered with 200: mean and percentiles, ms.

    Percentiles are nearest-rank; all are None if there were no such requests.
    """

    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class Ending:
    """Requests with one outcome: a status and problem type, or (status 0) an error."""

    status: int
    kind: str
    count: int
    p50_ms: float


@dataclass(frozen=True, slots=True)
class Slice:
    """A time slice of the test: `at_s` is its middle; latencies are of answers with 200."""

    at_s: float
    ok_per_s: float
    failed_per_s: float
    p50_ms: float | None
    p95_ms: float | None
    max_ms: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The results of a load test.

    Attributes:
        sent: requests started; answered + errors + unfinished.
        answered: answered with any status.
        ok: answered with 200.
        errors: ended without an answer.
        unfinished: cut off when the test was stopped.
        unsent: due at the given rate but never sent, since every client was busy.
        seconds: from the first request to the last answer, or to the end of the test.
        sending_s: seconds in which requests were sent.
        ok_per_s: answers with 200 per second.
        images_per_min: the same per minute: a request carries one image.
        latency: of answers with 200.
        endings: all outcomes, the most frequent first.
        bytes_sent, bytes_received: heads included.
        waits, waited_s: how often clients heeded Retry-After, and for how long in total.
        client_cpu: share of one core that the load generator took.
        gave_up: why the test ended early; "" if it did not.
        stopped: whether it was stopped by a signal.
        slices: the course of the test, in slices of equal length.
        histogram: (from ms, to ms, count) of latencies; the last bar holds all above.
        curve: (per cent, ms): latency by percentile.
    """

    sent: int
    answered: int
    ok: int
    errors: int
    unfinished: int
    unsent: int
    seconds: float
    sending_s: float
    ok_per_s: float
    images_per_min: float
    latency: Latency
    endings: tuple[Ending, ...]
    bytes_sent: int
    bytes_received: int
    waits: int
    waited_s: float
    client_cpu: float
    gave_up: str
    stopped: bool
    slices: tuple[Slice, ...]
    histogram: tuple[tuple[float, float, int], ...]
    curve: tuple[tuple[float, float], ...]

    @property
    def clean(self) -> bool:
        """Whether every request was sent, and all that ended were answered with 200."""
        return self.sent > 0 and self.ok + self.unfinished == self.sent and not self.unsent


def percentile(values: NDArray[np.float64], percent: float) -> float | None:
    """The smallest of `values` that at least `percent` per cent do not exceed; None of none."""
    if not values.size:
        return None
    return float(np.percentile(values, percent, method="inverted_cdf"))


def summarise(record: RequestRecord) -> Summary:
    """Compute the statistics of a record."""
    ended = np.array(record.ended)
    took = np.array(record.took) * 1000
    outcomes = np.array(record.outcomes)
    endings = _endings(record, took, outcomes)
    answered = sum(ending.count for ending in endings if ending.status)
    statuses = np.zeros(len(record.kinds) + 1, int)  # one more, as there may be none
    statuses[: len(record.kinds)] = [outcome.status for outcome in record.kinds]
    status = statuses[outcomes] if outcomes.size else np.empty(0, int)
    fine = status == 200
    ok = int(fine.sum())
    seconds = max(record.sending, float(ended[status > 0].max(initial=0.0)))
    rate = ok / seconds if seconds else 0.0
    return Summary(
        sent=record.sent,
        answered=answered,
        ok=ok,
        errors=len(ended) - answered,
        unfinished=record.unfinished,
        unsent=record.unsent,
        seconds=seconds,
        sending_s=record.sending,
        ok_per_s=rate,
        images_per_min=rate * 60,
        latency=latency_of(took[fine]),
        endings=endings,
        bytes_sent=record.bytes_sent,
        bytes_received=record.bytes_received,
        waits=record.waits,
        waited_s=record.waited,
        client_cpu=record.cpu / seconds if seconds else 0.0,
        gave_up=record.gave_up,
        stopped=record.stopped,
        slices=_slices(ended, took, fine, seconds),
        histogram=_histogram(took[fine]),
        curve=_curve(took[fine]),
    )


def latency_of(took: NDArray[np.float64]) -> Latency:
    """Mean and percentiles of times in ms."""
    mean = float(took.mean()) if took.size else None
    return Latency(mean, *(percentile(took, percent) for percent in (*PERCENTS, 100.0)))


def _endings(
    record: RequestRecord, took: NDArray[np.float64], outcomes: NDArray[np.uint16]
) -> tuple[Ending, ...]:
    endings = []
    for outcome, index in record.kinds.items():
        of_it = took[outcomes == index]
        endings.append(Ending(*outcome, len(of_it), percentile(of_it, 50) or 0.0))
    return tuple(sorted(endings, key=lambda ending: -ending.count))


def _slices(
    ended: NDArray[np.float64], took: NDArray[np.float64], fine: NDArray[np.bool_], seconds: float
) -> tuple[Slice, ...]:
    if not (ended.size and seconds):
        return ()
    count = min(_MOST_SLICES, max(1, ended.size // _LEAST_IN_SLICE))
    width = seconds / count
    # Requests that timed out after the end belong to the last slice.
    place = np.minimum((ended / width).astype(int), count - 1)
    slices = []
    for index in range(count):
        here = place == index
        good = took[here & fine]
        slices.append(
            Slice(
                (index + 0.5) * width,
                len(good) / width,
                (int(here.sum()) - len(good)) / width,
                *(percentile(good, percent) for percent in (50, 95, 100)),
            )
        )
    return tuple(slices)


def _histogram(took: NDArray[np.float64]) -> tuple[tuple[float, float, int], ...]:
    """Bars from the fastest request to the start of the tail: outliers would flatten them."""
    if not took.size:
        return ()
    low, top = float(took.min()), float(took.max())
    middle, p90 = percentile(took, 50) or 0.0, percentile(took, 90) or 0.0
    high = min(top, middle + 5 * (p90 - middle)) if p90 > middle else top
    if high == low:
        return ((low, high, len(took)),)
    counts, edges = np.histogram(
        np.minimum(took, high), bins=min(_MOST_BARS, 4 + len(took) // 8), range=(low, high)
    )
    edges[-1] = top
    bars = zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    return tuple(bars)


def _curve(took: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """Percentiles for which there are enough requests: 99.9 % needs a thousand."""
    points = [percent for percent in _CURVE if (100 - percent) / 100 * took.size >= 1]
    return tuple((percent, percentile(took, percent) or 0.0) for percent in points)
