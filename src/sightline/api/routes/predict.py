"""Hand in a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from sightline import errors
from sightline.api.context import Context
from sightline.api.openapi.operations import BINARY, UNGENERATED, header, parameter, ref, refusals
from sightline.api.schemas.tasks import PredictQuery, TaskAccepted
from sightline.api.tasks.representation import accepted, to_json
from sightline.api.tasks.submission import KEY_HEADER, UrlsBody, submit
from sightline.tasks.task import MAX_IMAGES

if TYPE_CHECKING:
    from sightline.api.context import Context
from sightline.api.openapi.operations import Answers

router = APIRouter(tags=["tasks"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "1 to 100 pictures: JPEG, PNG, WebP, BMP, TIFF, GIF (first frame) or AVIF. "
        "Or the addresses of so many, as `application/json`: "
        '`{"urls": ["https://example.com/photo.jpg"]}`.',
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "items": BINARY,
                            "minItems": 1,
                            "maxItems": MAX_IMAGES,
                        }
                    },
                    "additionalProperties": False,
                },
                "encoding": {"files": {"contentType": "image/*"}},
            },
        },
        UNGENERATED: {"application/json": {"schema": ref(UrlsBody)}},
    }
}
_KEY = parameter(
    KEY_HEADER,
    "1 to 255 printable characters of your choice. The same request under the same key is the same "
    "task: send it again whenever you are not sure that it arrived.",
    type="string",
    minLength=1,
    maxLength=255,
    pattern="^[ -~]+$",
    examples=["order-4711"],
)


def _link(operation: str, what: str) -> dict[str, Any]:
    parameters = {"task_id": "$response.body#/task_id"}
    return {"operationId": operation, "parameters": parameters, "description": what}


_KEPT: Answers = {
    201: {
        "model": TaskAccepted,
        "description": "The task is kept, and outlives a crash of the service",
        "headers": header("Location") | header("Idempotent-Replayed"),
        "links": {
            "state": _link("get_task", "How far it is, and what came of it"),
            "events": _link("watch_task", "The same, as it happens"),
            "retry": _link("retry_task", "Run what failed again"),
            "delete": _link("delete_task", "Cancel it, or forget it"),
        },
    },
}
_REFUSED = refusals(
    errors.WrongFileCount,
    errors.UrlRefused,
    errors.CallbackRefused,
    errors.Conflict,
    errors.ExpiredTask,
    errors.EmptyImage,
    errors.UnsupportedImage,
    errors.BrokenImage,
    errors.ImageTooLarge,
    errors.Overloaded,
    errors.StorageUnavailable,
)


@router.post(
    "/predict",
    summary="Queue 1 to 100 pictures",
    status_code=201,
    response_class=Response,
    responses=_KEPT | _REFUSED,
    openapi_extra=_BODY | _KEY,
)
async def submit_task(
    request: Request, query: Annotated[PredictQuery, Query()], context: Context
) -> Response:
    """Answers as soon as they are safe on disk; `GET /result/{task_id}` tells the rest.

    A file that is no picture fails alone, and the task is taken; with `strict` all of it is refused
    then.
    """
    task, replayed = await submit(request, query, context.tasks)
    headers = {"Location": f"{request.scope.get('root_path', '')}/result/{task.id}"}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(to_json(accepted(task)), 201, headers, "application/json")
