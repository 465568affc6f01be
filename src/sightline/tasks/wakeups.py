"""Who submits tasks wakes who works on them, within a process.

From one process to another a wake-up goes over the workers' wire (`Backend.nudge`). None is needed
for a task to be worked on: who works looks by itself every few seconds.
"""

from __future__ import annotations

from threading import Event


class WakeEvent:
    """Wakes one thread. Rung from any; what rings while nobody waits is not lost."""

    def __init__(self) -> None:
        self._woken = Event()

    def wake(self) -> None:
        self._woken.set()

    def wait(self, seconds: float) -> None:
        """Returns once it was rung since the last return, after `seconds` at the latest."""
        self._woken.wait(seconds)
        self._woken.clear()
