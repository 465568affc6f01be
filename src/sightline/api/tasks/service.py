"""What the routes of tasks share: the desk, threads to reach it by, and who may see what."""

from __future__ import annotations

import asyncio
import logging
import re
from time import monotonic
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import anyio.to_thread

from sightline.api.disconnect import unless_gone
from sightline.api.headers import declared
from sightline.api.request_info import info_of
from sightline.api.tasks.bounded_pool import BoundedPool
from sightline.api.tasks.positions import Positions
from sightline.api.tasks.representation import Representations
from sightline.api.tasks.ttl_cache import TTLCache
from sightline.api.uploads.reservations import Reservations
from sightline.api.uploads.task_files import TaskFiles, WriterPool
from sightline.backend.messages import Empty
from sightline.backend.operations import STATUS, WAKE_TASKS
from sightline.errors import (
    BadOption,
    DetectorClosed,
    UnknownTask,
    UrlError,
)
from sightline.serving.options import class_ids
from sightline.tasks.task import ENDED
from sightline.threads import TASK_CHANGES, TASK_READS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from starlette.requests import Request

    from sightline.api.schemas.tasks import PredictQuery
    from sightline.api.uploads.reservations import Reservation
    from sightline.backend.base import Backend
    from sightline.backend.messages import BackendStatus, ModelInfo
    from sightline.settings import Settings
    from sightline.tasks.admission import Found
    from sightline.tasks.services import TaskServices
    from sightline.tasks.task import Glance, NewTask, Task

P = ParamSpec("P")
T = TypeVar("T")

_UNWRITTEN = 64  # pictures that are all there and wait for a thread, of all submissions together
_MAX_WAIT = 10.0  # seconds that a change may wait for those before it
_MOMENT = 1.0  # seconds for which a glance at the queue, or at the models, is good
_ID = re.compile(r"[0-9a-f]{32}")

_log = logging.getLogger("sightline")


