"""Look a name up, check what it gives, and connect to that: once each, before one deadline."""

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
"""Called and answering as `socket.getaddrinfo`."""

HEAD_BYTES = 64 * 1024
"""Most bytes before the body: interim answers, status and headers together."""

_LOOK_UP_SECONDS = 10  # how long the system's resolver asks at the usual 5 s and 2 attempts
_TRIES = 8  # addresses of one name


class Deadline:
    """One time limit over many steps, which its owner may also give up early."""

    def __init__(self, seconds: float, gone: threading.Event) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._gone = gone

    def left(self) -> float:
        """Seconds, above 0.

        Raises:
            TimeoutError: none are left, or nobody waits any more.
        """
        left = self._end - time.monotonic()
        if left <= 0 or self._gone.is_set():
            raise TimeoutError("nobody waits any more" if left > 0 else "the time is up")
        return left


class Resolver:
    """Looks names up. The system's resolver cannot be told to stop, so threads wait for it.

    They are daemons, so that none keeps the process alive, and they are counted, so that a name
    server that never answers ties up a bounded number of them.
    """

    def __init__(self, resolve: Resolve = socket.getaddrinfo) -> None:
        self._resolve = resolve
        self._room = threading.BoundedSemaphore(LOOK_UPS.count)

    def look_up(self, url: Url, deadline: Deadline) -> list[Address]:
        """The addresses of the host of `url`, each once, best first.

        Raises:
            OSError, UnicodeError: it has none.
            TimeoutError: nobody told in time.
            Overloaded: too many look-ups have not come back yet.
        """
        if url.literal is not None:
            return [url.literal]
        if not self._room.acquire(blocking=False):
            raise Overloaded("Too many host names are being looked up.", _LOOK_UP_SECONDS)
        answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._resolve(url.host, url.port, type=socket.SOCK_STREAM))
            except Exception as error:  # noqa: BLE001  raised again by whoever waits
                answers.put(error)
            finally:
                self._room.release()

        LOOK_UPS.start(ask)
        try:
            answer = answers.get(timeout=deadline.left())
        except queue.Empty:
            raise TimeoutError("no name server answered") from None
        if isinstance(answer, Exception):
            raise answer
        return list(dict.fromkeys(ipaddress.ip_address(found[4][0]) for found in answer))


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to the host of one address, if `guard` lets it.

    Attributes:
        stream: the connection, once it is made.
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
        host: str,  # noqa: ARG002  httpcore's signature; what was checked is what is used
        port: int,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """A connection to one of the host's addresses.

        Raises:
            UrlRefused: it has no address, or one that may not be asked.
            OSError: none of them takes the connection.
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
        """All or none: a name with addresses outside and inside is an attack."""
        url, guard = self._url, self._guard
        try:
            addresses = self._resolver.look_up(url, self._deadline)
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as error:
            raise _refusal(guard, f"it has no address: {error}") from error
        if guard is not None:
            inside = [str(at) for at in addresses if not guard.permits(url.host, at, url.port)]
            if inside:
                raise _refusal(guard, f"refused at port {url.port}: {', '.join(inside)}")
        if not addresses:
            raise _refusal(guard, "it has no address")
        return addresses[:_TRIES]


def _refusal(guard: Guard | None, reason: str) -> UrlRefused:
    """The same words whatever the host is, and whether or not there is one."""
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
    """A connection that keeps to its deadline and to a number of bytes.

    Attributes:
        allowance: bytes that may still be read.
    """

    def __init__(self, connection: socket.socket, deadline: Deadline, tls: ssl.SSLContext) -> None:
        self._connection = connection
        self._deadline = deadline
        self._tls = tls
        self.allowance = HEAD_BYTES

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """What there is, at most `max_bytes`.

        Raises:
            TimeoutError: nothing came before the deadline.
            ConnectionError: more came than is allowed.
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
        ssl_context: ssl.SSLContext,  # noqa: ARG002  never used: see tls_context
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
    """One request on a connection of its own; its answer, of which the head has been read.

    Raises:
        OSError, httpcore.ProtocolError, UrlRefused, Overloaded: as `backend` and what it connects
            to have it.
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
    """Certificates that are trusted: certifi's, or those in SSL_CERT_FILE.

    Made once, because reading them takes a while, and used by all threads at once. httpcore
    writes to each context that it is given, which OpenSSL forbids then: it gets another one.
    """
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
