"""A light HTTP/1.1 client: one connection, one request at a time, nothing parsed without need.

It shares the machine with the service that it measures, so what it costs would show in the figures.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass, field
from functools import cache
from typing import cast

import httptools

from sightline.bench.plan import Target
from sightline.errors import ConfigError

_MOST_TOLD = 64 * 2**10  # bytes of a failing answer: its problem type is in there


class ConnectionEnded(ConnectionError):
    """The service closed the connection and gave no whole answer."""


@dataclass(slots=True)
class HttpReply:
    """What came back.

    Attributes:
        status: of the answer.
        headers: of the answer, names in lower case.
        body: kept if it was asked for, or if the status is not 200.
        size: bytes of the body.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    size: int = 0


class Connection(asyncio.Protocol):
    """One connection to a service, kept while the service keeps it."""

    def __init__(self) -> None:
        self.open = False
        self.received = 0
        self._keep = False
        self._answer = HttpReply()
        self._waiting: asyncio.Future[HttpReply] | None = None
        self._parser = httptools.HttpResponseParser(self)

    async def ask(self, request: bytes, keep: bool = False) -> HttpReply:
        """Send `request`, a whole one, and wait for its answer; `keep` wants the body.

        Raises:
            OSError: the connection failed.
            httptools.HttpParserError: what came back is no HTTP.
        """
        self._keep = keep
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._waiting
        finally:
            self._waiting = None

    def close(self) -> None:
        """Drop the connection, whatever is still on its way."""
        self.open = False
        self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)
            self.close()

    def eof_received(self) -> None:
        headers = self._answer.headers
        if self._answer.status and not {"content-length", "transfer-encoding"} & headers.keys():
            self.on_message_complete()  # a body that ends with its connection

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._fail(exc or ConnectionEnded("closed without an answer"))

    # What httptools calls.

    def on_message_begin(self) -> None:
        self._answer = HttpReply()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        answer = self._answer
        answer.size += len(body)
        if self._keep if answer.status == 200 else len(answer.body) < _MOST_TOLD:
            answer.body += body

    def on_message_complete(self) -> None:
        if self._answer.status < 200:
            return  # an interim answer
        # A connection is of no more use to us if part of the request has not left yet.
        if not self._parser.should_keep_alive() or self._transport.get_write_buffer_size():
            self.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(self._answer)

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


async def reach(target: Target, timeout: float) -> str:
    """The address of the target's host that takes connections, found once for all of them.

    Raises:
        ConfigError: none does.
    """
    trouble = ""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            target.host, target.port, type=socket.SOCK_STREAM
        )
    except OSError as error:
        raise ConfigError(f"there is no host {target.host}: {error.strerror}") from error
    for *_, address in found:
        try:
            async with asyncio.timeout(timeout):
                connection = await connect(target, str(address[0]))
        except OSError as error:
            trouble = kind_of(error)
        else:
            connection.close()
            return str(address[0])
    raise ConfigError(
        f"nothing to measure at {target.url}: {trouble}. Is the service up, and is this its port?"
    )


async def connect(target: Target, address: str) -> Connection:
    """A new connection to `address`, one that `reach` found.

    Raises:
        OSError: there is none to be had.
    """
    _, connection = await asyncio.get_running_loop().create_connection(
        Connection,
        address,
        target.port,
        ssl=_tls() if target.tls else None,
        server_hostname=target.host if target.tls else None,
    )
    return connection


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def kind_of(error: Exception) -> str:
    """What went wrong, in a word or two."""
    match error:
        case TimeoutError():
            return "timed out"
        case ConnectionRefusedError():
            return "refused"
        case ConnectionEnded():
            return "closed"
        case ConnectionError():
            return "reset"
        case ssl.SSLError():
            return "no TLS"
        case socket.gaierror():
            return "unknown host"
        case OSError():
            return (error.strerror or "no connection").lower()
        case _:
            return "no HTTP"
