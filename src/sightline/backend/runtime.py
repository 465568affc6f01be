"""The runtime under the API of a service; `wiring.runtime` opens it."""

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
    """The open parts of a service, without HTTP.

    Attributes:
        settings: of the service.
        backend: models, queue and limits.
        tasks: the store of tasks and what belongs to it.
        fetch: fetches the picture at an address within some seconds, unless the event is set.
        repository: the models; None in a front end.
    """

    settings: Settings
    backend: Backend
    tasks: TaskServices
    fetch: Callable[[str, float, Event], bytes]
    repository: Repository | None = None
