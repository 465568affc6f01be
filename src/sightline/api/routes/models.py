"""List, load, swap and unload models without downtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from pydantic import ValidationError

from sightline.api.gate import require_admin
from sightline.api.schemas import ModelList, ModelOut, ModelSource, Problem
from sightline.api.uploads import read_bytes
from sightline.errors import BadOption

if TYPE_CHECKING:
    from sightline.api.backend import Backend

router = APIRouter(tags=["models"])

_MAX_BODY = 64 * 1024
_REFUSED: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "The admin key is missing or wrong"},
    403: {"model": Problem, "description": "Not allowed"},
    422: {"model": Problem, "description": "No such model, or it cannot be loaded"},
}
_SOURCE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": ModelSource.model_json_schema()}},
    }
}


@router.get("/models", summary="List the models")
async def list_models(request: Request) -> ModelList:
    backend: Backend = request.app.state.backend
    return ModelList(models=(await backend.status()).models)


@router.put(
    "/models/{name}",
    summary="Load a model, or put it in another's place",
    responses=_REFUSED,
    openapi_extra=_SOURCE,
)
async def put_model(request: Request, name: str) -> ModelOut:
    """The new model is loaded and warmed first; requests under way finish on the old one."""
    require_admin(request.scope, request.app.state.keys)
    backend: Backend = request.app.state.backend
    try:
        wanted = ModelSource.model_validate_json(await read_bytes(request, _MAX_BODY))
    except ValidationError as error:
        raise BadOption('The body must be JSON: {"source": "path or address"}.') from error
    _require_name(name)
    return await backend.load(name, wanted.source)


@router.delete("/models/{name}", summary="Unload a model", status_code=204, responses=_REFUSED)
async def delete_model(request: Request, name: str) -> None:
    require_admin(request.scope, request.app.state.keys)
    backend: Backend = request.app.state.backend
    await backend.remove(name)


def _require_name(name: str) -> None:
    if len(name) > 80 or not all(sign.isalnum() or sign in "._-" for sign in name):
        raise BadOption("A model's name is up to 80 letters, digits, '.', '_' and '-'.")
