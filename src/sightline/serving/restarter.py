"""Restarts of models: opens a model again when its worker has died."""

from __future__ import annotations

import logging
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING

from sightline.threads import RESTARTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sightline.serving.model_slot import LoadedModel, ModelSlot

_log = logging.getLogger("sightline")

_SOUND_AFTER = 60.0  # seconds of service after which the backoff starts again


class ModelRestarter:
    """Opens dead models again, each on a thread of its own.

    The first attempt is at once. The pause before the next ones doubles while opening fails, or the
    model dies soon after.
    """

    def __init__(self, replace: Callable[[ModelSlot, LoadedModel], bool]) -> None:
        """A restarter that watches no model yet.

        Args:
            replace: opens the model of a slot again, in place of a dead version; returns False if
                it is not needed any more. Its errors are logged, and it is called again.
        """
        self._replace = replace
        self._stop = Event()

    def watch(self, slot: ModelSlot, loaded: LoadedModel) -> None:
        """Open the model of `slot` again when the worker of `loaded` dies."""
        opened = monotonic()

        def died() -> None:
            if monotonic() - opened >= _SOUND_AFTER:
                slot.backoff.reset()
            RESTARTS.start(self._restart, slot, loaded)

        loaded.detector.when_dead(died)

    def close(self) -> None:
        """Start no more attempts."""
        self._stop.set()

    def _restart(self, slot: ModelSlot, dead: LoadedModel) -> None:
        began = monotonic()
        while not self._stop.wait(slot.backoff.pause):
            slot.backoff.fail()
            try:
                opened = self._replace(slot, dead)
            except Exception as error:  # noqa: BLE001  the next attempt may succeed
                dead.fault = f"its inference worker died, and it cannot be opened again: {error}"
                _log.error(
                    "%s: it cannot be opened again: %s. The next attempt is in %g s.",
                    slot.name, error, slot.backoff.pause,
                )  # fmt: skip
                continue
            if opened:
                seconds = monotonic() - began
                _log.warning("%s: opened again, %.1f s after it died", slot.name, seconds)
            return
