"""Server-sent events of a task (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

from sightline.api.problems import kind_of, problem_body
from sightline.api.server.shutdown import until_shutdown
from sightline.api.tasks.representation import entry_of, head_of, progress_of, to_json
from sightline.errors import SightlineError
from sightline.tasks.task import ENDED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from sightline.api.tasks.service import TaskService
    from sightline.tasks.task import Task

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that proxies keep the connection open."""

_RECONNECT_MS = 2000


def event_stream(
    request: Request, tasks: TaskService, task: Task, known: int | None
) -> StreamingResponse:
    """A stream of the changes of `task`, until it ends.

    Nothing is queued for a slow reader: the next event holds everything since the last one.

    Args:
        request: of the reader.
        tasks: tells of changes.
        task: in its current state.
        known: the version that the reader has seen already; None for none.
    """
    return StreamingResponse(
        _events(request, tasks, task, known),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},  # so that nginx sends it at once
    )


async def _events(
    request: Request, tasks: TaskService, task: Task, known: int | None
) -> AsyncIterator[bytes]:
    yield f"retry: {_RECONNECT_MS}\n\n".encode()
    try:
        if task.version != known:
            whole = await tasks.states.of(task, await tasks.place(task))
            yield _event("task", whole, task.version)
        while task.status not in ENDED:
            seen = task
            waiting = tasks.changes.wait(task.id, seen.version, HEARTBEAT)
            now = await until_shutdown(request.scope, waiting)
            if now is None:
                return  # the reader reconnects, to the next process
            task = now
            yield await _changes_since(tasks, seen, task)
    except SightlineError as error:  # the status is already sent
        yield _event("problem", problem_body(kind_of(error), str(error)))
        return
    yield _event("end", head_of(task), task.version)


async def _changes_since(tasks: TaskService, seen: Task, task: Task) -> bytes:
    """The events since `seen`; a comment if there is nothing new."""
    if task.version == seen.version and task.status != "queued":
        return b": nothing new\n\n"
    ended = [
        _event("image", entry_of(image))
        for image, before in zip(task.images, seen.images, strict=True)
        if image.status in ENDED and image.status != before.status
    ]
    progress = {"status": task.status, "progress": progress_of(task)}
    if (queue := await tasks.place(task)) is not None:
        progress["queue"] = queue
    # Only the last event has an id: a reader that was cut off before it gets all of them again.
    return b"".join(ended) + _event("progress", progress, task.version)


def _event(name: str, data: dict[str, Any] | bytes, number: int | None = None) -> bytes:
    """One event; `data` that is bytes is JSON already."""
    text = data if isinstance(data, bytes) else to_json(data)
    number_line = b"" if number is None else b"id: %d\n" % number
    return b"event: %s\n%sdata: %s\n\n" % (name.encode(), number_line, text)
