"""Every failing answer is an RFC 9457 problem; one table says which error is which."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from sightline import errors

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

MEDIA_TYPE = "application/problem+json"

CLIENT_GONE = 499
"""For the access log alone: the client hung up, and nobody reads the answer (nginx's number)."""


class Kind(NamedTuple):
    """A kind of problem: HTTP status, last part of its `type`, title."""

    status: int
    slug: str
    title: str


# The nearest class in an error's ancestry counts.
KINDS: dict[type[Exception], Kind] = {
    errors.MalformedBody: Kind(400, "malformed-body", "The request body is malformed"),
    errors.BodyTooLarge: Kind(413, "upload-too-large", "The upload has too many bytes"),
    errors.WrongFileCount: Kind(422, "wrong-file-count", "Exactly one picture is needed"),
    errors.BadOption: Kind(422, "bad-option", "An option is not acceptable"),
    errors.KeyWrong: Kind(401, "key-wrong", "A key is needed"),
    errors.NotAllowed: Kind(403, "not-allowed", "Not allowed"),
    errors.UrlRefused: Kind(422, "url-refused", "The address may not be fetched"),
    errors.UrlFailed: Kind(422, "url-failed", "The address could not be fetched"),
    errors.ConfigError: Kind(422, "model-unusable", "The model cannot be loaded"),
    errors.EmptyImage: Kind(422, "empty-image", "The picture is empty"),
    errors.UnsupportedImage: Kind(415, "unsupported-image", "Not a picture type that is read"),
    errors.BrokenImage: Kind(422, "broken-image", "The picture is damaged"),
    errors.ImageTooLarge: Kind(413, "image-too-large", "The picture has too many pixels"),
    errors.Overloaded: Kind(503, "overloaded", "Too much work is waiting"),
    errors.DetectorClosed: Kind(503, "not-serving", "The service is not serving"),
    errors.DeadlineExceeded: Kind(504, "deadline-exceeded", "The deadline passed"),
    errors.SightlineError: Kind(500, "internal", "Something failed inside the service"),
}


def problem(
    kind: Kind, detail: str, headers: dict[str, str] | None = None, **more: object
) -> JSONResponse:
    """A problem document with `more` as its extension members."""
    return JSONResponse(
        problem_body(kind, detail) | more, kind.status, headers, media_type=MEDIA_TYPE
    )


def problem_body(kind: Kind, detail: str) -> dict[str, Any]:
    """The members that every problem has."""
    return {
        "type": f"urn:sightline:problem:{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
    }


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem, the framework's own included."""
    app.add_exception_handler(errors.SightlineError, _on_sightline_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_unexpected)


def kind_of(error: Exception) -> Kind:
    """The kind of problem that `error` is."""
    return next(KINDS[cls] for cls in type(error).__mro__ if cls in KINDS)


async def _on_sightline_error(_: Request, error: Exception) -> JSONResponse:
    kind = kind_of(error)
    if isinstance(error, errors.Overloaded):
        retry = error.retry_after
        return problem(kind, str(error), {"Retry-After": str(retry)}, retry_after=retry)
    if kind.status == HTTPStatus.UNAUTHORIZED:
        return problem(kind, str(error), {"WWW-Authenticate": "Bearer"})
    if kind.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        raise error  # its cause belongs into the log; the client gets _on_unexpected's words
    return problem(kind, str(error))


async def _on_validation_error(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    wrong = [
        {"parameter": str(item["loc"][-1]), "message": item["msg"], "value": str(item["input"])}
        for item in error.errors()
    ]
    detail = "; ".join(
        f"{item['parameter']}: {item['message'].lower()}, not '{item['value'][:80]}'"
        for item in wrong
    )
    return problem(KINDS[errors.BadOption], f"{detail}.", errors=wrong)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    phrase = HTTPStatus(error.status_code).phrase
    kind = Kind(error.status_code, phrase.lower().replace(" ", "-"), phrase)
    detail = {
        404: f"There is nothing at {request.url.path}. See /docs for what there is.",
        405: f"{request.url.path} does not take {request.method}. See /docs.",
    }.get(error.status_code, str(error.detail))
    return problem(kind, detail, dict(error.headers or {}))


async def _on_disconnect(_: Request, __: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _on_unexpected(_: Request, __: Exception) -> JSONResponse:
    kind = KINDS[errors.SightlineError]
    return problem(kind, "The service failed on this request. Its log has the details.")
