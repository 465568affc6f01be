"""Guarded connections: resolve a name, check its addresses, connect to one of them.

Each step runs once, and all share one deadline. So the address that is checked is the one used.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
import time
from contextlib import closing, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import httpcore
import httpx

from sightline import __version__
from sightline.errors import Overloaded, UrlRefused
from sightline.threads import LOOK_UPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sightline.net.guard import Guard
    from sightline.net.url import Address, Url

Resolve: TypeAlias = "Callable[..., list[Any]]"
"""A function with the signature of `socket.getaddrinfo`."""

HEAD_BYTES = 64 * 1024
"""Most bytes before the body: interim responses, status and headers together."""

_LOOK_UP_SECONDS = 10  # of the system's resolver: usually 2 attempts of 5 s
_TRIES = 8  # most addresses of one name


class Deadline:
    """A deadline over many steps, which its owner may also cancel with the event `gone`."""

    def __init__(self, seconds: float, gone: threading.Event) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._gone = gone

    def left(self) -> float:
        """Seconds left, above 0.

        Raises:
            TimeoutError: the deadline has passed, or the owner has cancelled.
        """
        left = self._end - time.monotonic()
        if left <= 0 or self._gone.is_set():
            raise TimeoutError("nobody waits any more" if left > 0 else "the time is up")
        return left


class Resolver:
    """Resolves host names on threads, since the system's resolver cannot be interrupted.

    The threads are daemons, so that none keeps the process alive. Their number is bounded, also if
    a name server never answers.
    """

    def __init__(self, resolve: Resolve = socket.getaddrinfo) -> None:
        self._resolve = resolve
        self._slots = threading.BoundedSemaphore(LOOK_UPS.count)

    def look_up(self, url: Url, deadline: Deadline) -> list[Address]:
        """The addresses of the host of `url`, each once, best first.

        Raises:
            OSError, UnicodeError: the host has no address.
            TimeoutError: no name server answered in time.
            Overloaded: too many look-ups are under way.
        """
        if url.literal is not None:
            return [url.literal]
        if not self._slots.acquire(blocking=False):
            raise Overloaded("Too many host names are being looked up.", _LOOK_UP_SECONDS)
        answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

        def resolve() -> None:
            try:
                answers.put(self._resolve(url.host, url.port, type=socket.SOCK_STREAM))
            except Exception as error:  # noqa: BLE001  raised again by the caller
                answers.put(error)
            finally:
                self._slots.release()

        LOOK_UPS.start(resolve)
        try:
            answer = answers.get(timeout=deadline.left())
        except queue.Empty:
            raise TimeoutError("no name server answered") from None
        if isinstance(answer, Exception):
            raise answer
        return list(dict.fromkeys(ipaddress.ip_address(found[4][0]) for found in answer))


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to the host of `url`, if `guard` permits it.

    Attributes:
        stream: the connection; None before it is made.
    """

    def __init__(
        self,
        url: Url,
        guard: Guard | None,
        resolver: Resolver,
        deadline: Deadline,
        tls: ssl.SSLContext,
    ) -> None:
        self._url = url
        self._guard = guard
        self._resolver = resolver
        self._deadline = deadline
        self._tls = tls
        self.stream: GuardedStream | None = None

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002  httpcore's signature; only checked addresses are used
        port: int,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """A connection to one of the host's addresses.

        Raises:
            UrlRefused: the host has no address, or one that is not permitted.
            OSError: no address accepts the connection.
        """
        addresses = self._checked_addresses()
        for number, address in enumerate(addresses, 1):
            share = self._deadline.left() / (len(addresses) - number + 1)
            try:
                connection = _connect(address, self._url.port, share)
            except OSError:
                if number == len(addresses):
                    raise
                continue
            self.stream = GuardedStream(connection, self._deadline, self._tls)
            return self.stream
        raise AssertionError  # there is an address, and the last one returns or raises

    def _checked_addresses(self) -> list[Address]:
        """The host's addresses, if all are permitted: a mix of public and private is an attack."""
        url, guard = self._url, self._guard
        try:
            addresses = self._resolver.look_up(url, self._deadline)
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as error:
            raise _refusal(guard, f"it has no address: {error}") from error
        if guard is not None:
            refused = [str(at) for at in addresses if not guard.permits(url.host, at, url.port)]
            if refused:
                raise _refusal(guard, f"refused at port {url.port}: {', '.join(refused)}")
        if not addresses:
            raise _refusal(guard, "it has no address")
        return addresses[:_TRIES]


def _refusal(guard: Guard | None, reason: str) -> UrlRefused:
    """The error for a refused host, with one text for all hosts, existing or not."""
    if guard is None:
        return UrlRefused("there is no host of this name.", reason)
    return UrlRefused(
        "its host is not one on the public internet, at port 80 or 443, that can be used here. "
        "Send the picture itself, or have whoever runs the service list the host in "
        "SIGHTLINE_URL_ALLOW.",
        reason,
    )


def _connect(address: Address, port: int, seconds: float) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect((str(address), port))
        _require_peer(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


def _require_peer(connection: socket.socket, address: Address) -> None:
    peer = ipaddress.ip_address(connection.getpeername()[0])
    if peer != address:
        raise ConnectionError(f"asked for {address} and got {peer}")


class GuardedStream(httpcore.NetworkStream):
    """A connection with a deadline and a limit on the bytes read.

    Attributes:
        allowance: bytes that may still be read.
    """

    def __init__(self, connection: socket.socket, deadline: Deadline, tls: ssl.SSLContext) -> None:
        self._connection = connection
        self._deadline = deadline
        self._tls = tls
        self.allowance = HEAD_BYTES

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """The next bytes, at most `max_bytes`.

        Raises:
            TimeoutError: no bytes came before the deadline.
            ConnectionError: the allowance is used up.
        """
        if self.allowance <= 0:
            raise ConnectionError("more bytes than are allowed around the picture")
        self._connection.settimeout(self._deadline.left())
        data = self._connection.recv(min(max_bytes, self.allowance))
        self.allowance -= len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._connection.settimeout(self._deadline.left())
        self._connection.sendall(buffer)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,  # noqa: ARG002  not used: see `tls_context`
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        try:
            self._connection.settimeout(self._deadline.left())
            self._connection = self._tls.wrap_socket(
                self._connection, server_hostname=server_hostname
            )
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        self._connection.close()


@contextmanager
def exchange(
    method: str, url: Url, headers: dict[str, str], backend: GuardedBackend, content: bytes = b""
) -> Iterator[httpcore.Response]:
    """Send one request on a new connection; the response, whose head has been read.

    Raises:
        OSError, httpcore.ProtocolError, UrlRefused, Overloaded: from `backend`, or from the
            connection.
    """
    target = httpcore.URL(
        scheme=url.scheme, host=url.host, port=url.port, target=url.path + url.query
    )
    common = {
        "Host": url.authority,
        "User-Agent": f"sightline/{__version__}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    connection = httpcore.HTTPConnection(
        target.origin, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), network_backend=backend
    )
    with (
        closing(connection),
        connection.stream(
            method, target, headers=list((common | headers).items()), content=content or None
        ) as response,
    ):
        yield response


@cache
def tls_context() -> ssl.SSLContext:
    """The TLS context with the trusted certificates: certifi's, or those in SSL_CERT_FILE.

    Made once, because reading them takes a while, and shared by all threads. httpcore modifies the
    context that it is given, which is not safe while threads share it, so it gets another one.
    """
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
