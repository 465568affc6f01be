"""Hosts that pictures are fetched from, well-behaved or not, and a record of who is asked."""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.local_server import local_server

if TYPE_CHECKING:
    import ssl


@dataclass
class Host:
    """A server whose answers are written by hand.

    Attributes:
        port: where it listens.
        heads: request heads in the order they came; one of no bytes for each silent client.
        ended: set when it stops; what drips waits on it.
        left: set once a client has hung up without its whole answer.
        sent: bytes of answers that its connections took.
    """

    port: int = 0
    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    sent: int = 0


@dataclass
class Answer:
    """What a handler answers with."""

    host: Host
    connection: socket.socket

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)
        self.host.sent += len(data)

    def forever(self, data: bytes, pause: float = 0) -> None:
        """`data` again and again, until the client hangs up."""
        while not (pause and self.host.ended.wait(pause)):
            self.send(data)

    def silence(self) -> None:
        """Nothing, until the client hangs up."""
        while self.connection.recv(4096):
            pass
        self.host.left.set()


Handler = Callable[[Answer, str], None]
"""Answers a request for a path."""


@contextmanager
def host(
    handler: Handler, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[Host]:
    running = Host()

    class Handling(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            index = len(running.heads)
            running.heads.append(b"")
            try:
                # What TLS wraps is its own from then on.
                connection = (
                    tls.wrap_socket(self.request, server_side=True) if tls else self.request
                )
                with connection:
                    head = running.heads[index] = _read_head(connection)
                    if not head:
                        running.left.set()
                    else:
                        handler(Answer(running, connection), head.split()[1].decode())
            except OSError:  # the client has hung up
                running.left.set()

    with local_server(Handling, address=address) as running.port:
        shown = f"[{address}]" if ":" in address else address
        running.url = f"http{'s' if tls else ''}://{shown}:{running.port}"
        try:
            yield running
        finally:
            running.ended.set()


def _read_head(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = connection.recv(4096)
        if not part:
            return b""
        head += part
    return head


def ok(body: bytes, *headers: str) -> bytes:
    """A good answer."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\n\r\n".encode()


@contextmanager
def nobody() -> Iterator[int]:
    """A port at which nobody listens, and that nobody else is given meanwhile."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # who says so too may have it
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


class Wire:
    """Every TCP connection that this process asks for, seen below all of our own code.

    Those to other machines are recorded, and fail.
    """

    _now: Wire | None = None

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    @classmethod
    @contextmanager
    def watched(cls) -> Iterator[Wire]:
        cls._now = cls()
        try:
            yield cls._now
        finally:
            cls._now = None

    def besides(self, *ports: int) -> list[tuple[str, int]]:
        """Connections to other ports than the test's own servers'."""
        return [at for at in self.asked if at[1] not in ports]

    @staticmethod
    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        wire = Wire._now
        if event != "socket.connect" or wire is None:
            return
        connection, address = arguments
        if connection.type != socket.SOCK_STREAM or not isinstance(address, tuple):
            return
        wire.asked.append(address[:2])
        if not ipaddress.ip_address(address[0]).is_loopback:
            raise ConnectionRefusedError("tests stay on this machine")


sys.addaudithook(Wire.audit)  # once, for good: there is no way to take one back
