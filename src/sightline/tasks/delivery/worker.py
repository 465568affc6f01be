"""Delivery worker: sends callbacks until the receiver accepts them, for about a day.

Each call has its own thread. The number of threads is limited, in all and for each host, so that a
slow host does not delay the others. A call that was in flight when its process died is sent again
with the same id: delivery is at least once, and receivers can detect duplicates.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from sightline.errors import StorageUnavailable, TryLater
from sightline.net.webhooks import CallFailed, Reply
from sightline.tasks.delivery.outbox import LONGEST_PAUSE
from sightline.tasks.task import CallbackState, Delivery
from sightline.threads import CALLBACKS, DELIVERY

if TYPE_CHECKING:
    from sightline.tasks.delivery.outbox import Call, Outbox

SCHEDULE = (5.0, 15.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 18_000.0, 28_800.0, 28_800.0)
"""Seconds from each failed attempt to the next: eleven attempts in 23.6 hours."""

Post: TypeAlias = Callable[[str, str, bytes], Reply]
"""(URL, id, body) -> reply; as `net.webhooks.WebhookSender.post`."""

_PER_HOST = 2
_LOOK_EVERY = 5.0  # seconds; other processes do not announce new calls
_MIN_INTERVAL = 0.5  # seconds between looks, even if it is woken more often
_SWEEP_EVERY = 3600.0
_JITTER = 0.1

_log = logging.getLogger("sightline")


class DeliveryWorker:
    """Sends due callbacks, on its own threads, in one process of a service."""

    def __init__(
        self,
        outbox: Outbox,
        post: Post,
        schedule: tuple[float, ...] = SCHEDULE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._post = post
        self._schedule = schedule
        self._clock = clock
        self._active: Counter[str] = Counter()
        self._changed = threading.Condition()  # of _active
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._swept = 0.0
        self._thread = DELIVERY.make(self._run)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look for due calls soon. From any thread; does not block."""
        self._wake.set()

    def stop(self, seconds: float = 3.0) -> None:
        """Start no more calls, and wait for those in flight, at most `seconds` for each step.

        Unfinished calls may have reached their receivers. The next process sends them again.
        """
        self._stopped.set()
        self._wake.set()
        self._thread.join(seconds)
        with self._changed:
            self._changed.wait_for(lambda: not self._active.total(), seconds)

    def _run(self) -> None:
        away = False
        while not self._stopped.is_set():
            self._wake.clear()
            began, pause = False, _LOOK_EVERY
            try:
                began, pause = self._begin_what_is_due()
                away = False
            except StorageUnavailable as error:
                if not away:
                    _log.warning("callbacks wait: %s", error.reason)
                away = True
            except Exception:  # noqa: BLE001  the thread must go on
                _log.exception("looking for callbacks that are due failed")
            self._wake.wait(pause)
            if not began:
                self._stopped.wait(_MIN_INTERVAL)

    def _begin_what_is_due(self) -> tuple[bool, float]:
        """Start the due calls; returns whether there were any, and seconds until the next look."""
        began = False
        if time.monotonic() - self._swept > _SWEEP_EVERY:
            self._outbox.sweep()
            self._swept = time.monotonic()
        while not self._stopped.is_set():
            with self._changed:
                busy = [host for host, count in self._active.items() if count >= _PER_HOST]
                if self._active.total() >= CALLBACKS.count:
                    return began, _LOOK_EVERY
            due = self._outbox.next_due(busy)
            if due is None or due > 0:
                return began, min(_LOOK_EVERY, due or _LOOK_EVERY)
            call = self._outbox.claim(busy)
            if call is None:  # another process was faster
                break
            with self._changed:
                self._active[call.host] += 1
            began = True
            CALLBACKS.start(self._make, call)
        return began, 0.0

    def _make(self, call: Call) -> None:
        try:
            self._record(call, *self._attempt(call))
        except StorageUnavailable as error:
            # The call is sent again after its lease: delivery is at least once.
            _log.warning("what came of callback %s cannot be kept: %s", call.id, error)
        finally:
            with self._changed:
                self._active[call.host] -= 1
                self._active += Counter()  # drops hosts with no calls
                self._changed.notify_all()
            self._wake.set()

    def _attempt(self, call: Call) -> tuple[Reply | None, str | None, float]:
        """The reply, the error, and the least seconds until the next attempt."""
        try:
            reply = self._post(call.url, call.id, call.body)
        except CallFailed as error:
            return None, str(error), 0.0
        except TryLater as error:
            return None, None, float(error.retry_after)
        except Exception:  # noqa: BLE001  counts as an attempt, so that attempts end
            _log.exception("callback %s failed", call.id)
            return None, "the service failed at it", 0.0
        why = None if reply.accepted else f"answered {reply.status}"
        return reply, why, min(reply.retry_after or 0.0, LONGEST_PAUSE)

    def _record(self, call: Call, reply: Reply | None, error: str | None, asked: float) -> None:
        if reply is None and error is None:
            self._outbox.record(call, None, "due", asked)
            return
        attempt = Delivery(self._clock(), reply.status if reply else None, error)
        number = len(call.attempts)
        state: CallbackState
        if reply is not None and reply.accepted:
            state, pause = "delivered", 0.0
        elif (reply is not None and reply.gone) or number >= len(self._schedule):
            state, pause = "failed", 0.0
        else:
            spread = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  not for security
            state, pause = "due", max(asked, self._schedule[number] * spread)
        kept = self._outbox.record(call, attempt, state, pause)
        _log.log(
            logging.WARNING if state == "failed" else logging.INFO,
            "callback %s of task %s, attempt %d: %s%s",
            call.id,
            call.task_id,
            number + 1,
            state if state != "due" else f"{error}; again in {pause:.0f} s",
            "" if kept else " (too late: somebody else has it now)",
        )
