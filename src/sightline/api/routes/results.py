"""Ask after a task, and change its course."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from sightline import errors
from sightline.api.context import Context
from sightline.api.deadline import deadline, seconds_of
from sightline.api.disconnect import unless_gone
from sightline.api.openapi.operations import JPEG, TIMEOUT, header, parameter, ref, refusals
from sightline.api.problems import INTERNAL, KINDS, answer_to_failure, http_kind
from sightline.api.schemas.tasks import EVENTS, DeleteQuery, ResultQuery, TaskOut, TasksOut
from sightline.api.server.shutdown import until_shutdown
from sightline.api.tasks.events import event_stream
from sightline.api.tasks.representation import etag_of, retry_after, to_json, version_in
from sightline.tasks.task import ENDED, MAX_IMAGES

if TYPE_CHECKING:
    from sightline.api.openapi.operations import Answers
    from sightline.api.tasks.service import TaskService
    from sightline.tasks.task import Task

router = APIRouter(tags=["tasks"])

_JSON = "application/json"
_TASK_ID = "6d1f0b9a4e8c4c7f9b0a5f3d2c1e0a98"

# What it is, for those who generate clients: any other is a task that does not exist.
TaskId = Annotated[
    str,
    Path(
        description="As `POST /predict` answered it.",
        json_schema_extra={"pattern": "^[0-9a-f]{32}$", "examples": [_TASK_ID]},
    ),
]
Index = Annotated[
    int,
    Path(
        description="Of the picture in the task, from 0.",
        json_schema_extra={"minimum": 0, "maximum": MAX_IMAGES - 1, "examples": [0]},
    ),
]

_OF_A_TASK = (errors.UnknownTask, errors.ExpiredTask, errors.StorageUnavailable)
_HEADERS = header("ETag") | header("Retry-After", as_in="Poll-Again")
_STATE: Answers = {
    200: {"model": TaskOut, "description": "The task as it is now", "headers": _HEADERS}
}
_UNCHANGED: Answers = {
    304: {
        "description": "Nothing has changed since the ETag in If-None-Match",
        "headers": _HEADERS,
    }
}
_KNOWN = parameter(
    "If-None-Match",
    "ETag of an earlier answer: 304 if nothing has changed since.",
    type="string",
    examples=['"6d1f0b9a-42"'],
)
_SEEN = parameter(
    "Last-Event-ID",
    "`id` of the last event that was read; browsers send it by themselves.",
    type="string",
    examples=["42"],
)
_STREAM = """retry: 2000

id: 7
event: task
data: {"task_id":"6d1f…","status":"processing","progress":{"done":0,"total":1,"failed":0},…}

event: image
data: {"index":0,"filename":"photo.jpg","status":"completed","count":1,"detections":[…],…}

id: 9
event: progress
data: {"status":"completed","progress":{"done":1,"total":1,"failed":0}}

id: 9
event: end
data: {"task_id":"6d1f…","status":"completed",…}

