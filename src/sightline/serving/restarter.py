"""A model whose worker died is opened again, by itself."""

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

_SOUND_AFTER = 60.0  # seconds of service after which a death is not one in a row


class ModelRestarter:
    """Opens dead models again, each on a thread of its own.

    At once the first time; then with a pause that doubles, as long as opening fails or what was
    opened does not live long.
    """

    def __init__(self, replace: Callable[[ModelSlot, LoadedModel], bool]) -> None:
        """Nothing happens before `watch`.

        Args:
            replace: opens an entry's model again and puts it in the place of a dead version;
                False if nobody wants that any more. Whatever it raises is logged, and it is
                called again.
        """
        self._replace = replace
        self._stop = Event()

    def watch(self, slot: ModelSlot, loaded: LoadedModel) -> None:
        """Open `slot` again when the worker of `loaded` dies."""
        opened = monotonic()

        def died() -> None:
            if monotonic() - opened >= _SOUND_AFTER:
                slot.backoff.reset()
            RESTARTS.start(self._restart, slot, loaded)

        loaded.detector.when_dead(died)

    def close(self) -> None:
        """Begin no more attempts."""
        self._stop.set()

    def _restart(self, slot: ModelSlot, dead: LoadedModel) -> None:
        began = monotonic()
        while not self._stop.wait(slot.backoff.pause):
            slot.backoff.fail()
            try:
                opened = self._replace(slot, dead)
            except Exception as error:  # noqa: BLE001  whatever it is, it may be over next time
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
