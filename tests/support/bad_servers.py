"""Servers that misbehave, each in its way, one thread a connection."""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.local_server import local_server

Behaviour = Callable[[socket.socket], None]


@contextmanager
def bad_server(behave: Behaviour) -> Iterator[str]:
    """The address of a server that gives each connection to `behave`, and closes it after."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            behave(self.request)

    with local_server(Handler) as port:
        yield f"http://127.0.0.1:{port}"


def read_request(connection: socket.socket) -> bytes:
    """One whole request, head and body; ConnectionError if the client has no more."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line[:15] == b"Content-Length:"
        ),
        0,
    )
    while len(body) < length:
        body += _more(connection)
    return head + b"\r\n\r\n" + body


def answer(status: str = "200 OK", body: bytes = b"{}", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _more(connection: socket.socket) -> bytes:
    chunk = connection.recv(65536)
    if not chunk:
        raise ConnectionError
    return chunk