"""
# What each event is: https://spec.openapis.org/oas/v3.2.0.html#server-sent-event-streams. OpenAPI
# 3.1 has no words for it, and validators refuse those of 3.2.
_EVENT = {
    "oneOf": [
        {
            "type": "object",
            "required": ["event", "data"],
            "properties": {
                "id": {"type": "string"},
                "event": {"const": name},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": ref(model),
                },
            },
        }
        for name, model in EVENTS.items()
    ]
}
_EVENTS: Answers = {
    200: {
        "description": "`task` (all of it, as `GET /result/{task_id}` answers), then `image` (an "
        "entry of its `results`) and `progress`, at last `end` (all but the results); `problem` if "
        "it cannot be told any more. `id` is the task's version.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "x-itemSchema": _EVENT,
                "examples": {"one picture": {"value": _STREAM}},
            }
        },
    },
    204: {"description": "It has ended, and the reader knows (Last-Event-ID)"},
}
_JPEG: Answers = {
    200: {
        "description": "The picture with its boxes",
        "content": {"image/jpeg": {"schema": JPEG}},
    },
}
# A picture that failed is answered with what it failed of; where the service was to blame, as 422.
_OF_A_PICTURE = (
    http_kind(404),
    errors.NotYet,
    errors.BodyTooLarge,
    errors.ImageTooLarge,
    errors.UnsupportedImage,
    errors.EmptyImage,
    errors.BrokenImage,
    errors.UrlRefused,
    errors.UrlFailed,
    errors.ConfigError,
    KINDS[errors.PoisonImage]._replace(status=422),
    KINDS[errors.UnreadablePicture]._replace(status=422),
    INTERNAL._replace(status=422),
    errors.UnreadablePicture,
    errors.DeadlineExceeded,
)
_DELETED: Answers = {
    200: {
        "model": TaskOut,
        "description": "It is cancelled; with `forget=false` also: it had ended, and is as it was",
        "headers": _HEADERS,
    },
    204: {"description": "It had ended, and is forgotten"},
}


@router.get(
    "/result/{task_id}",
    summary="What came of a task",
    response_class=Response,
    responses=_STATE | _UNCHANGED | refusals(*_OF_A_TASK),
    openapi_extra=_KNOWN,
)
async def get_task(
    request: Request, task_id: TaskId, query: Annotated[ResultQuery, Query()], context: Context
) -> Response:
    """Results appear as they come: an entry an image, in the order they were sent.

    Poll with `?wait=20` and If-None-Match: the answer is held back until there is something new.
    """
    tasks = context.tasks
    task = await tasks.get(request, task_id)
    tags = request.headers.get("if-none-match", "")
    if query.wait:
        waiting = tasks.wait(task, version_in(tags, task_id), query.wait)
        later = await unless_gone(request, until_shutdown(request.scope, waiting))
        task = task if later is None else later
    queue = await tasks.place(task)
    tag = etag_of(task, queue, query.annotated)
    headers = {"ETag": tag, "Cache-Control": "no-cache"} | retry_after(task, queue)
    if tag in tags:
        return Response(status_code=304, headers=headers)
    if query.annotated:
        return StreamingResponse(context.annotated.state(task, queue), 200, headers, _JSON)
    return Response(await tasks.states.of(task, queue), 200, headers, _JSON)


@router.get(
    "/result/{task_id}/events",
    summary="A task as server-sent events, until it ends",
    response_class=StreamingResponse,
    responses=_EVENTS | refusals(*_OF_A_TASK),
    openapi_extra=_SEEN,
)
async def watch_task(request: Request, task_id: TaskId, context: Context) -> Response:
    """`Last-Event-ID` resumes: browsers send it by themselves."""
    tasks = context.tasks
    task = await tasks.get(request, task_id)
    known = version_in(request.headers.get("last-event-id"), task_id)
    if task.status in ENDED and known == task.version:
        return Response(status_code=204)  # a browser would come back for ever
    return event_stream(request, tasks, task, known)


@router.get(
    "/result/{task_id}/images/{index}",
    summary="A picture of a task with its boxes",
    response_class=Response,
    responses=_JPEG | refusals(*_OF_A_TASK, *_OF_A_PICTURE),
    openapi_extra=TIMEOUT,
)
async def get_annotated_picture(
    request: Request, task_id: TaskId, index: Index, context: Context
) -> Response:
    """Drawn when it is asked for."""
    tasks = context.tasks
    task = await tasks.get(request, task_id)
    if not 0 <= index < len(task.images):
        raise HTTPException(404)
    wanted = task.images[index]
    if wanted.failure is not None:
        return answer_to_failure(wanted.failure, request.scope)
    async with deadline(seconds_of(request, context.settings.request_timeout)):
        jpeg = await unless_gone(request, context.annotated.jpeg(task, wanted))
    return Response(jpeg, 200, media_type="image/jpeg")


@router.post(
    "/result/{task_id}/retry",
    summary="Run the failed pictures of a task again",
    response_class=Response,
    responses=_STATE | refusals(*_OF_A_TASK, errors.Overloaded),
)
async def retry_task(request: Request, task_id: TaskId, context: Context) -> Response:
    """Those that were no pictures stay as they are, and so does a task without failures."""
    tasks = context.tasks
    return await _state(tasks, await tasks.retry(await tasks.get(request, task_id)))


@router.delete(
    "/result/{task_id}",
    summary="Cancel a task; forget one that has ended",
    response_class=Response,
    responses=_DELETED | refusals(*_OF_A_TASK, errors.NotEnded),
)
async def delete_task(
    request: Request, task_id: TaskId, query: Annotated[DeleteQuery, Query()], context: Context
) -> Response:
    """Of a task that is cancelled, pictures that were not begun are never run.

    `?forget=false` cancels alone: to ask again is safe, and no result is lost.
    """
    tasks = context.tasks
    task = await tasks.get(request, task_id)
    if query.forget and task.status in ENDED:
        await tasks.forget(task)
        return Response(status_code=204)
    return await _state(tasks, await tasks.cancel(task))


@router.get(
    "/tasks",
    summary="The queue at a glance",
    response_class=Response,
    responses={
        200: {"model": TasksOut, "description": "What there was a moment ago"},
        **refusals(errors.StorageUnavailable),
    },
)
async def get_queue(request: Request, context: Context) -> Response:
    """How many tasks there are of each status and priority, and how much waits."""
    return Response(to_json(await context.tasks.overview(request)), 200, media_type=_JSON)


async def _state(tasks: TaskService, task: Task) -> Response:
    queue = await tasks.place(task)
    headers = {"ETag": etag_of(task, queue)} | retry_after(task, queue)
    return Response(await tasks.states.of(task, queue), 200, headers, _JSON)
