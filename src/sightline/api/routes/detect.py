"""One picture now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from sightline.api.deadline import HEADER, deadline, seconds_of
from sightline.api.disconnect import unless_gone
from sightline.api.negotiation import wants_jpeg
from sightline.api.schemas import DetectAnswer, DetectQuery, Problem
from sightline.api.urls import UrlBody, picture_of

if TYPE_CHECKING:
    from sightline.api.backend import Backend
    from sightline.settings import Settings

router = APIRouter(tags=["detect"])

_PICTURE = {"type": "string", "format": "binary"}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "The picture: JPEG, PNG, WebP, BMP, TIFF, GIF (first frame) or AVIF; or, as "
        "JSON, the address of one.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": _PICTURE},
                }
            },
            "image/*": {"schema": _PICTURE},
            "application/json": {"schema": UrlBody.model_json_schema()},
        },
    }
}
_PARAMETERS = {
    "parameters": [
        {
            "name": HEADER,
            "in": "header",
            "description": "Milliseconds that you wait once the request is sent; then 504.",
            "schema": {"type": "integer", "minimum": 1, "maximum": 3_600_000},
        }
    ]
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": DetectAnswer,
        "description": "The objects; with `Accept: image/jpeg` the annotated picture",
        "content": {"image/jpeg": {"schema": _PICTURE}},
    },
    400: {"model": Problem, "description": "Malformed multipart or JSON"},
    413: {"model": Problem, "description": "Too many bytes or pixels"},
    415: {"model": Problem, "description": "Not a picture type that is read"},
    422: {
        "model": Problem,
        "description": "Broken picture, no or several files, bad option, address refused or failed",
    },
    503: {"model": Problem, "description": "Too much waits; see Retry-After"},
    504: {"model": Problem, "description": "The deadline passed"},
}


@router.post(
    "/detect",
    summary="Detect objects in one picture",
    response_class=JSONResponse,
    responses=_ANSWERS,
    openapi_extra=_BODY | _PARAMETERS,
)
async def detect(request: Request, query: Annotated[DetectQuery, Query()]) -> Response:
    backend: Backend = request.app.state.backend
    settings: Settings = request.app.state.settings
    drawn = wants_jpeg(",".join(request.headers.getlist("accept")))
    seconds = seconds_of(request, settings.request_timeout)
    # Before the body is read: in a storm, refusals must not take the CPU that answers need.
    async with deadline(seconds):
        await backend.require_room(query.model)
    async with picture_of(request) as upload, deadline(seconds):
        answer = await unless_gone(request, backend.detect(upload, query, drawn=drawn))
    return Response(answer.body, 200, answer.headers, answer.media_type)
