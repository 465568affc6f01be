"""Multipart uploads (RFC 7578), read from disk while they are sent."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, TypeAlias

import anyio.to_thread
import httpx

from sightline.client.errors import FileChanged
from sightline.client.transport import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Sequence

    from sightline.client.pictures import Picture

_BLOCK = 256 * 1024  # bytes

_UNQUOTABLE = re.compile(r'["\x00-\x1f\x7f\\]')


Meanwhile: TypeAlias = "Callable[[], Coroutine[None, None, None]]"


async def nothing() -> None: ...


class FormUpload(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A multipart/form-data body, for either client; it can be sent repeatedly.

    One file is open at a time, and at most two blocks of it are in memory. httpx's own form opens
    all files at once and, for an AsyncClient, reads them on the event loop.
    """

    def __init__(
        self,
        field: str,
        pictures: Sequence[Picture],
        meanwhile: Meanwhile = nothing,
    ) -> None:
        """`meanwhile` is awaited after each block; with a blocking client it must not suspend."""
        boundary = uuid.uuid4().hex
        self._parts = [(_head(boundary, field, one.name), one) for one in pictures]
        self._meanwhile = meanwhile
        self._end = f"--{boundary}--\r\n".encode()
        size = sum(len(head) + one.size + len(b"\r\n") for head, one in self._parts)
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(size + len(self._end)),
        }

    def __iter__(self) -> Iterator[bytes]:
        """Blocks of the body.

        Raises:
            FileChanged: a file has become shorter.
            OSError: a file cannot be read any more.
        """
        for block in self._blocks():
            yield block
            run(self._meanwhile())

    async def __aiter__(self) -> AsyncIterator[bytes]:
        blocks = self._blocks()
        try:
            while block := await anyio.to_thread.run_sync(next, blocks, b""):
                yield block
                await self._meanwhile()
        finally:
            blocks.close()

    def _blocks(self) -> Generator[bytes]:
        """Pieces joined to blocks of at least `_BLOCK` bytes, except the last."""
        block = b""
        for piece in self._pieces():
            block += piece
            if len(block) >= _BLOCK:
                yield block
                block = b""
        yield block

    def _pieces(self) -> Iterator[bytes]:
        for head, picture in self._parts:
            yield head
            with picture.open() as file:
                left = picture.size
                while left:
                    piece = file.read(min(left, _BLOCK))
                    if not piece:
                        raise FileChanged(f"{picture.source} became shorter while it was sent.")
                    left -= len(piece)
                    yield piece
            yield b"\r\n"
        yield self._end


def _head(boundary: str, field: str, name: str) -> bytes:
    """The part's header. Names are escaped as browsers do (WHATWG HTML, 4.10.21.8)."""
    quoted = _UNQUOTABLE.sub(lambda found: f"%{ord(found[0]):02X}", name)
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{quoted}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode("utf-8", "replace")