class TaskService:
    """Tasks as the routes see them. Used from one event loop; nothing here blocks it."""

    def __init__(self, services: TaskServices, backend: Backend, settings: Settings) -> None:
        """For a desk that is open.

        Args:
            services: where tasks are.
            backend: knows the models, and wakes who works.
            settings: limits.
        """
        self.changes = services.changes
        self.blobs = services.blobs
        self.states = Representations(self._look)
        self._services = services
        self._backend = backend
        self._settings = settings
        self._writers = WriterPool(_UNWRITTEN)
        self._changing = BoundedPool(TASK_CHANGES, _MAX_WAIT)
        self._looking = TASK_READS.pool()
        self._waking: set[asyncio.Task[None]] = set()
        self._glance: TTLCache[Glance] = TTLCache(
            lambda: self._look(services.store.glance), _MOMENT
        )
        self._status: TTLCache[BackendStatus] = TTLCache(
            lambda: backend.call(STATUS, Empty()), _MOMENT
        )
        self._models: list[ModelInfo] = []
        self._reservations = Reservations(services.backlog)
        self._places = Positions(lambda: self._look(services.store.positions))

    # Submitting

    async def find(self, new: NewTask) -> Found | None:
        """The task that came under the same idempotency key before, if it is there.

        Raises:
            StorageUnavailable: it cannot be known now.
        """
        return (
            None
            if new.idempotency_key is None
            else await self._look(self._services.store.find, new)
        )

    async def room_for(self, request: Request) -> AbstractContextManager[Reservation]:
        """Room for a submission while it is read, as far as that can be told from its head.

        Raises:
            Overloaded: too much waits; on entering.
            StorageUnavailable: tasks cannot be kept now.
        """
        announced = declared(request.scope["headers"]) or 0
        return self._reservations.admit(await self._glance.get(), announced)

    async def require_options(self, query: PredictQuery) -> str | None:
        """The digest of the model that is asked for, if it is known.

        Raises:
            BadOption: there is no such model, or it knows no such class.
            CallbackRefused: the callback may not be called.
        """
        if query.callback_url is not None:
            check = self._services.addresses.require_callback
            await anyio.to_thread.run_sync(check, query.callback_url)
        model = await self._model(query.model)
        classes = query.class_names()
        if classes is not None and model.labels is not None:
            class_ids(model.name, model.labels, classes)
        return model.digest

    async def require_addresses(self, urls: list[str]) -> None:
        """Raises UrlRefused if one of them may not be fetched, as far as that is known."""
        await self._look(self._require_addresses, urls)

    def new_files(self, new: NewTask, *, strict: bool) -> TaskFiles:
        """Takes the files of a new task."""
        limits = self._settings.max_upload_bytes, self._settings.max_pixels
        compared = new.idempotency_key is not None
        return TaskFiles(
            new.id, self.blobs, self._writers, limits, strict=strict, compared=compared
        )

    async def submit(
        self, request: Request, new: NewTask, files: TaskFiles | None = None
    ) -> tuple[Task, bool]:
        """Keep a task, whose blobs are safe already.

        If the client hangs up before it begins to be written, it is not. Once that has begun, it
        is kept though nobody waits for the answer.

        Returns:
            The task, and whether it was there already under the same idempotency key.

        Raises:
            Conflict, Overloaded, StorageUnavailable: as `TaskStore.submit`.
            ClientDisconnect: the client hung up.
        """
        job = self._changing.submit(self._services.store.submit, new)
        try:
            task = await unless_gone(request, self._changing.result(job))
        finally:
            if not job.cancel() and files is not None:
                files.keep()
        self._wake_soon()
        return task, task.id != new.id

    # Reading

    async def get(self, request: Request, task_id: str) -> Task:
        """The task as it is now.

        Raises:
            UnknownTask: there is none, or it is another's.
            ExpiredTask: it is forgotten.
            StorageUnavailable: it cannot be read now.
        """
        if not _ID.fullmatch(task_id):
            raise UnknownTask(task_id)
        return _require_owner(request, await self.changes.get(task_id))

    async def wait(self, task: Task, known: int | None, seconds: float) -> Task:
        """`task` once it is another than version `known` of it, or has ended; but no longer.

        Raises:
            ExpiredTask, StorageUnavailable: as `get`.
        """
        end = monotonic() + seconds
        while task.status not in ENDED and known in {None, task.version} and monotonic() < end:
            task = await self.changes.wait(task.id, task.version, end - monotonic())
        return task

    async def place(self, task: Task) -> dict[str, Any] | None:
        """Where it is in the queue; None if it waits no more."""
        return await self._places.of(task.id) if task.status == "queued" else None

    async def images_waiting(self) -> int:
        """Pictures of tasks that wait for their turn, as it was a moment ago."""
        return (await self._glance.get()).images_waiting

    async def overview(self, request: Request) -> dict[str, Any]:
        """The queue as a whole, as it was a moment ago; ids are the admin's alone."""
        seen = await self._glance.get()
        shown = {
            "statuses": seen.statuses,
            "priorities": seen.priorities,
            "images_waiting": seen.images_waiting,
            "bytes_waiting": seen.bytes_waiting,
        }
        caller = info_of(request.scope).caller
        return shown | {"ids": seen.ids} if caller and caller.admin else shown

    # Changing

    async def cancel(self, task: Task) -> Task:
        """Images that wait are not run; a task that has ended meanwhile is left alone."""
        cancelled = await self._change(self._services.store.cancel, task.id)
        self._wake_soon()
        return cancelled

    async def forget(self, task: Task) -> None:
        """Remove what is left of a task that has ended."""
        await self._change(self._services.store.forget, task.id)

    async def retry(self, task: Task) -> Task:
        """Run its failed images again."""
        queued = await self._change(self._services.store.retry, task.id)
        self._wake_soon()
        return queued

    def _require_addresses(self, urls: list[str]) -> None:
        for number, url in enumerate(urls, start=1):
            try:
                self._services.addresses.require(url)
            except UrlError as error:
                error.args = (f"Address {number}: {error}",)
                raise

    async def _look(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(self._looking.submit(work, *args, **kwargs))

    async def _change(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._changing.result(self._changing.submit(work, *args, **kwargs))

    async def _model(self, name: str | None) -> ModelInfo:
        models = await self._known_models()
        if name is None:
            return models[0]
        for model in [*models, *await self._new_models(name, models)]:
            if model.name == name:
                return model
        known = ", ".join(model.name for model in models)
        raise BadOption(f"There is no model '{name[:80]}' here; there is: {known}.")

    async def _new_models(self, name: str, models: list[ModelInfo]) -> list[ModelInfo]:
        """The models once more, if `name` is not among those that were known."""
        if any(model.name == name for model in models):
            return []
        self._status.forget()
        return await self._known_models()

    async def _known_models(self) -> list[ModelInfo]:
        try:
            self._models = (await self._status.get()).models
        except DetectorClosed:
            if not self._models:
                raise
        return self._models  # a task may be handed in while whoever works on it is started anew

    def _wake_soon(self) -> None:
        waking = asyncio.create_task(self._wake_workers())
        self._waking.add(waking)
        waking.add_done_callback(self._waking.discard)

    async def _wake_workers(self) -> None:
        try:
            await self._backend.call(WAKE_TASKS, Empty())
        except DetectorClosed as error:
            _log.info("nobody works on tasks now: %s", error)  # whoever starts looks by himself


def _require_owner(request: Request, task: Task) -> Task:
    caller = info_of(request.scope).caller
    name = caller.name if caller else ""
    if task.owner != name and not (caller and caller.admin):
        raise UnknownTask(task.id)
    return task
