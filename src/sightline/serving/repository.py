"""The model repository: models by name, swapped and unloaded while they serve."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, RLock
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

from sightline.errors import BadOption, ConfigError, DetectorClosed, NotAllowed
from sightline.serving.model_slot import LoadedModel, ModelSlot
from sightline.serving.restarter import ModelRestarter
from sightline.threads import RETIREMENTS

if TYPE_CHECKING:
    from sightline.serving.detector import Detector

_log = logging.getLogger("sightline")

_HUNG_AFTER = 120.0  # seconds of one engine call; the slowest normal ones take a few

OpenModel: TypeAlias = "Callable[[str, str | None], Detector]"
"""(name, source) -> a detector called `name`, loaded and warmed up."""


class Repository:
    """Models by name. Safe from many threads.

    A swap loads and warms up the new version first; current requests finish on the old one. A model
    whose worker died is opened again and swapped in. Models loaded by `load` are written to a state
    file, and served again after a restart.
    """

    def __init__(
        self,
        open_model: OpenModel,
        name: str,
        source: str | None,
        *,
        notice: str = "",
        state_file: Path | None = None,
        max_bytes: int | None = None,
    ) -> None:
        """Load the default model, and register those of the state file.

        Args:
            open_model: loads and warms a model.
            name: of the default model, for requests that name none.
            source: of the default model, for `open_model`.
            notice: a notice to users about this source; shown while it is served.
            state_file: stores the loaded models; None to store nothing.
            max_bytes: most bytes of loaded weights; beyond it, the least recently used models are
                unloaded, and loaded again on request. None for no limit.

        Raises:
            ConfigError: the default model cannot be loaded.
        """
        self._open = open_model
        self._state_file = state_file
        self._max_bytes = max_bytes
        self._lock = RLock()
        self._loading = Lock()  # one load at a time, to bound memory
        self._closed = False
        self._restarter = ModelRestarter(self._replace)
        self.default = name
        self._base = {"name": name, "source": source}
        self._notice = notice
        self._slots: dict[str, ModelSlot] = {}
        remembered = self._remembered()
        self._load_default(remembered.pop(name, source))
        for other, other_source in remembered.items():  # loaded on first use
            self._slots[other] = ModelSlot(other, other_source)

    def load(self, name: str, source: str) -> ModelSlot:
        """Load `source` and serve it as `name`, replacing the model of that name.

        Raises:
            ConfigError: it cannot be loaded; the old model stays.
        """
        slot = ModelSlot(name, source)
        with self._loading:
            self._serve(slot)
        self._remember()
        return slot

    def remove(self, name: str) -> None:
        """Unload a model and remove its name; current requests finish.

        Raises:
            BadOption: there is no such model.
            NotAllowed: it is the default model.
        """
        if name == self.default:
            raise NotAllowed(f"'{name}' is the default model. Put another in its place instead.")
        with self._lock:
            slot = self._slot(name)
            del self._slots[name]
            self._retire(slot)
        self._remember()

    @contextmanager
    def lease(self, name: str | None = None) -> Iterator[Detector]:
        """The detector of a model, for one request. It is not closed during the lease.

        Raises:
            BadOption: there is no such model.
            ConfigError: it was unloaded and cannot be loaded again.
        """
        loaded = self._acquire(name or self.default)
        try:
            yield loaded.detector
        finally:
            self._release(loaded)

    def require_room(self, name: str | None, max_wait: float) -> None:
        """Check that a picture queued now would not wait too long; passes if that is unknown.

        Raises:
            BadOption: there is no such model.
            Overloaded: it would wait more than `max_wait` seconds.
        """
        with self._lock:
            loaded = self._slot(name or self.default).loaded
        if loaded is not None:
            loaded.detector.require_room(max_wait)

    def slots(self) -> list[ModelSlot]:
        """All models, the default first."""
        with self._lock:
            return sorted(self._slots.values(), key=lambda slot: slot.name != self.default)

    @property
    def notice(self) -> str:
        """The notice about the default model; empty once it was replaced."""
        return self._notice if self.slots()[0].source == self._base["source"] else ""

    def unhealthy_reasons(self) -> list[str]:
        """The reasons for not being ready: dead workers and faults. Empty if all is well."""
        found = []
        for slot in self.slots():
            loaded = slot.loaded
            if loaded is None:
                continue
            if loaded.fault:
                found.append(f"{slot.name}: {loaded.fault}")
            elif not loaded.detector.alive:
                found.append(f"{slot.name}: its inference worker died, and is started again")
        return found

    def hung(self) -> list[str]:
        """Messages about models with an engine call of more than two minutes.

        Nothing in this process can end such a call.
        """
        calls = [
            (slot.name, slot.loaded.detector.call_seconds)
            for slot in self.slots()
            if slot.loaded is not None
        ]
        return [
            f"{name}: its engine has not returned from a call for {seconds:.0f} s"
            for name, seconds in calls
            if seconds >= _HUNG_AFTER
        ]

    def close(self) -> None:
        """Close every model."""
        self._restarter.close()
        with self._lock:
            self._closed = True
            slots = list(self._slots.values())
        for slot in slots:
            if slot.loaded is not None:
                slot.loaded.detector.close()

    def _acquire(self, name: str) -> LoadedModel:
        while True:
            with self._lock:
                if self._closed:
                    raise DetectorClosed("The service is stopping.")
                slot = self._slot(name)
                slot.last_used = monotonic()
                if slot.loaded is not None:
                    slot.loaded.leases += 1
                    return slot.loaded
            self._load_again(slot)

    def _release(self, loaded: LoadedModel) -> None:
        with self._lock:
            loaded.leases -= 1
            self._close_if_done(loaded)

    def _slot(self, name: str) -> ModelSlot:
        slot = self._slots.get(name)
        if slot is None:
            known = ", ".join(self._slots)
            raise BadOption(f"There is no model '{name[:80]}' here; there is: {known}.")
        return slot

    def _load_default(self, chosen: str | None) -> None:
        source = self._base["source"]
        try:
            self._serve(ModelSlot(self.default, chosen))
        except ConfigError as error:
            if chosen == source:
                raise
            _log.warning("%s, chosen while it ran, is gone: %s", chosen, error)
            self._serve(ModelSlot(self.default, source))

    def _load_again(self, slot: ModelSlot) -> None:
        """Load an unloaded model, unless another thread has loaded or replaced it."""
        with self._loading:
            with self._lock:
                wanted = self._slots.get(slot.name) is slot and slot.loaded is None
            if wanted:
                self._serve(slot)

    def _replace(self, slot: ModelSlot, dead: LoadedModel) -> bool:
        """Open a dead model again; False if it was replaced or unloaded meanwhile."""
        with self._loading:
            with self._lock:
                wanted = not self._closed and slot.loaded is dead
            if wanted:
                self._serve(slot)
            return wanted

    def _serve(self, slot: ModelSlot) -> None:
        """Load the model of `slot`, and put the slot under its name."""
        loaded = LoadedModel(self._open(slot.name, slot.source))
        with self._lock:
            if old := self._slots.get(slot.name):
                self._retire(old)
            slot.loaded = loaded
            self._slots[slot.name] = slot
            self._unload_beyond_budget(slot)
            too_late = self._closed
        if too_late:
            loaded.detector.close()
        self._restarter.watch(slot, loaded)

    def _unload_beyond_budget(self, newest: ModelSlot) -> None:
        if self._max_bytes is None:
            return
        loaded = [slot for slot in self._slots.values() if slot.loaded is not None]
        total = sum(_weight(slot) for slot in loaded)
        for slot in sorted(loaded, key=lambda slot: slot.last_used):
            if total <= self._max_bytes:
                return
            if slot is not newest:
                total -= _weight(slot)
                self._retire(slot)

    def _retire(self, slot: ModelSlot) -> None:
        loaded, slot.loaded = slot.loaded, None
        if loaded is not None:
            loaded.retired = True
            self._close_if_done(loaded)

    def _close_if_done(self, loaded: LoadedModel) -> None:
        if loaded.retired and loaded.leases == 0:
            # On a thread: closing waits for threads, and the caller may be the event loop.
            RETIREMENTS.start(loaded.detector.close)

    def _remembered(self) -> dict[str, str | None]:
        """Name → source, from the state file; a changed default on the command line wins."""
        if self._state_file is None or not self._state_file.is_file():
            return {}
        try:
            state = json.loads(self._state_file.read_text("utf-8"))
            models = dict(state["models"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self._state_file} is damaged ({error}); remove it") from error
        if state.get("default") != self._base:
            models.pop(self._base["name"], None)
        return models

    def _remember(self) -> None:
        if self._state_file is None:
            return
        with self._lock:
            models = {slot.name: slot.source for slot in self._slots.values()}
            state: dict[str, Any] = {"default": self._base, "models": models}
            self._state_file.parent.mkdir(parents=True, exist_ok=True)
            draft = self._state_file.with_suffix(".tmp")
            with draft.open("w", encoding="utf-8") as file:
                json.dump(state, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._state_file)


def _weight(slot: ModelSlot) -> int:
    return 0 if slot.loaded is None else slot.loaded.detector.weight_bytes
