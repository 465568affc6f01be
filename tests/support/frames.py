"""WebSocket clients: a proper one, and one that does what it likes."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

HANDSHAKE = (
    b"GET /detect/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
TEXT, BINARY, CONTINUED, CLOSE, PING = 1, 2, 0, 8, 9


@contextmanager
def watching(url: str, query: str = "", **options: Any) -> Iterator[ClientConnection]:
    address = f"{url.replace('http', 'ws', 1)}/detect/ws{query}"
    with connect(address, open_timeout=60, close_timeout=60, proxy=None, **options) as connection:
        yield connection


def said(connection: ClientConnection) -> dict[str, Any]:
    """The next message."""
    message: dict[str, Any] = json.loads(connection.recv(60))
    return message


def ended(connection: ClientConnection) -> int:
    """The code that the service closed with, once it has; there is nothing more before."""
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv(60)
    assert closed.value.rcvd is not None, "it was cut off"
    return closed.value.rcvd.code


def refusal(connection: ClientConnection, kind: str, code: int) -> dict[str, Any]:
    """The problem that the connection ends with."""
    problem = said(connection)
    assert problem["type"] == f"urn:sightline:problem:{kind}", problem
    assert {"title", "status", "detail"} <= problem.keys()
    assert ended(connection) == code
    return problem


def frame(
    kind: int, data: bytes = b"", *, last: bool = True, announced: int | None = None
) -> bytes:
    """One frame of a client (RFC 6455, 5.2), masked; `announced` may differ from what is there."""
    size = len(data) if announced is None else announced
    first = (0x80 if last else 0) | kind
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 2**16:
        head = struct.pack("!BBH", first, 0xFE, size)
    else:
        head = struct.pack("!BBQ", first, 0xFF, size)
    return head + bytes(4) + data  # a mask of zeros


@contextmanager
def rude(port: int, buffer: int | None = None) -> Iterator[socket.socket]:
    """A connection on which the handshake is made; it reads into `buffer` bytes of the system."""
    with socket.socket() as connection:
        if buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", port))
        connection.sendall(HANDSHAKE)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield connection


def heard(connection: socket.socket) -> tuple[list[dict[str, Any]], int | None]:
    """All that is said until the end: messages, and the code it was closed with (None: cut)."""
    received = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    messages, code = [], None
    while received:
        kind, size, start = received[0] & 15, received[1], 2
        if size == 126:
            (size,), start = struct.unpack("!H", received[2:4]), 4
        data, received = received[start : start + size], received[start + size :]
        if kind == TEXT:
            messages.append(json.loads(data))
        elif kind == CLOSE:
            (code,) = struct.unpack("!H", data[:2])
    return messages, code
