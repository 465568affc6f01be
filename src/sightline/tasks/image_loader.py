"""Gets the bytes of the images that tasks consist of, on threads of its own."""

from __future__ import annotations

import math
import threading
from time import monotonic
from typing import TYPE_CHECKING, TypeAlias

from sightline.backoff import Backoff
from sightline.errors import StorageUnavailable
from sightline.net.fetch import is_url
from sightline.threads import BLOB_READERS, TASK_FETCHES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sightline.storage.blobs import Blobs
    from sightline.tasks.object_reader import ObjectReader
    from sightline.tasks.task import Claim

    Fetch: TypeAlias = Callable[[str, float, threading.Event | None], bytes]
    Take: TypeAlias = Callable[[bytes], None]
    Fail: TypeAlias = Callable[[BaseException], None]

FETCHING = TASK_FETCHES.count
"""Pictures that are fetched from other hosts at once."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds without fetching, after storage failed
_MOST_HELD = 32 * 2**20  # compressed bytes in memory, but for one picture alone


class ImageLoader:
    """Reads blobs, and fetches addresses; slow hosts hold up nobody but each other."""

    def __init__(self, blobs: Blobs, fetch: Fetch, places: ObjectReader, seconds: float) -> None:
        """Start nothing yet.

        Args:
            blobs: hold what was uploaded.
            fetch: gets what lies at an http(s) address.
            places: hold what is named otherwise.
            seconds: that fetching one may take.
        """
        self._blobs = blobs
        self._fetch = fetch
        self._places = places
        self._seconds = seconds
        self._gone = threading.Event()
        self._breaker = _CircuitBreaker()
        self._held = 0
        self._released = threading.Condition()
        self._readers = BLOB_READERS.pool()
        self._fetchers = TASK_FETCHES.pool()

    def get(self, claim: Claim, take: Take, fail: Fail) -> None:
        """Have the bytes of `claim` given to `take`, or what is wrong to `fail`, on a thread.

        They count as held until `let_go` is told, unless `take` raises: that goes to `fail`.
        """

        def run() -> None:
            try:
                data = self._read(claim)
                self._hold(len(data))
                try:
                    take(data)
                except BaseException:
                    self.let_go(len(data))
                    raise
            except BaseException as error:  # noqa: BLE001  whatever it is, a claim has to end
                fail(error)

        (self._fetchers if claim.blob is None else self._readers).submit(run)

    def let_go(self, size: int) -> None:
        """`size` bytes that were taken are not in memory any more."""
        with self._released:
            self._held -= size
            self._released.notify_all()

    def close(self) -> None:
        """Give up what is being fetched; its claims fail or are never heard of again."""
        self._gone.set()
        with self._released:
            self._released.notify_all()
        for pool in (self._readers, self._fetchers):
            pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, claim: Claim) -> bytes:
        if claim.blob is not None:
            return self._blobs.read(claim.blob)
        self._breaker.require_closed()
        url = claim.url or ""
        if is_url(url):
            data = self._fetch(url, self._seconds, self._gone)
        else:
            data = self._places.read(url)
        self._keep(f"{claim.task_id}/{claim.index}", data)
        return data

    def _keep(self, key: str, data: bytes) -> None:
        """What was fetched is what will be drawn on: its host may give another the next time."""
        try:
            blob = self._blobs.create(key)
            try:
                blob.write(data)
                blob.finish()
            finally:
                blob.abort()
        except StorageUnavailable as error:
            raise StorageUnavailable(error.reason, self._breaker.trip(error.reason)) from error
        self._breaker.reset()

    def _hold(self, size: int) -> None:
        with self._released:
            self._released.wait_for(
                lambda: not self._held or self._held + size <= _MOST_HELD or self._gone.is_set()
            )
            self._held += size


class _CircuitBreaker:
    """Circuit breaker: after a picture could not be kept, none is fetched for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        self._reason = ""
        self._until = 0.0  # monotonic

    def require_closed(self) -> None:
        """Raises StorageUnavailable while nothing is to be fetched."""
        left = self._until - monotonic()
        if left > 0:
            raise StorageUnavailable(self._reason, math.ceil(left))

    def trip(self, reason: str) -> int:
        """A picture could not be kept; returns in how many seconds the next may be fetched."""
        with self._lock:
            now = monotonic()
            if now >= self._until:  # those that were fetched at the same time count as one
                self._reason, self._until = reason, now + self._backoff.fail()
            return math.ceil(self._until - now)

    def reset(self) -> None:
        """A picture was kept."""
        with self._lock:
            self._backoff.reset()
            self._until = 0.0
