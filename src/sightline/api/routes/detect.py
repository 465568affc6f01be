"""One picture now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from sightline import errors
from sightline.api.context import Context
from sightline.api.deadline import deadline, seconds_of
from sightline.api.disconnect import unless_gone
from sightline.api.headers import MODEL_HEADER, answer_headers
from sightline.api.negotiation import wants_jpeg
from sightline.api.openapi.operations import (
    BINARY,
    JPEG,
    TIMEOUT,
    UNGENERATED,
    header,
    ref,
    refusals,
)
from sightline.api.schemas.detect import DetectAnswer, DetectQuery
from sightline.api.uploads.by_url import UrlBody, picture_of
from sightline.backend.messages import RoomRequest
from sightline.backend.operations import DETECT, REQUIRE_ROOM

if TYPE_CHECKING:
    from sightline.api.openapi.operations import Answers

router = APIRouter(tags=["detect"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The picture: JPEG, PNG, WebP, BMP, TIFF, GIF (first frame) or AVIF. Or the "
        'address of one, as `application/json`: `{"url": "https://example.com/photo.jpg"}`.',
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": BINARY},
                    "additionalProperties": False,
                },
                "encoding": {"file": {"contentType": "image/*"}},
            },
            "image/*": {"schema": BINARY},
        },
        UNGENERATED: {"application/json": {"schema": ref(UrlBody)}},
    }
}
_FOUND: Answers = {
    200: {
        "model": DetectAnswer,
        "description": "The objects; with `Accept: image/jpeg` the annotated picture",
        "headers": header(MODEL_HEADER),
        "content": {"image/jpeg": {"schema": JPEG}},
    },
}
_REFUSED = refusals(
    errors.EmptyImage,
    errors.UnsupportedImage,
    errors.BrokenImage,
    errors.ImageTooLarge,
    errors.WrongFileCount,
    errors.UrlRefused,
    errors.UrlFailed,
    errors.ConfigError,
    errors.Overloaded,
    errors.WorkerDied,
    errors.DeadlineExceeded,
)


@router.post(
    "/detect",
    summary="Detect objects in one picture",
    response_class=JSONResponse,
    responses=_FOUND | _REFUSED,
    openapi_extra=_BODY | TIMEOUT,
)
async def detect(
    request: Request, query: Annotated[DetectQuery, Query()], context: Context
) -> Response:
    """Send it as a form's field `file`, as the body itself, or the address of one as JSON.

    Its first bytes say what it is, whatever it is called.
    """
    drawn = wants_jpeg(",".join(request.headers.getlist("accept")))
    seconds = seconds_of(request, context.settings.request_timeout)
    # Before the body is read: in a storm, refusals must not take the CPU that answers need.
    async with deadline(seconds):
        await context.backend.call(REQUIRE_ROOM, RoomRequest(query.model))
    limits = context.settings.max_upload_bytes, context.upload_budget
    async with picture_of(request, *limits, context.fetches) as upload, deadline(seconds):
        detecting = context.backend.call(DETECT, query.to_request(drawn=drawn), upload)
        reply = await unless_gone(request, detecting)
    return Response(reply.body, 200, answer_headers(reply), reply.media_type)
