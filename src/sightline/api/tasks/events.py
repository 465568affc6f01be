"""A task as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

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
"""Seconds of silence after which a comment is sent, so that nobody between takes it for dead."""

_RECONNECT_MS = 2000


def event_stream(
    request: Request, tasks: TaskService, task: Task, known: int | None
) -> StreamingResponse:
    """What happens to `task` from now on, until it ends.

    A reader who is slow is told of what has changed when he reads on: nothing is queued for him.

    Args:
        request: whoever reads.
        tasks: where changes are heard of.
        task: as it is now.
        known: the version that the reader has seen already, None for none.
    """
    return StreamingResponse(
        _events(request, tasks, task, known),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},  # nginx would hold it back
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
                return  # the reader comes again, and finds whoever serves then
            task = now
            yield await _news(tasks, seen, task)
    except SightlineError as error:  # a stream has begun: its status is out
        yield _event("problem", problem_body(kind_of(error), str(error)))
        return
    yield _event("end", head_of(task), task.version)


async def _news(tasks: TaskService, seen: Task, task: Task) -> bytes:
    """What is new since `seen`; that nothing is, keeps the connection alive."""
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
    # The number is on the last: whoever was cut off before gets all of it again.
    return b"".join(ended) + _event("progress", progress, task.version)


def _event(name: str, data: dict[str, Any] | bytes, number: int | None = None) -> bytes:
    """An event with `data`, or with JSON that is written already."""
    text = data if isinstance(data, bytes) else to_json(data)
    number_line = b"" if number is None else b"id: %d\n" % number
    return b"event: %s\n%sdata: %s\n\n" % (name.encode(), number_line, text)
