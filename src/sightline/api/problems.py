"""Problem documents (RFC 9457) for all errors, and the table of errors to problems."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from fastapi.exceptions import (
    RequestValidationError,
    ValidationException,
    WebSocketRequestValidationError,
)
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from sightline import errors
from sightline.api.methods import allowed
from sightline.api.request_info import CLIENT_GONE, info_of

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from sightline.tasks.task import Failure

MEDIA_TYPE = "application/problem+json"

RESTART_SECONDS = 30
"""`Retry-After` while the service shuts down or has to be restarted: about what that takes."""

_RELOAD_SECONDS = 3
"""`Retry-After` while a model is loaded again: about what that takes."""

HIDDEN = "The service failed on this request. Its log has the details."

_log = logging.getLogger("sightline.request")


class Kind(NamedTuple):
    """A kind of problem: HTTP status, last part of its `type`, title."""

    status: int
    slug: str
    title: str


# An error that is not listed has the kind of its nearest base class.
KINDS: dict[type[Exception], Kind] = {
    errors.MalformedBody: Kind(400, "malformed-body", "The request body is malformed"),
    errors.HostUnknown: Kind(400, "host-unknown", "The service does not answer to this name"),
    errors.BodyStalled: Kind(408, "body-stalled", "The body did not come in time"),
    errors.BodyTooLarge: Kind(413, "upload-too-large", "The upload has too many bytes"),
    errors.WrongFileCount: Kind(422, "wrong-file-count", "Not the right number of pictures"),
    errors.BadOption: Kind(422, "bad-option", "An option is not acceptable"),
    errors.KeyWrong: Kind(401, "key-wrong", "A key is needed"),
    errors.NotAllowed: Kind(403, "not-allowed", "Not allowed"),
    errors.NotAcceptable: Kind(406, "not-acceptable", "Not to be had in that form"),
    errors.UnknownTask: Kind(404, "unknown-task", "There is no such task"),
    errors.ExpiredTask: Kind(410, "expired-task", "The results have expired"),
    errors.Conflict: Kind(409, "idempotency-conflict", "The key was used for something else"),
    errors.NotEnded: Kind(409, "not-ended", "The task has not ended"),
    errors.NotYet: Kind(409, "not-yet", "The picture's turn has not come"),
    errors.UrlRefused: Kind(422, "url-refused", "The address may not be fetched"),
    errors.UrlFailed: Kind(422, "url-failed", "The address could not be fetched"),
    errors.CallbackRefused: Kind(422, "callback-refused", "The callback may not be called"),
    errors.ConfigError: Kind(422, "model-unusable", "The model cannot be loaded"),
    errors.EmptyImage: Kind(422, "empty-image", "The picture is empty"),
    errors.UnsupportedImage: Kind(415, "unsupported-image", "Not a picture type that is read"),
    errors.BrokenImage: Kind(422, "broken-image", "The picture is damaged"),
    errors.ImageTooLarge: Kind(413, "image-too-large", "The picture has too many pixels"),
    errors.RateLimited: Kind(429, "rate-limited", "Too many requests"),
    errors.TooManyAtOnce: Kind(429, "too-many-at-once", "Too many requests under way"),
    errors.Overloaded: Kind(503, "overloaded", "Too much work is waiting"),
    errors.StorageUnavailable: Kind(503, "storage-unavailable", "Tasks cannot be kept now"),
    errors.UnreadablePicture: Kind(
        503, "picture-unreadable", "The bytes of the picture cannot be read"
    ),
    errors.PoisonImage: Kind(500, "culprit", "The service died of this picture"),
    errors.DetectorClosed: Kind(503, "not-serving", "The service is not serving"),
    errors.WorkerDied: Kind(503, "worker-died", "The model is being started again"),
    errors.DeadlineExceeded: Kind(504, "deadline-exceeded", "The deadline passed"),
    errors.SightlineError: Kind(500, "internal", "Something failed inside the service"),
}
INTERNAL = KINDS[errors.SightlineError]


def problem_body(kind: Kind, detail: str) -> dict[str, Any]:
    """The members that every problem has."""
    return {
        "type": f"urn:sightline:problem:{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
    }


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem, the framework's own included."""
    for cls in (errors.SightlineError, RequestValidationError, HTTPException, ClientDisconnect):
        app.add_exception_handler(cls, _on_error)
    app.add_exception_handler(Exception, _on_error)
    app.router.default = _not_found  # the default answers a WebSocket with an empty 403


