"""Ask after a task, and change its course."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from sightline.api.deadline import deadline, seconds_of
from sightline.api.disconnect import unless_gone
from sightline.api.events import event_stream
from sightline.api.leaving import until_leaving
from sightline.api.problems import answer_to_failure
from sightline.api.results import etag_of, retry_after, to_json, version_in
from sightline.api.schemas import Problem
from sightline.api.task_schemas import ResultQuery, TaskOut, TasksOut
from sightline.tasks.task import ENDED

if TYPE_CHECKING:
    from sightline.api.drawing import Drawing
    from sightline.api.tasks import Tasks
    from sightline.tasks.task import Task

router = APIRouter(tags=["tasks"])

_JSON = "application/json"
_REFUSED: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is no such task, or it is another key's"},
    410: {"model": Problem, "description": "Its results have expired"},
    422: {"model": Problem, "description": "A parameter is not acceptable"},
    503: {"model": Problem, "description": "Tasks cannot be read now; see Retry-After"},
}
_HEADERS = {
    "ETag": {"description": "names this state of the task", "schema": {"type": "string"}},
    "Retry-After": {
        "description": "seconds after which it is worth asking again, until it has ended",
        "schema": {"type": "integer"},
    },
}
_STATE: dict[int | str, dict[str, Any]] = {
    200: {"model": TaskOut, "description": "The task as it is now", "headers": _HEADERS}
}
_UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "Nothing has changed since the ETag in If-None-Match"}
}
_KNOWN = {
    "parameters": [
        {
            "name": "If-None-Match",
            "in": "header",
            "description": "ETag of an earlier answer: 304 if nothing has changed since.",
            "schema": {"type": "string"},
        }
    ]
}
_SEEN = {
    "parameters": [
        {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "`id` of the last event that was read.",
            "schema": {"type": "string"},
        }
    ]
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`task` (all of it), then `image` and `progress`, at last `end`; `problem` "
        "if it cannot be told any more. `id` is the task's version.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    204: {"description": "It has ended, and the reader knows (Last-Event-ID)"},
}
_JPEG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture with its boxes",
        "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
    },
    409: {"model": Problem, "description": "The picture's turn has not come"},
    413: {"model": Problem, "description": "The picture failed: too many bytes or pixels"},
    415: {"model": Problem, "description": "The picture failed: not a type that is read"},
    422: {"model": Problem, "description": "The picture failed; the problem is its own"},
    504: {"model": Problem, "description": "The deadline passed"},
}
_DELETED: dict[int | str, dict[str, Any]] = {
    200: {"model": TaskOut, "description": "It is cancelled", "headers": _HEADERS},
    204: {"description": "It had ended, and is forgotten"},
}


@router.get(
    "/result/{task_id}",
    summary="What came of a task",
    response_class=Response,
    responses=_STATE | _UNCHANGED | _REFUSED,
    openapi_extra=_KNOWN,
)
async def result(
    request: Request, task_id: str, query: Annotated[ResultQuery, Query()]
) -> Response:
    """Results appear as they come: an entry an image, in the order they were sent."""
    tasks: Tasks = request.app.state.tasks
    task = await tasks.get(request, task_id)
    tags = request.headers.get("if-none-match", "")
    if query.wait:
        waiting = tasks.wait(task, version_in(tags, task_id), query.wait)
        later = await unless_gone(request, until_leaving(request.scope, waiting))
        task = task if later is None else later
    queue = await tasks.place(task)
    tag = etag_of(task, queue, query.annotated)
    headers = {"ETag": tag, "Cache-Control": "no-cache"} | retry_after(task, queue)
    if tag in tags:
        return Response(status_code=304, headers=headers)
    if query.annotated:
        drawing: Drawing = request.app.state.drawing
        return StreamingResponse(drawing.state(task, queue), 200, headers, _JSON)
    return Response(await tasks.states.of(task, queue), 200, headers, _JSON)


@router.get(
    "/result/{task_id}/events",
    summary="A task as server-sent events, until it ends",
    response_class=StreamingResponse,
    responses=_EVENTS | _REFUSED,
    openapi_extra=_SEEN,
)
async def events(request: Request, task_id: str) -> Response:
    """`Last-Event-ID` resumes: browsers send it by themselves."""
    tasks: Tasks = request.app.state.tasks
    task = await tasks.get(request, task_id)
    known = version_in(request.headers.get("last-event-id"), task_id)
    if task.status in ENDED and known == task.version:
        return Response(status_code=204)  # a browser would come back for ever
    return event_stream(request, tasks, task, known)


@router.get(
    "/result/{task_id}/images/{index}",
    summary="A picture of a task with its boxes",
    response_class=Response,
    responses=_REFUSED | _JPEG,
)
async def image(request: Request, task_id: str, index: int) -> Response:
    tasks: Tasks = request.app.state.tasks
    drawing: Drawing = request.app.state.drawing
    task = await tasks.get(request, task_id)
    if not 0 <= index < len(task.images):
        raise HTTPException(404)
    wanted = task.images[index]
    if wanted.failure is not None:
        return answer_to_failure(wanted.failure, request.scope)
    async with deadline(seconds_of(request, request.app.state.settings.request_timeout)):
        jpeg = await unless_gone(request, drawing.jpeg(task, wanted))
    return Response(jpeg, 200, media_type="image/jpeg")


@router.post(
    "/result/{task_id}/retry",
    summary="Run the failed pictures of a task again",
    response_class=Response,
    responses=_STATE | _REFUSED,
)
async def retry(request: Request, task_id: str) -> Response:
    """Those that were no pictures stay as they are, and so does a task without failures."""
    tasks: Tasks = request.app.state.tasks
    return await _state(tasks, await tasks.retry(await tasks.get(request, task_id)))


@router.delete(
    "/result/{task_id}",
    summary="Cancel a task; forget one that has ended",
    response_class=Response,
    responses=_DELETED | _REFUSED,
)
async def delete(request: Request, task_id: str) -> Response:
    """Of a task that is cancelled, pictures that were not begun are never run."""
    tasks: Tasks = request.app.state.tasks
    task = await tasks.get(request, task_id)
    if task.status in ENDED:
        await tasks.forget(task)
        return Response(status_code=204)
    return await _state(tasks, await tasks.cancel(task))


@router.get(
    "/tasks",
    summary="The queue at a glance",
    response_class=Response,
    responses={
        200: {"model": TasksOut, "description": "What there was a moment ago"},
        503: _REFUSED[503],
    },
)
async def glance(request: Request) -> Response:
    tasks: Tasks = request.app.state.tasks
    return Response(to_json(await tasks.overview(request)), 200, media_type=_JSON)


async def _state(tasks: Tasks, task: Task) -> Response:
    queue = await tasks.place(task)
    headers = {"ETag": etag_of(task, queue)} | retry_after(task, queue)
    return Response(await tasks.states.of(task, queue), 200, headers, _JSON)
