"""All that works on tasks, in the one process that holds the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.tasks.delivery.worker import DeliveryWorker
    from sightline.tasks.retention import Cleaner
    from sightline.tasks.worker import Worker

# Seconds that what is under way gets at the end; the engine process has four, in all.
_WORKER_TIMEOUT = 2.0
_DELIVERY_TIMEOUT = 1.0


@dataclass(frozen=True, slots=True)
class TaskProcessing:
    """Runs the worker, the cleaner and the callbacks. Close it before the models."""

    worker: Worker
    cleaner: Cleaner
    deliveries: DeliveryWorker

    def start(self) -> None:
        """Begin, each on threads of its own."""
        self.cleaner.start()
        self.deliveries.start()
        self.worker.start()

    def wake(self) -> None:
        """Tasks were submitted, cancelled or are to be tried again. It does not block."""
        self.worker.wake()
        self.deliveries.wake()

    def unhealthy_reasons(self) -> list[str]:
        """Why tasks are not worked on; empty if they are."""
        return self.worker.unhealthy_reasons()

    def close(self) -> None:
        """End; what is under way gets some seconds, and is given back then."""
        self.worker.close(_WORKER_TIMEOUT)
        self.deliveries.stop(_DELIVERY_TIMEOUT)
        self.cleaner.stop()
