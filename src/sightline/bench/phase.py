"""A phase of a load test: schedules requests and records their outcomes."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from email.utils import parsedate_to_datetime

from sightline.bench.answers import problem_type
from sightline.bench.client import HttpReply
from sightline.bench.record import RequestOutcome, RequestRecord


class Phase:
    """Schedules the requests of one phase, and records their outcomes."""

    def __init__(self, rate: float | None, seconds: float | None, most: int | None) -> None:
        self.record = RequestRecord()
        self._over = asyncio.Event()  # no more requests are scheduled
        self._dead = asyncio.Event()  # … and scheduled ones are dropped
        self._rate = rate
        self._seconds = seconds
        self._most = most
        self._taken = 0
        self._started = self._contact = self._last = time.perf_counter()

    async def next(self) -> tuple[int, float] | None:
        """Wait until the next request is due.

        Returns:
            Its number, and when it was due, in seconds; None if there are no more.
        """
        now = self._now()
        due = self._taken / self._rate if self._rate else now
        late = self._seconds is not None and max(now, due) >= self._seconds
        if late or self._over.is_set():
            self._over.set()
            return None
        index = self._taken
        self._taken += 1
        if self._taken == self._most:
            self._over.set()
        if due > now:
            if await _set_within(self._dead, due - now):
                return None
            # This client was free in time: a late timer must not count against the service.
            due = self._now()
        self._last = time.perf_counter()
        return index, due

    def answered(self, due: float, answer: HttpReply) -> None:
        self.heard()
        kind = "" if answer.status == 200 else problem_type(answer)
        self.note(due, RequestOutcome(answer.status, kind))

    def heard(self) -> None:
        """Record that the service has answered."""
        self._contact = time.perf_counter()

    def note(self, due: float, outcome: RequestOutcome) -> None:
        ended = self._now()
        self.record.add(ended, ended - due, outcome)

    async def heed(self, answer: HttpReply) -> None:
        """Wait for Retry-After, but not beyond the end of the test."""
        seconds = retry_after(answer)
        if seconds is None or answer.status not in {429, 503} or self._over.is_set():
            return
        self.record.waits += 1
        started = time.perf_counter()
        try:
            await self.pause(seconds)
        finally:
            self.record.waited += time.perf_counter() - started

    async def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the test."""
        left = math.inf if self._seconds is None else self._seconds - self._now()
        await _set_within(self._over, min(seconds, left))
        if seconds >= left:
            self._over.set()  # a timer may fire early, and another request would be sent

    def give_up(self, why: str) -> None:
        """Send no more requests; those in flight continue."""
        self.record.gave_up = why
        self._over.set()
        self._dead.set()

    def silence(self) -> float:
        """Seconds since the last answer."""
        return time.perf_counter() - self._contact

    def close(self, *, stopped: bool) -> RequestRecord:
        """Complete the record: how long requests were sent, and how many never were."""
        record = self.record
        record.stopped = stopped
        whole = self._seconds is not None and not (stopped or record.gave_up)
        if whole and self._rate:
            record.unsent = max(0, self._arrivals() - self._taken)
        if stopped:
            record.sending = self._now()
        elif whole and self._taken != self._most:
            record.sending = self._seconds or 0.0
        else:
            record.sending = self._last - self._started
        return record

    def _arrivals(self) -> int:
        """Number of requests that are due before the phase ends."""
        rate, seconds = self._rate or 0.0, self._seconds or 0.0
        count = math.ceil(rate * seconds)
        while count and (count - 1) / rate >= seconds:  # rounding
            count -= 1
        return count if self._most is None else min(count, self._most)

    def _now(self) -> float:
        return time.perf_counter() - self._started


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def retry_after(answer: HttpReply) -> float | None:
    """Seconds of Retry-After, which may be a date too (RFC 9110, 10.2.3); None without one."""
    text = answer.headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
