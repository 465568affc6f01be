"""A minimal HTTP/1.1 client: one connection, one request at a time, as little parsing as possible.

It shares the machine with the service that it measures, so its own cost affects the figures.
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

_MOST_KEPT = 64 * 2**10  # bytes of a failed response, which contain its problem type


class ConnectionEnded(ConnectionError):
    """The service closed the connection before a complete response."""


@dataclass(slots=True)
class HttpReply:
    """A response.

    Attributes:
        status: its status code.
        headers: its headers, names in lower case.
        body: kept if requested, or if the status is not 200.
        size: of the body, bytes.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    size: int = 0


class Connection(asyncio.Protocol):
    """A keep-alive connection to a service."""

    def __init__(self) -> None:
        self.open = False
        self.received = 0
        self._keep = False
        self._answer = HttpReply()
        self._waiting: asyncio.Future[HttpReply] | None = None
        self._parser = httptools.HttpResponseParser(self)

    async def send(self, request: bytes, keep: bool = False) -> HttpReply:
        """Send a complete `request` and wait for its response; `keep`: with its body.

        Raises:
            OSError: the connection failed.
            httptools.HttpParserError: the response is not HTTP.
        """
        self._keep = keep
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._waiting
        finally:
            self._waiting = None

    def close(self) -> None:
        """Abort the connection."""
        self.open = False
        self._transport.abort()

    # Called by asyncio.

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

    # Called by httptools.

    def on_message_begin(self) -> None:
        self._answer = HttpReply()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        answer = self._answer
        answer.size += len(body)
        if self._keep if answer.status == 200 else len(answer.body) < _MOST_KEPT:
            answer.body += body

    def on_message_complete(self) -> None:
        if self._answer.status < 200:
            return  # an interim answer
        # A connection cannot be reused if part of the request has not been sent yet.
        if not self._parser.should_keep_alive() or self._transport.get_write_buffer_size():
            self.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(self._answer)

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


async def reach(target: Target, timeout: float) -> str:
    """Find the address of the target's host that accepts connections, once for all of them.

    Raises:
        ConfigError: none does.
    """
    reason = ""
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
            reason = kind_of(error)
        else:
            connection.close()
            return str(address[0])
    raise ConfigError(
        f"nothing to measure at {target.url}: {reason}. Is the service up, and is this its port?"
    )


async def connect(target: Target, address: str) -> Connection:
    """Open a connection to `address`, as found by `reach`.

    Raises:
        OSError: the connection failed.
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
    """The kind of an error, in a word or two."""
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
