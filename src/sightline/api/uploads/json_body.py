"""JSON bodies: detection, reading and validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from sightline.api.uploads.single import read_bytes
from sightline.errors import BadOption, MalformedBody

if TYPE_CHECKING:
    from starlette.requests import Request

Body = TypeVar("Body", bound=BaseModel)


def is_json(request: Request) -> bool:
    """Whether the Content-Type of `request` is JSON (`application/json` or `+json`)."""
    content_type = request.headers.get("content-type", "")
    kind, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return kind == "application" and (subtype == "json" or subtype.endswith("+json"))


async def read_json(request: Request, model: type[Body], max_bytes: int, example: str) -> Body:
    """The body of `request`, read and validated.

    Args:
        request: its body is unread.
        model: the schema of the body.
        max_bytes: most bytes of the body.
        example: a valid body, for error messages.

    Raises:
        BodyTooLarge: it has more than `max_bytes`.
        MalformedBody: it is not JSON.
        BadOption: it does not fit the schema.
    """
    body = await read_bytes(request, max_bytes)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        how = f"Send {example}, and options in the query (?confidence=0.3)."
        wrong = error.errors(include_url=False, include_input=False)[0]
        if wrong["type"] == "json_invalid":
            raise MalformedBody(f"The body is not JSON. {how}") from error
        where = "".join(f"'{str(part)[:80]}': " for part in wrong["loc"])
        raise BadOption(f"The JSON body is not acceptable: {where}{wrong['msg']}. {how}") from error
