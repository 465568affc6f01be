"""List, load, swap and unload models without downtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import ValidationError

from sightline import errors
from sightline.api.middleware.access import require_admin
from sightline.api.openapi.operations import ADMIN, ref, refusals
from sightline.api.schemas.models import ModelList, ModelOut, ModelSource
from sightline.api.uploads.single import read_bytes
from sightline.errors import BadOption

if TYPE_CHECKING:
    from sightline.backend.protocols import Backend

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
async def list_models(request: Request) -> ModelList:
    """The default first, and what each runs on while it is loaded."""
    backend: Backend = request.app.state.backend
    return ModelList(models=(await backend.status()).models)


@router.put(
    "/models/{name}",
    summary="Load a model, or put it in another's place",
    response_description="The model as it is served now",
    responses=refusals(errors.NotAllowed, errors.BadOption, errors.ConfigError),
    openapi_extra=_SOURCE | ADMIN,
)
async def put_model(request: Request, name: Name) -> ModelOut:
    """The new model is loaded and warmed first; requests under way finish on the old one."""
    require_admin(request.scope, request.app.state.keys)
    backend: Backend = request.app.state.backend
    try:
        wanted = ModelSource.model_validate_json(await read_bytes(request, _MAX_BODY))
    except ValidationError as error:
        raise BadOption('The body must be JSON: {"source": "path or address"}.') from error
    _require_name(name)
    return await backend.load(name, wanted.source)


@router.delete(
    "/models/{name}",
    summary="Unload a model",
    status_code=204,
    response_description="It is unloaded",
    responses=refusals(errors.NotAllowed, errors.BadOption),
    openapi_extra=ADMIN,
)
async def delete_model(request: Request, name: Name) -> None:
    """Requests under way finish. The default cannot be unloaded: put another in its place."""
    require_admin(request.scope, request.app.state.keys)
    backend: Backend = request.app.state.backend
    await backend.remove(name)


def _require_name(name: str) -> None:
    if len(name) > 80 or not all(sign.isalnum() or sign in "._-" for sign in name):
        raise BadOption("A model's name is up to 80 letters, digits, '.', '_' and '-'.")
