"""The context of routes, as one typed dependency: `context: Context`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection  # noqa: TC002  FastAPI reads the annotation

from sightline.api.admission import Admission
from sightline.api.tasks.annotated import AnnotatedImages
from sightline.api.tasks.service import TaskService
from sightline.api.uploads.by_url import FetchPool

if TYPE_CHECKING:
    from sightline.api.middleware.keys import Keys
    from sightline.api.uploads.spool import UploadBudget
    from sightline.backend.base import Backend
    from sightline.backend.runtime import Runtime
    from sightline.settings import Settings


@dataclass(frozen=True, slots=True)
class ApiContext:
    """Everything that requests share while the server runs."""

    settings: Settings
    backend: Backend
    keys: Keys
    upload_budget: UploadBudget
    admission: Admission
    fetches: FetchPool
    tasks: TaskService
    annotated: AnnotatedImages

    @classmethod
    def of(cls, runtime: Runtime, keys: Keys, upload_budget: UploadBudget) -> ApiContext:
        """The context for an open runtime."""
        settings = runtime.settings
        return cls(
            settings,
            runtime.backend,
            keys,
            upload_budget,
            Admission(runtime.backend, settings),
            FetchPool(runtime.fetch, settings.url_timeout),
            TaskService(runtime.tasks, runtime.backend, settings),
            AnnotatedImages(runtime.tasks.blobs, settings.max_pixels),
        )


async def _context_of(connection: HTTPConnection) -> ApiContext:
    context: ApiContext = connection.app.state.context
    return context


Context = Annotated[ApiContext, Depends(_context_of)]
