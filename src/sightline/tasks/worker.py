"""The task worker: claims images, runs them through a detector, writes their outcomes."""

from __future__ import annotations

import logging
import time
from time import monotonic
from typing import TYPE_CHECKING

from sightline.backoff import Backoff
from sightline.errors import StorageUnavailable
from sightline.tasks.image_loader import FETCHING
from sightline.tasks.in_flight import InFlight
from sightline.tasks.wakeups import WakeEvent
from sightline.tasks.worker_lease import WorkerLease
from sightline.threads import TASK_WORKER

if TYPE_CHECKING:
    from pathlib import Path

    from sightline.serving.repository import Repository
    from sightline.tasks.image_loader import ImageLoader
    from sightline.tasks.queue import TaskQueue
    from sightline.tasks.task import Outcome

_LOOK_EVERY = 3.0  # seconds; a submission wakes it earlier
_SHORTEST_LOOK = 0.1  # seconds
_HEARTBEAT_EVERY = 8.0  # seconds; several times in a lease
_RECOVER_EVERY = 15.0  # seconds; workers on other machines may have died
_TOGETHER = 0.1  # seconds that outcomes wait for more outcomes, while the engine is busy
_STORAGE_PAUSE = 1.0  # seconds between attempts while nothing can be written
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before a restart after its death
_SOUND_AFTER = 60.0  # seconds of work after which the backoff starts again
_DYING = "the thread that works on tasks died, and is started again"

_log = logging.getLogger("sightline")


class Worker:
    """One thread that claims images and writes their outcomes.

    It holds only as many images as keep the engine busy, so urgent ones wait for no more than
    those. Outcomes that arrive during a write go into one transaction. While storage fails, it
    keeps its outcomes, claims nothing, and tries again until they are written.
    """

    def __init__(
        self,
        queue: TaskQueue,
        repository: Repository,
        pictures: ImageLoader,
        folder: Path | None,
    ) -> None:
        """A worker that claims nothing before `start`.

        Args:
            queue: the images to process.
            repository: the models.
            pictures: loads the images' bytes; closed with this.
            folder: the data folder; None if tasks are in memory.
        """
        self._queue = queue
        self._folder = folder
        self._wake_event = WakeEvent()
        self._in_flight = InFlight(repository, pictures, self._wake_event.wake)
        self._unwritten: list[Outcome] = []
        self._lease: WorkerLease | None = None
        self._at_risk = True  # the queue may hold claims of this name that it does not know
        self._away = False
        self._death = ""
        self._heartbeat_at = self._recover_at = 0.0
        self._end_by: float | None = None
        self._thread = TASK_WORKER.make(self._run)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Look for work at once: tasks were submitted."""
        self._wake_event.wake()

    def unhealthy_reasons(self) -> list[str]:
        """The reasons why no task is processed; empty if the worker lives."""
        return [self._death] if self._death else []

    def close(self, timeout: float) -> None:
        """Stop claiming, and end. Gives back images that are not done within `timeout` seconds."""
        self._end_by = monotonic() + timeout
        self._wake_event.wake()
        self._thread.join()

    def _run(self) -> None:
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            began = monotonic()
            try:
                self._work()
                self._leave()
            except BaseException as error:  # noqa: BLE001  every death is logged
                if monotonic() - began > _SOUND_AFTER:
                    backoff.reset()
                self._at_risk = True
                self._death = _DYING
                _log.critical("%s", _DYING, exc_info=error)
                if self._end_by is not None:
                    return
                self._wake_event.wait(backoff.fail())
            else:
                return

    def _work(self) -> None:
        while not self._is_over():
            try:
                pause = self._round()
                self._death = ""
                self._note_back()
            except StorageUnavailable as error:
                self._note_away(error)
                pause = _STORAGE_PAUSE
            if not self._is_over():
                self._wake_event.wait(pause)
                self._wait_for_more()

    def _wait_for_more(self) -> None:
        """Collect outcomes for one transaction: it costs as much for one image as for several."""
        end = monotonic() + _TOGETHER
        while self._end_by is None and self._in_flight.busy and (left := end - monotonic()) > 0:
            self._wake_event.wait(left)

    def _is_over(self) -> bool:
        if self._end_by is None:
            return False
        left = self._in_flight.claims or self._unwritten
        return not left or monotonic() > self._end_by

    def _round(self) -> float:
        """Write the outcomes and claim more images.

        Returns:
            Seconds until the next round, unless it is woken.

        Raises:
            StorageUnavailable: unwritten outcomes are kept for another round.
        """
        lease = self._take_name()
        self._write(lease.name)
        self._keep_leases(lease)
        if self._end_by is not None:
            return max(0.0, min(_LOOK_EVERY, self._end_by - monotonic()))
        if self._at_risk or not self._claim(lease.name):
            return _LOOK_EVERY
        due = self._queue.next_due()
        pause = _LOOK_EVERY if due is None else due - time.time()
        return min(_LOOK_EVERY, max(_SHORTEST_LOOK, pause))

    def _take_name(self) -> WorkerLease:
        if self._lease is None:
            try:
                self._lease = WorkerLease(self._folder)
            except OSError as error:
                reason = f"{self._folder} cannot be written: {error.strerror or error}."
                raise StorageUnavailable(reason, 5) from error
        return self._lease

    def _write(self, name: str) -> None:
        self._unwritten += self._in_flight.collect()
        if self._unwritten:
            self._queue.finish(name, self._unwritten)
            self._unwritten = []

    def _keep_leases(self, lease: WorkerLease) -> None:
        """Extend this worker's leases, and then recover images with expired ones."""
        now = monotonic()
        holding = bool(self._in_flight.claims)
        if holding and now >= min(self._heartbeat_at, self._recover_at):
            self._queue.heartbeat(lease.name)
            self._heartbeat_at = now + _HEARTBEAT_EVERY
        if self._at_risk and not holding:
            for name in lease.dead:
                self._queue.recover(name)
            del lease.dead[1:]  # another worker may take one of these names later
            self._at_risk = False
        if now >= self._recover_at:
            self._queue.recover(None)
            self._recover_at = now + _RECOVER_EVERY

    def _claim(self, name: str) -> bool:
        """Claim and begin as many images as there is capacity for.

        Returns:
            Whether there was capacity for more.
        """
        held, capacity = self._in_flight.claims, self._in_flight.capacity
        if capacity <= 0:
            return False
        if not held:
            self._heartbeat_at = monotonic() + _HEARTBEAT_EVERY
        self._at_risk = True  # until all claims are begun
        can_fetch = self._in_flight.fetching < FETCHING
        claims = self._queue.claim(name, capacity, idle=not held, addresses=can_fetch)
        for claim in claims:
            self._in_flight.begin(claim)
        self._at_risk = False
        return len(claims) < capacity

    def _leave(self) -> None:
        left = self._in_flight.close()
        if self._lease is None:
            return
        try:
            if left:
                self._queue.give_back(self._lease.name, left)
        except StorageUnavailable as error:
            _log.error("images could not be given back; the next start does it: %s", error)
        finally:
            self._lease.close()

    def _note_away(self, error: StorageUnavailable) -> None:
        if not self._away:
            _log.error("tasks wait, and go on by themselves: %s", error.reason)
        self._away = True

    def _note_back(self) -> None:
        if self._away:
            _log.warning("tasks go on")
        self._away = False
