"""Read one picture from a request body, with every limit acting while it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from sightline.errors import BodyTooLarge, MalformedBody, WrongFileCount
from sightline.vision.formats import SNIFF_BYTES, sniff

if TYPE_CHECKING:
    from starlette.requests import Request

_ENVELOPE_BYTES = 64 * 1024  # boundaries and part headers around the picture itself


async def read_picture(request: Request, max_bytes: int) -> bytes:
    """The one picture in the body: multipart field `file`, or the whole body.

    The body is refused at the first byte that makes it unacceptable: its length if it is
    declared, the picture's type once its first bytes are there, a second file where it begins.

    Args:
        request: its body has not been touched.
        max_bytes: the largest picture.

    Raises:
        MalformedBody: the multipart envelope is broken.
        BodyTooLarge: more than `max_bytes`.
        WrongFileCount: no file, or a second one.
        ImageError: not a picture, by its first bytes.
    """
    content_type, parameters = parse_options_header(request.headers.get("content-type", ""))
    limit = max_bytes
    reader: _RawReader | _MultipartReader
    if content_type.startswith(b"multipart/"):
        reader = _MultipartReader(content_type, parameters, max_bytes)
        limit += _ENVELOPE_BYTES
    else:
        reader = _RawReader()
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(max_bytes)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise BodyTooLarge(max_bytes)
        reader.feed(chunk)
    return reader.finish()


async def read_bytes(request: Request, max_bytes: int) -> bytes:
    """A small body, whole.

    Raises:
        BodyTooLarge: more than `max_bytes`.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise BodyTooLarge(max_bytes)
    return bytes(body)


class _RawReader:
    """The body is the picture (whatever it calls itself: the first bytes decide)."""

    def __init__(self) -> None:
        self._picture = _Picture()

    def feed(self, chunk: bytes) -> None:
        self._picture.append(chunk)

    def finish(self) -> bytes:
        return self._picture.finish()


class _MultipartReader:
    """multipart/form-data (RFC 7578) with one part named `file`."""

    def __init__(self, content_type: bytes, parameters: dict[bytes, bytes], max_bytes: int) -> None:
        boundary = parameters.get(b"boundary")
        if content_type != b"multipart/form-data" or not boundary:
            raise MalformedBody(
                "The Content-Type must be multipart/form-data with a boundary. "
                "Let your HTTP client set it: curl -F file=@photo.jpg does."
            )
        self._max_bytes = max_bytes
        self._picture: _Picture | None = None
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

    def finish(self) -> bytes:
        if not self._ended:
            raise MalformedBody("The multipart body ends before its closing boundary.")
        if self._picture is None:
            raise WrongFileCount("There is no file: send one as the field 'file'.")
        return self._picture.finish()

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
        if self._picture is not None:
            raise WrongFileCount("There is more than one file: send one picture a request.")
        self._picture = _Picture()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._picture is None:
            raise MalformedBody("The multipart body has a part without headers.")
        self._picture.append(data[start:end])
        if len(self._picture) > self._max_bytes:
            raise BodyTooLarge(self._max_bytes)

    def _on_part_end(self) -> None:
        if self._picture is not None:
            self._picture.finish()

    def _on_end(self) -> None:
        self._ended = True


class _Picture:
    """Bytes as they arrive, judged as soon as there are enough of them."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._judged = False

    def __len__(self) -> int:
        return len(self._bytes)

    def append(self, chunk: bytes) -> None:
        self._bytes += chunk
        if not self._judged and len(self._bytes) >= SNIFF_BYTES:
            sniff(bytes(self._bytes[:SNIFF_BYTES]))
            self._judged = True

    def finish(self) -> bytes:
        """All of it.

        Raises:
            ImageError: empty, or not a picture.
        """
        sniff(bytes(self._bytes[:SNIFF_BYTES]))
        return bytes(self._bytes)
