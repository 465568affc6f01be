"""Hand in a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from sightline.api.results import accepted, to_json
from sightline.api.schemas import Problem
from sightline.api.submission import KEY_HEADER, UrlsBody, submit
from sightline.api.task_schemas import PredictQuery, TaskAccepted
from sightline.tasks.task import MAX_IMAGES

if TYPE_CHECKING:
    from sightline.api.tasks import Tasks

router = APIRouter(tags=["tasks"])

_FILES = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "minItems": 1,
    "maxItems": MAX_IMAGES,
}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "1 to 100 pictures: JPEG, PNG, WebP, BMP, TIFF, GIF (first frame) or AVIF; "
        "or, as JSON, the addresses of so many.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {"files": _FILES},
                }
            },
            "application/json": {"schema": UrlsBody.model_json_schema()},
        },
    }
}
_PARAMETERS = {
    "parameters": [
        {
            "name": KEY_HEADER,
            "in": "header",
            "description": "1 to 255 characters of your choice. The same request under the same "
            "key is the same task: send it again whenever you are not sure that it arrived.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        }
    ]
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    201: {
        "model": TaskAccepted,
        "description": "The task is kept, and outlives a crash of the service",
        "headers": {
            "Location": {"description": "where to ask for it", "schema": {"type": "string"}},
            "Idempotent-Replayed": {
                "description": f"`true` if it was there already under this {KEY_HEADER}",
                "schema": {"type": "string"},
            },
        },
    },
    400: {"model": Problem, "description": "Malformed multipart or JSON"},
    408: {"model": Problem, "description": "The body did not come in time"},
    409: {"model": Problem, "description": f"The {KEY_HEADER} was used for something else"},
    413: {"model": Problem, "description": "Too many bytes; with `strict` those of one picture"},
    415: {"model": Problem, "description": "With `strict`: not a picture type that is read"},
    422: {
        "model": Problem,
        "description": "No picture, or more than 100; bad option; address or callback refused; "
        "with `strict` a broken picture",
    },
    503: {"model": Problem, "description": "Too much waits, or the disk is full; see Retry-After"},
}


@router.post(
    "/predict",
    summary="Queue 1 to 100 pictures",
    status_code=201,
    response_class=Response,
    responses=_ANSWERS,
    openapi_extra=_BODY | _PARAMETERS,
)
async def predict(request: Request, query: Annotated[PredictQuery, Query()]) -> Response:
    """Answers as soon as they are safe on disk; `GET /result/{task_id}` tells the rest."""
    tasks: Tasks = request.app.state.tasks
    task, replayed = await submit(request, query, tasks)
    headers = {"Location": f"{request.scope.get('root_path', '')}/result/{task.id}"}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(to_json(accepted(task)), 201, headers, "application/json")
