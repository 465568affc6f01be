"""Completes the OpenAPI description: adds what all routes have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from sightline import errors
from sightline.api.headers import DEVICE_HEADER
from sightline.api.middleware.access import OPEN_PATHS, SAFE_METHODS
from sightline.api.openapi.operations import HEADERS, header, refusals
from sightline.api.problems import MEDIA_TYPE
from sightline.api.schemas.models import ModelSource
from sightline.api.schemas.problem import Problem
from sightline.api.schemas.tasks import TaskHead, TaskProgress
from sightline.api.server.early_errors import (
    HEAD_STALLED,
    HEAD_TOO_LARGE,
    MALFORMED,
    TOO_MANY_CONNECTIONS,
)
from sightline.api.tasks.submission import UrlsBody
from sightline.api.uploads.by_url import UrlBody

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sightline.api.openapi.operations import Reason

TAGS = [
    {"name": "detect", "description": "One picture, now."},
    {"name": "tasks", "description": "Many pictures, queued: none is lost, whatever happens."},
    {"name": "models", "description": "What is served; it changes without downtime."},
    {"name": "health", "description": "For people, load balancers and supervisors."},
]

_SCHEMES: dict[str, dict[str, str]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of SIGHTLINE_API_KEYS, or the admin key.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same."},
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The same as the password, with any user name: what a browser asks for.",
    },
}

# Schemas that routes refer to by name, since FastAPI neither reads nor writes them.
_NAMED = (Problem, UrlBody, UrlsBody, ModelSource, TaskHead, TaskProgress)

_ALL_OPERATIONS: tuple[Reason, ...] = (
    MALFORMED,
    errors.HostUnknown,
    HEAD_STALLED,
    HEAD_TOO_LARGE,
    errors.SightlineError,
    errors.DetectorClosed,
    TOO_MANY_CONNECTIONS,
)
_ACCESS_CONTROLLED = (errors.KeyWrong, errors.RateLimited, errors.TooManyAtOnce)
_WITH_BODY = (errors.MalformedBody, errors.BodyStalled, errors.BodyTooLarge)


def complete(schema: dict[str, Any], *, keys: bool) -> None:
    """Add shared answers, headers and security to the schema that FastAPI makes from the routes.

    Args:
        schema: changed in place.
        keys: whether a key is required, except at `OPEN_PATHS`.
    """
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for framework in ("HTTPValidationError", "ValidationError"):
        schemas.pop(framework, None)
    named = [(model, "validation") for model in _NAMED]
    _, made = models_json_schema(named, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas |= made["$defs"]
    components["securitySchemes"] = _SCHEMES
    components["headers"] = HEADERS
    schema["security"] = [*([] if keys else [{}]), *({name: []} for name in _SCHEMES)]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            _complete(path, method.upper(), operation)


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    answers: dict[str, dict[str, Any]] = operation["responses"]
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])
    if path in OPEN_PATHS:
        operation["security"] = []
    for status, answer in refusals(*_reasons(path, method, operation)).items():
        answers[str(status)] = _merge(answers.get(str(status), {}), answer)
    for answer in answers.values():
        answer["headers"] = header("X-Request-Id") | answer.get("headers", {})
        if MEDIA_TYPE not in answer.get("content", {}):
            answer["headers"] |= header(DEVICE_HEADER)
    operation["responses"] = dict(sorted(answers.items()))


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema without null, which neither a query nor a header can express."""
    choices: list[dict[str, Any]] = [
        one for one in schema.get("anyOf", ()) if one != {"type": "null"}
    ]
    if len(choices) != 1:
        return schema
    return choices[0] | {name: value for name, value in schema.items() if name != "anyOf"}


def _reasons(path: str, method: str, operation: dict[str, Any]) -> Iterator[Reason]:
    """Reasons for which the server and the middleware may refuse the operation."""
    yield from _ALL_OPERATIONS
    if path not in OPEN_PATHS:
        yield from _ACCESS_CONTROLLED
    if method not in SAFE_METHODS:
        yield errors.NotAllowed
    if "requestBody" in operation:
        yield from _WITH_BODY
    if operation.get("parameters"):
        yield errors.BadOption


def _merge(declared: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """An answer with the examples of both; `declared` may be the framework's own."""
    if MEDIA_TYPE not in declared.get("content", {}):
        return common
    examples = declared["content"][MEDIA_TYPE]["examples"]
    examples |= common["content"][MEDIA_TYPE]["examples"]
    titles = dict.fromkeys(example["summary"] for example in examples.values())
    return declared | {"description": "; ".join(titles)}
