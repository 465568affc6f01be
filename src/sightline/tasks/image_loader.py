"""Loads the bytes of claimed images, on its own threads."""

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
"""Most pictures that are fetched from other hosts at once."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds without fetches after storage failed
_MOST_HELD = 32 * 2**20  # compressed bytes in memory; one picture alone may be larger


class ImageLoader:
    """Reads blobs and fetches URLs. Slow hosts delay other fetches only."""

    def __init__(self, blobs: Blobs, fetch: Fetch, places: ObjectReader, seconds: float) -> None:
        """A loader that has nothing to do yet.

        Args:
            blobs: the uploaded pictures; fetched ones are stored there too.
            fetch: gets the bytes at an http(s) URL.
            places: reads URLs of other schemes.
            seconds: most seconds of one fetch.
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
        """Load the bytes of `claim` on a thread; call `take` with them, or `fail` with the error.

        The bytes count as held until `let_go`. If `take` raises, its error goes to `fail`, and
        nothing is held.
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
            except BaseException as error:  # noqa: BLE001  every claim must end
                fail(error)

        (self._fetchers if claim.blob is None else self._readers).submit(run)

    def let_go(self, size: int) -> None:
        """Release `size` bytes that `take` got."""
        with self._released:
            self._held -= size
            self._released.notify_all()

    def close(self) -> None:
        """Cancel all loads. Their claims fail, or get no callback at all."""
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
        """Store a fetched picture: boxes are drawn on it later, and its host may change it."""
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
    """Circuit breaker: stops fetches for a while after a picture could not be stored."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        self._reason = ""
        self._until = 0.0  # monotonic

    def require_closed(self) -> None:
        """Raises StorageUnavailable while the breaker is open."""
        left = self._until - monotonic()
        if left > 0:
            raise StorageUnavailable(self._reason, math.ceil(left))

    def trip(self, reason: str) -> int:
        """Open the breaker: a picture could not be stored. Returns the seconds until it closes."""
        with self._lock:
            now = monotonic()
            if now >= self._until:  # failures at the same time count as one
                self._reason, self._until = reason, now + self._backoff.fail()
            return math.ceil(self._until - now)

    def reset(self) -> None:
        """Close the breaker: a picture was stored."""
        with self._lock:
            self._backoff.reset()
            self._until = 0.0
