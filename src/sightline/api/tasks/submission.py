"""`POST /predict`: reads up to a hundred files or URLs, and submits them as a task."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from python_multipart.multipart import parse_options_header

from sightline.api.request_info import info_of
from sightline.api.uploads.fingerprint import FingerprintReader
from sightline.api.uploads.json_body import is_json, read_json
from sightline.api.uploads.multipart import MultipartReader
from sightline.errors import BadOption, WrongFileCount
from sightline.tasks.admission import require_same
from sightline.tasks.task import MAX_IMAGES, NewImage, NewTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from sightline.api.schemas.tasks import PredictQuery
    from sightline.api.tasks.service import TaskService
    from sightline.api.uploads.reservations import Reservation
    from sightline.api.uploads.task_files import TaskFiles
    from sightline.tasks.task import Task

KEY_HEADER = "Idempotency-Key"

_MAX_KEY = 255
_MAX_ADDRESS = 4096
_MAX_JSON = 1024 * 1024
_MAX_NAME = 255
_EXAMPLE = ["https://example.com/one.jpg", "https://example.com/two.jpg"]


class UrlsBody(BaseModel):
    """Pictures by their addresses."""

    model_config = ConfigDict(extra="forbid")

    urls: list[Annotated[str, Field(max_length=_MAX_ADDRESS)]] = Field(
        description="http(s) addresses on the public internet, port 80 or 443; s3://, gs://, az:// "
        "and file:// where the service is set up to read there.",
        examples=[_EXAMPLE],
        json_schema_extra={"minItems": 1, "maxItems": MAX_IMAGES},
    )


async def submit(request: Request, query: PredictQuery, tasks: TaskService) -> tuple[Task, bool]:
    """Submit the task of `request`. Returns the task, and whether it existed already.

    Raises:
        RequestError: the class and the message say what is wrong.
        Conflict: the idempotency key was used for another request.
        Overloaded: the backlog is full.
        StorageUnavailable: tasks cannot be stored now.
        ExpiredTask: the existing task was removed during the comparison.
        ClientDisconnect: the client hung up; nothing is stored.
    """
    new = _blank(request, query)
    if (found := await tasks.find(new)) is not None:
        require_same(replace(new, fingerprint=await _read_again(request, new)), found.fingerprint)
        return await tasks.get(request, found.id), True
    with await tasks.room_for(request) as reservation:
        new = replace(new, digest=await tasks.require_options(query))
        if is_json(request):
            return await _submit_addresses(request, new, tasks)
        files = tasks.new_files(new, strict=query.strict)
        return await _submit_files(request, new, tasks, files, reservation)


def _blank(request: Request, query: PredictQuery) -> NewTask:
    """The task of `request`, still without images and fingerprint."""
    options: dict[str, Any] = query.model_dump(
        include={"confidence", "iou", "max_detections"}, exclude_unset=True, exclude_none=True
    )
    if (classes := query.class_names()) is not None:
        options["classes"] = classes
    caller = info_of(request.scope).caller
    return NewTask(
        id=uuid.uuid4().hex,
        owner=caller.name if caller else "",
        images=(),
        options=options,
        priority=query.priority,
        model=query.model,
        callback_url=query.callback_url,
        idempotency_key=_idempotency_key(request),
    )


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get(KEY_HEADER)
    if key is not None and not (1 <= len(key) <= _MAX_KEY and key.isprintable()):
        raise BadOption(f"{KEY_HEADER} must have 1 to {_MAX_KEY} printable characters.")
    return key


async def _read_again(request: Request, new: NewTask) -> str:
    """The fingerprint of a repeated request.

    Reserves no room, because nothing is stored, and repeats no checks of the first submission.
    """
    if is_json(request):
        return _fingerprint(new, await _read_urls(request))
    files = FingerprintReader()
    await _read_form(request, files, lambda _received: None)
    return _fingerprint(new, await files.fingerprints())


async def _submit_addresses(
    request: Request, new: NewTask, tasks: TaskService
) -> tuple[Task, bool]:
    urls = await _read_urls(request)
    await tasks.require_addresses(urls)
    images = tuple(NewImage(_name_in(url), url=url) for url in urls)
    new = replace(new, images=images, fingerprint=_fingerprint(new, urls))
    return await tasks.submit(request, new)


async def _submit_files(
    request: Request, new: NewTask, tasks: TaskService, files: TaskFiles, reservation: Reservation
) -> tuple[Task, bool]:
    try:
        await _read_form(request, files, reservation.grow)
        images = await files.finish()
        new = replace(new, images=images)
        if new.idempotency_key is not None:
            new = replace(new, fingerprint=_fingerprint(new, files.fingerprints()))
        return await tasks.submit(request, new, files)
    except BaseException:
        files.abandon()
        raise


async def _read_form(
    request: Request, files: TaskFiles | FingerprintReader, grow: Callable[[int], None]
) -> None:
    """Feed the body to `files`; `grow` gets the number of received bytes, and may refuse them."""
    content_type, parameters = parse_options_header(request.headers.get("content-type", ""))
    info = info_of(request.scope)
    reader = MultipartReader(content_type, parameters, files)
    async for chunk in request.stream():
        grow(info.bytes_in)
        reader.feed(chunk)
        files.require_pictures(info.bytes_in)
        await files.flush()
    reader.finish()


async def _read_urls(request: Request) -> list[str]:
    body = await read_json(request, UrlsBody, _MAX_JSON, '{"urls": ["https://…"]}')
    if not 1 <= len(body.urls) <= MAX_IMAGES:
        raise WrongFileCount(
            f"There are {len(body.urls)} addresses: 1 to {MAX_IMAGES} make a task."
        )
    return body.urls


def _name_in(url: str) -> str:
    """The file name in a picture's URL."""
    return url.partition("?")[0].rpartition("/")[2][:_MAX_NAME]


def _fingerprint(new: NewTask, pictures: list[Any]) -> str:
    content = [new.options, new.priority, new.model, new.callback_url, pictures]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
