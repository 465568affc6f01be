"""Incremental parser of multipart/form-data (RFC 7578)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from sightline.errors import MalformedBody

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVELOPE_BYTES = 64 * 1024
"""Most bytes of boundaries and part headers around a picture."""

_MAX_HEADER = 16 * 1024


class Parts(Protocol):
    """Receives the parts of a body. Errors of its methods end the parsing."""

    def begin(self, name: str, filename: str) -> None:
        """A part begins: the form field's name, and the client's file name (or "")."""

    def append(self, data: bytes) -> None:
        """The next bytes of the part."""

    def end(self) -> None:
        """The part has ended."""


class MultipartReader:
    """Parses a body, and passes its parts to `Parts`."""

    def __init__(
        self, content_type: bytes, parameters: Mapping[bytes, bytes], parts: Parts
    ) -> None:
        """A parser for one body.

        Args:
            content_type: media type of the body, without parameters.
            parameters: of the media type.
            parts: receives the parts.

        Raises:
            MalformedBody: it is not multipart/form-data with a usable boundary.
        """
        boundary = parameters.get(b"boundary")
        if content_type != b"multipart/form-data" or not boundary:
            raise MalformedBody(
                "The Content-Type must be multipart/form-data with a boundary. "
                "Let your HTTP client set it: curl -F file=@photo.jpg does."
            )
        self._parts = parts
        self._in_part = False
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
        """Parse the next bytes of the body.

        Raises:
            MalformedBody: they violate the format.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MalformedBody(f"The multipart body is malformed: {error}.") from error

    def finish(self) -> None:
        """End the body.

        Raises:
            MalformedBody: it is incomplete.
        """
        if not self._ended:
            raise MalformedBody("The multipart body ends before its closing boundary.")

    def _on_part_begin(self) -> None:
        self._disposition = b""
        self._in_part = False

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]
        if len(self._header[0]) > _MAX_HEADER:
            raise MalformedBody("A part has a header that is longer than any form needs.")

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]
        if len(self._header[1]) > _MAX_HEADER:
            raise MalformedBody("A part has a header that is longer than any form needs.")

    def _on_header_end(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = self._header[1]
        self._header = [b"", b""]

    def _on_headers_finished(self) -> None:
        _, parameters = parse_options_header(self._disposition.decode("latin-1"))
        name = parameters.get(b"name", b"").decode("utf-8", "replace")
        filename = parameters.get(b"filename", b"").decode("utf-8", "replace")
        self._parts.begin(name, filename)
        self._in_part = True

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._in_part:
            raise MalformedBody("The multipart body has a part without headers.")
        self._parts.append(data[start:end])

    def _on_part_end(self) -> None:
        if self._in_part:
            self._parts.end()

    def _on_end(self) -> None:
        self._ended = True
