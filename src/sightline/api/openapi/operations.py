"""Helpers with which routes describe themselves in OpenAPI 3.1.

https://spec.openapis.org/oas/v3.1.1.html. Errors come from the table of problems; `description`
adds what all routes have in common.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeAlias

from sightline import errors
from sightline.api import deadline
from sightline.api.headers import DEVICE_HEADER, MODEL_HEADER
from sightline.api.problems import HIDDEN, INTERNAL, KINDS, MEDIA_TYPE, Kind, problem_body
from sightline.api.server.early_errors import EARLY_ERRORS

if TYPE_CHECKING:
    from pydantic import BaseModel

Answers: TypeAlias = dict[int | str, dict[str, Any]]
"""The type of FastAPI's `responses`."""

Reason: TypeAlias = type[Exception] | Kind
"""An error class in `KINDS`, or a kind that is answered without an exception."""

_RETRY = {429, 503}
_SECONDS = 5  # in examples

BINARY = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
JPEG = {"type": "string", "format": "binary", "contentMediaType": "image/jpeg"}

UNGENERATED = "x-content"
"""The key for forms of a body that are kept out of `content`. Where JSON is among the forms, client
generators (hey-api's, OpenAPI Generator's for Python) support JSON alone, and cannot upload."""

ADMIN: dict[str, Any] = {"security": [{"bearer": []}, {"apiKey": []}, {"basic": []}]}
"""The security of an operation that always requires a key: the admin's."""


def refusals(*reasons: Reason) -> Answers:
    """The error answers for `reasons`, by status."""
    answers: Answers = {}
    for reason in reasons:
        kind = reason if isinstance(reason, Kind) else KINDS[reason]
        answer = answers.setdefault(kind.status, _problem(kind.status))
        examples = answer["content"][MEDIA_TYPE]["examples"]
        examples[kind.slug] = {"summary": kind.title, "value": _example(kind, when(reason))}
        titles = dict.fromkeys(example["summary"] for example in examples.values())
        answer["description"] = "; ".join(titles)
    return answers


def when(reason: Reason) -> str:
    """A sentence that says when `reason` is answered."""
    if isinstance(reason, Kind):
        return EARLY_ERRORS.get(reason, f"{reason.title}.")
    if KINDS[reason] is INTERNAL:
        return HIDDEN
    return inspect.cleandoc(reason.__doc__ or "").splitlines()[0]


def ref(model: type[BaseModel]) -> dict[str, str]:
    """A reference to the schema of `model`, which `description` adds if no answer has it."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def header(name: str, as_in: str | None = None) -> dict[str, Any]:
    """An entry for `headers`: `name`, as `HEADERS` defines it under `as_in` (default: `name`)."""
    return {name: {"$ref": f"#/components/headers/{as_in or name}"}}


def parameter(name: str, description: str, **schema: Any) -> dict[str, Any]:
    """An optional request header, for `openapi_extra`."""
    header_parameter = {"name": name, "in": "header", "description": description, "schema": schema}
    return {"parameters": [header_parameter]}


TIMEOUT = parameter(
    deadline.HEADER,
    "Milliseconds that you wait once the request is sent; then 504.",
    type="integer",
    minimum=1,
    maximum=deadline.MOST_MS,
    examples=[5000],
)

HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {
        "description": "Names the request in the service's log: yours, if you sent a decent one.",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    },
    "Retry-After": {
        "description": "Seconds after which it is worth asking again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
        "example": _SECONDS,
    },
    "WWW-Authenticate": {
        "description": "How keys are sent (RFC 9110, 11.6.1).",
        "required": True,
        "schema": {"type": "string"},
        "example": 'Bearer, Basic realm="Sightline"',
    },
    "Poll-Again": {  # as Retry-After of a task
        "description": "Seconds after which it is worth asking again; not there once it has ended.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 10},
        "example": 1,
    },
    "ETag": {
        "description": "Names this state of the task: send it as If-None-Match.",
        "required": True,
        "schema": {"type": "string", "pattern": '^".+"$'},
        "example": '"6d1f0b9a-42"',
    },
    "Location": {
        "description": "Where to ask for the task: `/result/{task_id}`.",
        "required": True,
        "schema": {"type": "string"},
        "example": "/result/6d1f0b9a4e8c4c7f9b0a5f3d2c1e0a98",
    },
    "Idempotent-Replayed": {
        "description": "`true` if the task was there already under this Idempotency-Key.",
        "schema": {"type": "string", "const": "true"},
    },
    DEVICE_HEADER: {
        "description": "What really ran.",
        "schema": {"type": "string"},
        "example": "cpu; engine=openvino; precision=fp32",
    },
    MODEL_HEADER: {
        "description": "Which model answered.",
        "required": True,
        "schema": {"type": "string"},
        "example": "yolox-tiny; digest=sha256:427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb94",
    },
}


def _problem(status: int) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if status in _RETRY:
        headers |= header("Retry-After")
    if status == KINDS[errors.KeyWrong].status:
        headers |= header("WWW-Authenticate")
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"headers": headers, "content": {MEDIA_TYPE: {"schema": schema, "examples": {}}}}


def _example(kind: Kind, detail: str) -> dict[str, Any]:
    more = {"retry_after": _SECONDS} if kind.status in _RETRY else {}
    return problem_body(kind, detail) | more
