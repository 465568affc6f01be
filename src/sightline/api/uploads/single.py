"""Reads one picture from a request body, and checks it while it arrives."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from python_multipart.multipart import parse_options_header

from sightline.api.uploads.multipart import ENVELOPE_BYTES, MultipartReader
from sightline.api.uploads.spool import Upload
from sightline.errors import BodyTooLarge, MalformedBody, WrongFileCount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from sightline.api.uploads.spool import UploadBudget


@asynccontextmanager
async def read_picture(
    request: Request, max_bytes: int, budget: UploadBudget
) -> AsyncIterator[Upload]:
    """Read the one picture in the body: multipart field `file`, or the whole body.

    An invalid body is refused at once: a wrong file type after its first bytes, a second file where
    it begins.

    Args:
        request: its body is unread.
        max_bytes: most bytes of the picture.
        budget: counts its bytes until the context ends.

    Raises:
        MalformedBody: the multipart body is malformed.
        BodyTooLarge: the picture has more than `max_bytes`.
        WrongFileCount: there is no file, or more than one.
        ImageError: the first bytes are not those of a picture.
        Overloaded: there is no room for it.
    """
    content_type, parameters = parse_options_header(request.headers.get("content-type", ""))
    upload = Upload(budget)
    form = content_type.startswith(b"multipart/")
    reader = _FormReader(content_type, parameters, upload) if form else _RawReader(upload)
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            reader.feed(chunk)
            if len(upload) > max_bytes:
                raise BodyTooLarge(max_bytes)
            if received - len(upload) > ENVELOPE_BYTES:
                raise MalformedBody("There is more around the picture than any form needs.")
            await upload.flush()
        reader.finish()
        yield upload
    finally:
        upload.close()


async def read_bytes(request: Request, max_bytes: int) -> bytes:
    """The whole of a small body.

    Raises:
        BodyTooLarge: it has more than `max_bytes`.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise BodyTooLarge(max_bytes, "JSON of a few lines is all that is read here.")
    return bytes(body)


class _RawReader:
    """Reads a body that is the picture itself. Ignores the Content-Type."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    def feed(self, chunk: bytes) -> None:
        self._upload.append(chunk)

    def finish(self) -> None:
        self._upload.finish()


class _OneFile:
    """`Parts` of a form with exactly one part, named `file`."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self.found = False

    def begin(self, name: str, filename: str) -> None:  # noqa: ARG002  part of `Parts`
        if name != "file":
            raise WrongFileCount(
                f"There is a field '{name[:80]}' that is not used: send one picture as the field "
                "'file', and options in the query (?confidence=0.3)."
            )
        if self.found:
            raise WrongFileCount("There is more than one file: send one picture a request.")
        self.found = True

    def append(self, data: bytes) -> None:
        self._upload.append(data)

    def end(self) -> None:
        self._upload.finish()


class _FormReader:
    """Reads a multipart/form-data body with one file."""

    def __init__(self, content_type: bytes, parameters: dict[bytes, bytes], upload: Upload) -> None:
        self._file = _OneFile(upload)
        self._reader = MultipartReader(content_type, parameters, self._file)

    def feed(self, chunk: bytes) -> None:
        self._reader.feed(chunk)

    def finish(self) -> None:
        self._reader.finish()
        if not self._file.found:
            raise WrongFileCount("There is no file: send one as the field 'file'.")
