"""What all servers of tests stand on: each connection is answered on a thread of its own."""

from __future__ import annotations

import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler


class QuietHandler(BaseHTTPRequestHandler):
    """Speaks HTTP/1.0, and logs nothing."""

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128
    daemon_threads = True
    block_on_close = False  # who holds a connection is not waited for

    def handle_error(self, *_: object) -> None:
        """A client that has gone, or was killed, is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            sys.excepthook(*sys.exc_info())


@contextmanager
def local_server(
    handler: type[socketserver.BaseRequestHandler], port: int = 0, address: str = "127.0.0.1"
) -> Iterator[int]:
    """The port at which each connection is given to `handler`; a free one for 0."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = type("Server", (_Server,), {"address_family": family})
    with kind((address, port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(60)
