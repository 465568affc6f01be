"""All that the API of a service stands on; `wiring.runtime` opens it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from sightline.backend.base import Backend
    from sightline.serving.repository import Repository
    from sightline.settings import Settings
    from sightline.tasks.services import TaskServices


@dataclass(frozen=True, slots=True)
class Runtime:
    """An open service, without HTTP.

    Attributes:
        settings: of the service.
        backend: models, queue and limits.
        tasks: the store of tasks, and what goes with it.
        fetch: gets the picture at an address, within so many seconds, unless the event is set.
        repository: the models; None in a front end, which has none.
    """

    settings: Settings
    backend: Backend
    tasks: TaskServices
    fetch: Callable[[str, float, Event], bytes]
    repository: Repository | None = None