async def _not_found(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise HTTPException(HTTPStatus.NOT_FOUND)


async def _on_error(request: Request, error: Exception) -> Response:
    return answer_to(error, request.scope)


def answer_to(error: Exception, scope: Scope) -> Response:
    """The answer to a request that failed with `error`.

    Errors of ours and of the framework are described. Any other error is logged, and the client
    learns only that it happened.
    """
    match error:
        case ClientDisconnect():
            return Response(status_code=CLIENT_GONE)
        case RequestValidationError() | WebSocketRequestValidationError():
            kind, detail, more = _bad_option(error)
            return _problem(scope, kind, detail, {}, more)
        case HTTPException():
            kind = http_kind(error.status_code)
            headers = dict(error.headers or {})
            if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
                headers |= allowed(scope)
            return _problem(scope, kind, _http_detail(error, scope), headers)
        case errors.SightlineError() if kind_of(error).status != INTERNAL.status:
            kind = kind_of(error)
            return _problem(scope, kind, str(error), *_extras(error, scope))
        case _:
            _log.error("request failed", exc_info=error)
            return _problem(scope, INTERNAL, HIDDEN)


def kind_of(error: Exception) -> Kind:
    """The kind of problem of `error`."""
    return next(KINDS[cls] for cls in type(error).__mro__ if cls in KINDS)


def failure_body(failure: Failure) -> dict[str, Any]:
    """The problem that a picture of a task failed with, without internal details."""
    kind = kind_of_name(failure.error)
    return problem_body(kind, HIDDEN if kind is INTERNAL else failure.detail)


def answer_to_failure(failure: Failure, scope: Scope) -> Response:
    """The answer to a request for a picture of a task that failed.

    A failure of the service at that time is no failure of this request: a 5xx becomes a 422.
    """
    kind = kind_of_name(failure.error)
    detail = HIDDEN if kind is INTERNAL else failure.detail
    if kind.status >= INTERNAL.status:
        kind = kind._replace(status=HTTPStatus.UNPROCESSABLE_ENTITY.value)
    return _problem(scope, kind, detail)


def kind_of_name(name: str) -> Kind:
    """The kind of problem of the error class `name` in `errors`."""
    cls = getattr(errors, name, errors.SightlineError)
    return next(KINDS[base] for base in cls.__mro__ if base in KINDS)


def http_kind(status: int) -> Kind:
    """The kind of problem of an HTTP error that the framework raises."""
    phrase = HTTPStatus(status).phrase
    return Kind(status, phrase.lower().replace(" ", "-"), phrase)


def _problem(
    scope: Scope,
    kind: Kind,
    detail: str,
    headers: dict[str, str] | None = None,
    more: dict[str, object] | None = None,
) -> JSONResponse:
    """A problem document with `more` as its extension members."""
    info_of(scope).problem = kind.slug
    body = problem_body(kind, detail) | (more or {})
    return JSONResponse(body, kind.status, headers, media_type=MEDIA_TYPE)


def _extras(error: Exception, scope: Scope) -> tuple[dict[str, str], dict[str, object]]:
    """Headers and extension members that go with an error."""
    match error:
        case errors.TryLater():
            return {"Retry-After": str(error.retry_after)}, {"retry_after": error.retry_after}
        case errors.WorkerDied():
            return {"Retry-After": str(_RELOAD_SECONDS)}, {"retry_after": _RELOAD_SECONDS}
        case errors.DetectorClosed():
            return {"Retry-After": str(RESTART_SECONDS)}, {"retry_after": RESTART_SECONDS}
        case errors.KeyWrong():
            # For Basic, a browser opens a dialog of its own, over a page that asks for the key.
            page_asks = any(name == b"x-api-key" for name, _ in scope["headers"])
            basic = "" if page_asks else ', Basic realm="Sightline"'
            return {"WWW-Authenticate": f"Bearer{basic}"}, {}
        case _:
            return {}, {}


def _bad_option(error: ValidationException) -> tuple[Kind, str, dict[str, object]]:
    wrong = [
        {"parameter": str(item["loc"][-1]), "message": item["msg"], "value": str(item["input"])}
        for item in error.errors()
    ]
    detail = "; ".join(
        f"{item['parameter']}: {item['message'].lower()}, not '{item['value'][:80]}'"
        for item in wrong
    )
    return KINDS[errors.BadOption], f"{detail}.", {"errors": wrong}


def _http_detail(error: HTTPException, scope: Scope) -> str:
    path = scope["path"]
    return {
        404: f"There is nothing at {path}. See /docs for what there is.",
        405: f"{path} does not take {scope.get('method')}. See /docs.",
    }.get(error.status_code, str(error.detail))
