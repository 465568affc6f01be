"""Works on tasks: claims images, has them detected, writes what came."""

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

_LOOK_EVERY = 3.0  # seconds; whoever submits wakes it besides
_SHORTEST_LOOK = 0.1  # seconds
_HEARTBEAT_EVERY = 8.0  # seconds; several times in a lease
_RECOVER_EVERY = 15.0  # seconds; others, on other machines, may have died
_TOGETHER = 0.1  # seconds that what has ended waits for more, while the engine has enough to do
_STORAGE_PAUSE = 1.0  # seconds between attempts while nothing can be written
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds after it died
_SOUND_AFTER = 60.0  # seconds of work after which a death is not one in a row
_DYING = "the thread that works on tasks died, and is started again"

_log = logging.getLogger("sightline")


class Worker:
    """One thread that claims and writes; it holds as many images as keep the engine busy.

    What is more urgent waits for no more than those. All that came while it wrote is written in
    one transaction. While nothing can be written it holds what it has, takes no more, and tries
    again until it can.
    """

    def __init__(
        self,
        queue: TaskQueue,
        repository: Repository,
        pictures: ImageLoader,
        folder: Path | None,
    ) -> None:
        """Nothing is claimed before `start`.

        Args:
            queue: holds the work.
            repository: holds the models.
            pictures: gets the images' bytes; closed with this.
            folder: where tasks are kept; None if in memory.
        """
        self._queue = queue
        self._folder = folder
        self._wake_event = WakeEvent()
        self._in_flight = InFlight(repository, pictures, self._wake_event.wake)
        self._unwritten: list[Outcome] = []
        self._lease: WorkerLease | None = None
        self._at_risk = True  # images may be held in this worker's name that it knows nothing of
        self._away = False
        self._death = ""
        self._heartbeat_at = self._recover_at = 0.0
        self._end_by: float | None = None
        self._thread = TASK_WORKER.make(self._run)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Tasks were submitted: look at once."""
        self._wake_event.wake()

    def unhealthy_reasons(self) -> list[str]:
        """Why no task is worked on; empty if all is well."""
        return [self._death] if self._death else []

    def close(self, timeout: float) -> None:
        """Claim no more; what is not done within so many seconds is given back."""
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
            except BaseException as error:  # noqa: BLE001  no death may be silent
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
        """A transaction costs as much for one image as for several."""
        end = monotonic() + _TOGETHER
        while self._end_by is None and self._in_flight.busy and (left := end - monotonic()) > 0:
            self._wake_event.wait(left)

    def _is_over(self) -> bool:
        if self._end_by is None:
            return False
        left = self._in_flight.claims or self._unwritten
        return not left or monotonic() > self._end_by

    def _round(self) -> float:
        """Write what came and claim more.

        Returns:
            Seconds until the next round, unless the bell rings.

        Raises:
            StorageUnavailable: what came is kept, and written in another round.
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
        """Prolong this worker's, before those that ran out are looked for."""
        now = monotonic()
        holding = bool(self._in_flight.claims)
        if holding and now >= min(self._heartbeat_at, self._recover_at):
            self._queue.heartbeat(lease.name)
            self._heartbeat_at = now + _HEARTBEAT_EVERY
        if self._at_risk and not holding:
            for name in lease.dead:
                self._queue.recover(name)
            del lease.dead[1:]  # another may have taken a name since
            self._at_risk = False
        if now >= self._recover_at:
            self._queue.recover(None)
            self._recover_at = now + _RECOVER_EVERY

    def _claim(self, name: str) -> bool:
        """Begin what there is room for.

        Returns:
            Whether there was more room than work.
        """
        held, capacity = self._in_flight.claims, self._in_flight.capacity
        if capacity <= 0:
            return False
        if not held:
            self._heartbeat_at = monotonic() + _HEARTBEAT_EVERY
        self._at_risk = True  # until all that may have been claimed is begun
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
