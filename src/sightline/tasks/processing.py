"""Task processing: worker, cleaner and callbacks, in the process that holds the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.tasks.delivery.worker import DeliveryWorker
    from sightline.tasks.retention import Cleaner
    from sightline.tasks.worker import Worker

# Seconds that work in flight gets at shutdown; the engine process has four in all.
_WORKER_TIMEOUT = 2.0
_DELIVERY_TIMEOUT = 1.0


@dataclass(frozen=True, slots=True)
class TaskProcessing:
    """Runs the worker, the cleaner and the callbacks. Close it before the models."""

    worker: Worker
    cleaner: Cleaner
    deliveries: DeliveryWorker

    def start(self) -> None:
        """Start the threads of each."""
        self.cleaner.start()
        self.deliveries.start()
        self.worker.start()

    def wake(self) -> None:
        """Look for work at once: tasks were submitted, cancelled or retried. Does not block."""
        self.worker.wake()
        self.deliveries.wake()

    def unhealthy_reasons(self) -> list[str]:
        """The reasons why tasks are not processed; empty if they are."""
        return self.worker.unhealthy_reasons()

    def close(self) -> None:
        """Stop. Work in flight gets a few seconds, and is then given back to the queue."""
        self.worker.close(_WORKER_TIMEOUT)
        self.deliveries.stop(_DELIVERY_TIMEOUT)
        self.cleaner.stop()
