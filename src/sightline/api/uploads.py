"""Read one picture from a request body, judged while it arrives."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from sightline.api.bodies import ENVELOPE_BYTES
from sightline.api.spool import Upload
from sightline.errors import BodyTooLarge, MalformedBody, WrongFileCount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from sightline.api.spool import Room


@asynccontextmanager
async def read_picture(request: Request, max_bytes: int, room: Room) -> AsyncIterator[Upload]:
    """The one picture in the body: multipart field `file`, or the whole body.

    The body is refused at the first byte that makes it unacceptable: the picture's type once its
    first bytes are there, a second file where it begins.

    Args:
        request: its body has not been touched.
        max_bytes: the largest picture.
        room: where its bytes are held, until the context ends.

    Raises:
        MalformedBody: the multipart envelope is broken.
        BodyTooLarge: more than `max_bytes`.
        WrongFileCount: no file, or a second one.
        ImageError: not a picture, by its first bytes.
        Overloaded: there is no room for it.
    """
    content_type, parameters = parse_options_header(request.headers.get("content-type", ""))
    upload = Upload(room)
    reader: _RawReader | _MultipartReader
    if content_type.startswith(b"multipart/"):
        reader = _MultipartReader(content_type, parameters, upload)
    else:
        reader = _RawReader(upload)
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            reader.feed(chunk)
            if len(upload) > max_bytes:
                raise BodyTooLarge(max_bytes)
            if received - len(upload) > ENVELOPE_BYTES:
                raise MalformedBody("There is more around the picture than any form needs.")
            await upload.settle()
        reader.finish()
        yield upload
    finally:
        upload.close()


async def read_bytes(request: Request, max_bytes: int) -> bytes:
    """A small body, whole.

    Raises:
        BodyTooLarge: more than `max_bytes`.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise BodyTooLarge(max_bytes, "JSON of a few lines is all that is read here.")
    return bytes(body)


class _RawReader:
    """The body is the picture (whatever it calls itself: the first bytes decide)."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    def feed(self, chunk: bytes) -> None:
        self._upload.append(chunk)

    def finish(self) -> None:
        self._upload.finish()


class _MultipartReader:
    """multipart/form-data (RFC 7578) with one part named `file`."""

    def __init__(self, content_type: bytes, parameters: dict[bytes, bytes], upload: Upload) -> None:
        boundary = parameters.get(b"boundary")
        if content_type != b"multipart/form-data" or not boundary:
            raise MalformedBody(
                "The Content-Type must be multipart/form-data with a boundary. "
                "Let your HTTP client set it: curl -F file=@photo.jpg does."
            )
        self._upload = upload
        self._found = False
        self._header = [b"", b""]
        self._disposition = b""
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise MalformedBody(f"The multipart boundary is not usable: {error}.") from error

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MalformedBody(f"The multipart body is malformed: {error}.") from error

    def finish(self) -> None:
        if not self._ended:
            raise MalformedBody("The multipart body ends before its closing boundary.")
        if not self._found:
            raise WrongFileCount("There is no file: send one as the field 'file'.")

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _on_header_end(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = self._header[1]
        self._header = [b"", b""]

    def _on_headers_finished(self) -> None:
        _, parameters = parse_options_header(self._disposition.decode("latin-1"))
        name = parameters.get(b"name", b"").decode("utf-8", "replace")
        if name != "file":
            raise WrongFileCount(
                f"There is a field '{name[:80]}' that is not used: send one picture as the field "
                "'file', and options in the query (?confidence=0.3)."
            )
        if self._found:
            raise WrongFileCount("There is more than one file: send one picture a request.")
        self._found = True

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._found:
            raise MalformedBody("The multipart body has a part without headers.")
        self._upload.append(data[start:end])

    def _on_part_end(self) -> None:
        if self._found:
            self._upload.finish()

    def _on_end(self) -> None:
        self._ended = True
