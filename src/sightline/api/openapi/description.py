"""The API's description, complete: what the routes say, and what all of them have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from sightline import errors
from sightline.api.headers import DEVICE_HEADER
from sightline.api.middleware.access import HARMLESS, OPEN_PATHS
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

# What routes refer to by name alone, since the framework does not read or write it.
_NAMED = (Problem, UrlBody, UrlsBody, ModelSource, TaskHead, TaskProgress)

_ANYWHERE: tuple[Reason, ...] = (
    MALFORMED,
    errors.HostUnknown,
    HEAD_STALLED,
    HEAD_TOO_LARGE,
    errors.SightlineError,
    errors.DetectorClosed,
    TOO_MANY_CONNECTIONS,
)
_BEHIND_THE_GATE = (errors.KeyWrong, errors.RateLimited, errors.TooManyAtOnce)
_WITH_BODY = (errors.MalformedBody, errors.BodyStalled, errors.BodyTooLarge)


def complete(schema: dict[str, Any], *, keys: bool) -> None:
    """Make `schema`, as FastAPI has it from the routes, tell of all that may be answered.

    Args:
        schema: changed in place.
        keys: nothing is answered without a key, but for what supervisors ask.
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
        parameter["schema"] = _sayable(parameter["schema"])
    if path in OPEN_PATHS:
        operation["security"] = []
    for status, answer in refusals(*_reasons(path, method, operation)).items():
        answers[str(status)] = _both(answers.get(str(status), {}), answer)
    for answer in answers.values():
        answer["headers"] = header("X-Request-Id") | answer.get("headers", {})
        if MEDIA_TYPE not in answer.get("content", {}):
            answer["headers"] |= header(DEVICE_HEADER)
    operation["responses"] = dict(sorted(answers.items()))


def _sayable(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema without null, which neither a query nor a header can say."""
    choices: list[dict[str, Any]] = [
        one for one in schema.get("anyOf", ()) if one != {"type": "null"}
    ]
    if len(choices) != 1:
        return schema
    return choices[0] | {name: value for name, value in schema.items() if name != "anyOf"}


def _reasons(path: str, method: str, operation: dict[str, Any]) -> Iterator[Reason]:
    """Why the layers below the routes may refuse the operation."""
    yield from _ANYWHERE
    if path not in OPEN_PATHS:
        yield from _BEHIND_THE_GATE
    if method not in HARMLESS:
        yield errors.NotAllowed
    if "requestBody" in operation:
        yield from _WITH_BODY
    if operation.get("parameters"):
        yield errors.BadOption


def _both(told: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """The answer with the examples of both; `told` may be the framework's own."""
    if MEDIA_TYPE not in told.get("content", {}):
        return common
    examples = told["content"][MEDIA_TYPE]["examples"]
    examples |= common["content"][MEDIA_TYPE]["examples"]
    titles = dict.fromkeys(example["summary"] for example in examples.values())
    return told | {"description": "; ".join(titles)}
