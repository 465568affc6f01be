"""When the requests of a load test are due, and what became of them."""

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
    """When requests are due, and what became of them."""

    def __init__(self, rate: float | None, seconds: float | None, most: int | None) -> None:
        self.record = RequestRecord()
        self._over = asyncio.Event()  # nothing more is begun
        self._dead = asyncio.Event()  # … not even what is due later
        self._rate = rate
        self._seconds = seconds
        self._most = most
        self._taken = 0
        self._started = self._contact = self._last = time.perf_counter()

    async def next(self) -> tuple[int, float] | None:
        """Wait for a turn.

        Returns:
            The next request's number and when it was due, in seconds; None if there is none.
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
            # This client was free in time: that the timer is late is not the service's doing.
            due = self._now()
        self._last = time.perf_counter()
        return index, due

    def answered(self, due: float, answer: HttpReply) -> None:
        self.heard()
        kind = "" if answer.status == 200 else problem_type(answer)
        self.note(due, RequestOutcome(answer.status, kind))

    def heard(self) -> None:
        """The service has answered something."""
        self._contact = time.perf_counter()

    def note(self, due: float, outcome: RequestOutcome) -> None:
        ended = self._now()
        self.record.add(ended, ended - due, outcome)

    async def heed(self, answer: HttpReply) -> None:
        """Wait as Retry-After says, but not beyond the end of the test."""
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
            self._over.set()  # timers are early at times: another request would be begun

    def give_up(self, why: str) -> None:
        """Begin nothing more; what is under way goes on."""
        self.record.gave_up = why
        self._over.set()
        self._dead.set()

    def silence(self) -> float:
        """Seconds since the last answer."""
        return time.perf_counter() - self._contact

    def close(self, *, stopped: bool) -> RequestRecord:
        """The record, complete: how long requests were begun, and which never were."""
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
        """Requests that are due before the phase ends."""
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
    """Seconds that the answer asks to wait: a number of them, or a date (RFC 9110, 10.2.3)."""
    text = answer.headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
