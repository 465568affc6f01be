"""List, load, swap and unload models without downtime."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import ValidationError

from sightline import errors
from sightline.api.context import Context
from sightline.api.middleware.access import require_admin
from sightline.api.openapi.operations import ADMIN, ref, refusals
from sightline.api.schemas.models import ModelList, ModelOut, ModelSource
from sightline.api.uploads.single import read_bytes
from sightline.backend.messages import Empty, LoadRequest, RemoveRequest
from sightline.backend.operations import LOAD_MODEL, REMOVE_MODEL, STATUS
from sightline.errors import BadOption

router = APIRouter(tags=["models"])

_MAX_BODY = 64 * 1024
_SOURCE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": ref(ModelSource),
                "example": {"source": "hf://owner/repository/file.onnx"},
            }
        },
    }
}
Name = Annotated[
    str,
    Path(
        description="Up to 80 letters, digits, '.', '_' and '-'.",
        json_schema_extra={"pattern": "^[A-Za-z0-9._-]{1,80}$", "examples": ["parts-v2"]},
    ),
]


@router.get("/models", summary="List the models", response_description="All models")
async def list_models(context: Context) -> ModelList:
    """The default first, and what each runs on while it is loaded."""
    status = await context.backend.call(STATUS, Empty())
    return ModelList(models=[ModelOut.of(model) for model in status.models])


@router.put(
    "/models/{name}",
    summary="Load a model, or put it in another's place",
    response_description="The model as it is served now",
    responses=refusals(errors.NotAllowed, errors.BadOption, errors.ConfigError),
    openapi_extra=_SOURCE | ADMIN,
)
async def put_model(request: Request, name: Name, context: Context) -> ModelOut:
    """The new model is loaded and warmed first; requests under way finish on the old one."""
    require_admin(request.scope, context.keys)
    try:
        wanted = ModelSource.model_validate_json(await read_bytes(request, _MAX_BODY))
    except ValidationError as error:
        raise BadOption('The body must be JSON: {"source": "path or address"}.') from error
    _require_name(name)
    loaded = await context.backend.call(LOAD_MODEL, LoadRequest(name, wanted.source))
    return ModelOut.of(loaded)


@router.delete(
    "/models/{name}",
    summary="Unload a model",
    status_code=204,
    response_description="It is unloaded",
    responses=refusals(errors.NotAllowed, errors.BadOption),
    openapi_extra=ADMIN,
)
async def delete_model(request: Request, name: Name, context: Context) -> None:
    """Requests under way finish. The default cannot be unloaded: put another in its place."""
    require_admin(request.scope, context.keys)
    await context.backend.call(REMOVE_MODEL, RemoveRequest(name))


def _require_name(name: str) -> None:
    if len(name) > 80 or not all(sign.isalnum() or sign in "._-" for sign in name):
        raise BadOption("A model's name is up to 80 letters, digits, '.', '_' and '-'.")
