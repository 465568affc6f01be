"""List, load, swap and unload models without downtime."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import ValidationError

from sightline.api.gate import require_admin
from sightline.api.schemas import ModelList, ModelOut, ModelSource, Problem
from sightline.api.uploads import read_bytes
from sightline.errors import BadOption

if TYPE_CHECKING:
    from sightline.serving.entry import Entry
    from sightline.serving.repository import Repository

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
    repository: Repository = request.app.state.repository
    return ModelList(models=[_describe(entry, repository) for entry in repository.entries()])


@router.put(
    "/models/{name}",
    summary="Load a model, or put it in another's place",
    responses=_REFUSED,
    openapi_extra=_SOURCE,
)
async def put_model(request: Request, name: str) -> ModelOut:
    """The new model is loaded and warmed first; requests under way finish on the old one."""
    require_admin(request.scope, request.app.state.keys)
    repository: Repository = request.app.state.repository
    try:
        wanted = ModelSource.model_validate_json(await read_bytes(request, _MAX_BODY))
    except ValidationError as error:
        raise BadOption('The body must be JSON: {"source": "path or address"}.') from error
    _require_name(name)
    request.app.state.check_source(wanted.source)
    entry = await anyio.to_thread.run_sync(partial(repository.load, name, wanted.source))
    return _describe(entry, repository)


@router.delete("/models/{name}", summary="Unload a model", status_code=204, responses=_REFUSED)
async def delete_model(request: Request, name: str) -> None:
    require_admin(request.scope, request.app.state.keys)
    repository: Repository = request.app.state.repository
    await anyio.to_thread.run_sync(partial(repository.remove, name))


def _require_name(name: str) -> None:
    if len(name) > 80 or not all(sign.isalnum() or sign in "._-" for sign in name):
        raise BadOption("A model's name is up to 80 letters, digits, '.', '_' and '-'.")


def _describe(entry: Entry, repository: Repository) -> ModelOut:
    served = entry.served
    described = ModelOut(
        name=entry.name, default=entry.name == repository.default, loaded=served is not None
    )
    if served is not None:
        detector = served.detector
        described.digest = detector.digest
        described.family = detector.spec.family
        described.labels = list(detector.spec.labels)
        described.input_size = detector.spec.input_size
        described.device = detector.device
        described.engine = detector.engine
        described.precision = detector.precision
    return described
