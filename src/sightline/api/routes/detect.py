"""One picture now."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from sightline.api.deadline import HEADER, deadline, seconds_of
from sightline.api.disconnect import unless_gone
from sightline.api.headers import answer_headers
from sightline.api.negotiation import wants_jpeg
from sightline.api.schemas import DetectAnswer, DetectQuery, Problem
from sightline.api.urls import UrlBody, picture_of
from sightline.vision.draw import draw_detections, encode_jpeg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from concurrent.futures import Future

    from sightline.api.spool import Upload
    from sightline.serving.detector import Detector
    from sightline.serving.job import Result
    from sightline.serving.repository import Repository
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
    state = request.app.state
    settings: Settings = state.settings
    drawn = wants_jpeg(",".join(request.headers.getlist("accept")))
    seconds = seconds_of(request, settings.request_timeout)
    ends = perf_counter() + seconds
    # Before the body is read: in a storm, refusals must not take the CPU that answers need.
    state.repository.require_room(query.model, settings.max_wait)
    async with (
        picture_of(request) as upload,
        deadline(seconds),
        _leased(state.repository, query.model) as detector,
    ):
        # Reading a header is quick, but not whatever a header may hold: not for the event loop.
        submit = partial(_submit, detector, upload, query, settings.max_wait, drawn, ends)
        future = await anyio.to_thread.run_sync(submit)
        upload.close()  # the queue has it now
        result = await unless_gone(request, future)
        headers = answer_headers(detector)
        if drawn:
            jpeg = detector.run_on_pool(lambda: _annotate(result))
            return Response(await asyncio.wrap_future(jpeg), 200, headers, "image/jpeg")
        return JSONResponse(_answer(detector, result), 200, headers)


@asynccontextmanager
async def _leased(repository: Repository, model: str | None) -> AsyncIterator[Detector]:
    """The detector of a model, which is there until the context ends."""
    lease = repository.lease(model)
    detector = await anyio.to_thread.run_sync(lease.__enter__)  # it may have to be loaded
    try:
        yield detector
    finally:
        lease.__exit__(None, None, None)


def _submit(
    detector: Detector,
    upload: Upload,
    query: DetectQuery,
    max_wait: float,
    keep_image: bool,
    ends: float,
) -> Future[Result]:
    return detector.submit(
        upload.load(),
        confidence=query.confidence,
        iou=query.iou,
        classes=query.class_names(),
        max_detections=query.max_detections,
        max_wait=max_wait,
        # Who stops waiting before this returns has no future to cancel.
        timeout=ends - perf_counter(),
        keep_image=keep_image,
    )


def _annotate(result: Result) -> bytes:
    if result.image is None:
        raise RuntimeError("the detector was not asked to keep the picture")
    return encode_jpeg(draw_detections(result.image, result.detections))


def _answer(detector: Detector, result: Result) -> dict[str, Any]:
    found, timing = result.detections, result.timing
    inference_ms = round(timing.inference_ms, 2)
    return {
        "model": detector.spec.name,
        "digest": detector.digest,
        "image": {"width": found.width, "height": found.height},
        "count": len(found),
        "detections": found.to_dicts(),
        "inference_time_ms": inference_ms,
        "fps": round(1000 / max(inference_ms, 0.01), 1),
        "timing": {
            "queue_ms": round(timing.queue_ms, 2),
            "decode_ms": round(timing.decode_ms, 2),
            "inference_ms": inference_ms,
            "postprocess_ms": round(timing.postprocess_ms, 2),
            "total_ms": round(timing.total_ms, 2),
        },
    }
