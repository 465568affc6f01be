"""Wake-ups of task threads within a process.

Between processes, wake-ups are calls of the backend. They only save time: a worker looks for tasks
every few seconds by itself.
"""

from __future__ import annotations

from threading import Event


class WakeEvent:
    """Wakes one thread, from any thread. A wake-up before `wait` is not lost."""

    def __init__(self) -> None:
        self._woken = Event()

    def wake(self) -> None:
        self._woken.set()

    def wait(self, seconds: float) -> None:
        """Wait for a wake-up since the last return, at most `seconds`."""
        self._woken.wait(seconds)
        self._woken.clear()
