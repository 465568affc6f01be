"""The client's operations, shared by `Client` and `AsyncClient` (docs/decisions/0023)."""

from __future__ import annotations

import uuid
from asyncio import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any

from sightline.client.answers import answer_of, read
from sightline.client.handle import AsyncTaskHandle
from sightline.client.options import DetectArguments, SubmitArguments, key_of, params_of
from sightline.client.pictures import Address, Picture, gather, picture_of
from sightline.client.service import Request
from sightline.client.upload import FormUpload, nothing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Unpack

    from sightline.client.answers import Answer
    from sightline.client.pictures import Source
    from sightline.client.service import HttpService
    from sightline.client.upload import Meanwhile

MOST_PICTURES = 100
"""Most pictures in one task."""


class ClientCore:
    """The client's operations as coroutines, over any `Transport`."""

    def __init__(self, service: HttpService) -> None:
        self._service = service

    async def detect(self, image: Source, **options: Unpack[DetectArguments]) -> Answer:
        """Detect objects in one picture, at once.

        Args:
            image: see `sightline.client.pictures.Source`.
            options: see `sightline.client.options.DetectArguments`.

        Raises:
            Problem: the service refused the request; ImageRefused: because of the picture.
            ClientError: the service did not answer, or not as expected.
            OSError, TypeError, ValueError: the picture cannot be read, or is not a picture.
        """
        params = params_of(options, DetectArguments)
        picture = await self._service.io.call(partial(picture_of, image))
        request = _request("/detect", params, {}, [picture], alone=True)
        return read(await self._service.send(request), answer_of)

    async def submit(
        self, images: Source | Iterable[Source], **options: Unpack[SubmitArguments]
    ) -> AsyncTaskHandle:
        """Queue pictures, and return once the service has stored them.

        A lost connection or a restart during the call makes no second task. All pictures are
        accepted or none: if a later one fails, or Ctrl-C is pressed, tasks that were already made
        are cancelled (unless you passed an `idempotency_key`: the same call then continues with
        them). Results of the first hundred are fetched while the next are sent.

        Args:
            images: one, or any number; they are read as they are sent. Addresses and files cannot
                be mixed. See `sightline.client.pictures.Source`.
            options: see `sightline.client.options.SubmitArguments`.

        Raises:
            Problem: the service refused the request.
            ClientError: the service did not answer, or not as expected.
            ConfigError: a folder or glob without pictures.
            OSError, TypeError, ValueError: a picture cannot be read, or is not a picture.
        """
        params = params_of(options, SubmitArguments)
        key = key_of(options)
        handle = AsyncTaskHandle(self._service)
        pictures = gather(images)
        try:
            while batch := await self._batch(pictures, handle):
                name = f"{key or uuid.uuid4().hex}-{handle.total}"
                request = _request(
                    "/predict", params, {"Idempotency-Key": name}, batch, meanwhile=handle.glance
                )
                task_id = read(await self._service.send(request), lambda body: str(body["task_id"]))
                await handle.add(task_id, [one.source for one in batch])
        except (Exception, KeyboardInterrupt, CancelledError):
            if key is None:
                await handle.abandon()
            raise
        if not handle.total:
            raise ValueError("There are no pictures to submit.")
        return handle

    async def task(self, *ids: str) -> AsyncTaskHandle:
        """The handle of tasks that were submitted earlier, with the same API key.

        Raises:
            UnknownTask: there is no such task.
            ExpiredTask: the results of one of them have expired; the message names it. Its number
                of pictures is unknown, and so are the indices of those after it: ask for the other
                tasks without it.
            ValueError: no id was given.
        """
        if not ids:
            raise ValueError("Which tasks? Name one at least: `client.task(*handle.ids)`.")
        handle = AsyncTaskHandle(self._service)
        for task_id in ids:
            await handle.add(task_id)
        return handle

    async def _batch(
        self, pictures: Iterator[Picture | Address], handle: AsyncTaskHandle
    ) -> list[Picture | Address]:
        """The pictures of the next task. Their source may be slow, as a camera is."""
        batch: list[Picture | Address] = []
        while len(batch) < MOST_PICTURES:
            one = await self._service.io.call(partial(next, pictures, None))
            if one is None:
                break
            batch.append(one)
            await handle.glance()
        return batch

    async def close(self) -> None:
        """Close its connections."""
        await self._service.io.close()


def _request(
    path: str,
    params: Mapping[str, Any],
    headers: Mapping[str, str],
    pictures: list[Picture | Address],
    *,
    alone: bool = False,
    meanwhile: Meanwhile = nothing,
) -> Request:
    """A request with these pictures; `alone` is the form for one. `meanwhile`: see `FormUpload`.

    Raises:
        ValueError: there are both files and addresses.
    """
    files = [one for one in pictures if isinstance(one, Picture)]
    urls = [one.url for one in pictures if isinstance(one, Address)]
    if files and urls:
        raise ValueError(
            f"Files ({files[0].source}) and addresses ({urls[0]}) cannot go together: submit them "
            "apart."
        )
    if urls:
        json: object = {"url": urls[0]} if alone else {"urls": urls}
        return Request("POST", path, params, headers, json=json)
    return Request(
        "POST", path, params, headers, FormUpload("file" if alone else "files", files, meanwhile)
    )
