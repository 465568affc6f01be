"""Fetch a picture by its address, within bounds, whoever named it.

The command line has no guard: the person at the keyboard may name what they like. What a client
of the service names is fetched only from where `Guard` lets it.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urljoin

import httpcore

from sightline.errors import BodyTooLarge, UrlError, UrlFailed, UrlRefused
from sightline.net.connect import (
    HEAD_BYTES,
    Deadline,
    GuardedBackend,
    Resolver,
    exchange,
    tls_context,
)
from sightline.net.guard import Guard
from sightline.net.url import Url, parse

MAX_REDIRECTS = 5

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OK = 200
_CRUMBS = 1000  # pieces of a body that may be tiny; beyond them …
_CRUMB_BYTES = 64  # … they must have so many bytes on average, or reading them is mere work

_log = logging.getLogger("sightline")


def is_url(text: str) -> bool:
    """Whether `text` is an address that can be fetched, and not the name of a file."""
    return text.lower().startswith(("http://", "https://"))


class TypeCheck(Protocol):
    """Check of a file's first bytes, so that the rest of what is no picture is not read."""

    def feed(self, data: bytes) -> None:
        """Take the next chunk. Raises what is wrong with it."""

    def finish(self) -> None:
        """The file is complete. Raises as `feed`."""


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches pictures; safe from many threads.

    Attributes:
        max_bytes: the largest picture.
        type_check: begins the check of one file.
        guard: says which hosts may be asked; None: all.
        resolver: looks them up.
        tls: the certificates that are trusted.
    """

    max_bytes: int
    type_check: Callable[[], TypeCheck]
    guard: Guard | None = None
    resolver: Resolver = field(default_factory=Resolver)
    tls: ssl.SSLContext = field(default_factory=tls_context)

    def fetch(self, url: str, seconds: float, gone: threading.Event | None = None) -> bytes:
        """The file at an http(s) address.

        Args:
            url: where; up to `MAX_REDIRECTS` redirects are followed, each as if it had been named.
            seconds: for everything together, from the name look-up to the last byte.
            gone: once set, nobody waits for the file any more.

        Raises:
            UrlRefused: it, or what it redirects to, may not be fetched.
            UrlFailed: its host did not give the file.
            BodyTooLarge: more than `max_bytes`.
            Overloaded: too many names are being looked up.
            SightlineError: what the check says.
        """
        deadline = Deadline(seconds, gone or threading.Event())
        at: Url | None = None
        try:
            at = parse(url)
            seen = {at}
            answer = self._ask(at, deadline)
            while isinstance(answer, str):
                at = _next(at, answer, seen)
                answer = self._follow(at, deadline)
        except UrlError as error:
            _log.info("not fetched: %s: %s (%s)", at or "an address", error, error.reason)
            raise
        return answer

    def _follow(self, url: Url, deadline: Deadline) -> bytes | str:
        try:
            return self._ask(url, deadline)
        except UrlRefused as error:
            raise _refused_redirect(f"{url}: {error} {error.reason}") from error

    def _ask(self, url: Url, deadline: Deadline) -> bytes | str:
        """The file at `url`, or the Location it redirects to."""
        backend = GuardedBackend(url, self.guard, self.resolver, deadline, self.tls)
        with _named_errors(deadline), exchange("GET", url, {}, backend) as response:
            if response.status in _REDIRECTS:
                return _location(response)
            length = _checked_length(response, self.max_bytes)
            if backend.stream is None:
                raise AssertionError  # something answered
            # Chunks carry their lengths with them.
            backend.stream.allowance = HEAD_BYTES + (length or 2 * self.max_bytes)
            return self._read(response, deadline)

    def _read(self, response: httpcore.Response, deadline: Deadline) -> bytes:
        body = bytearray()
        check = self.type_check()
        for number, chunk in enumerate(response.iter_stream()):
            body += chunk
            if len(body) > self.max_bytes:
                raise BodyTooLarge(self.max_bytes)
            check.feed(chunk)
            if number > _CRUMBS and len(body) < number * _CRUMB_BYTES:
                raise UrlFailed("its host sends it in crumbs.")
            deadline.left()
        check.finish()
        return bytes(body)


def _next(url: Url, location: str, seen: set[Url]) -> Url:
    """Where `location` leads from `url`; added to `seen`."""
    try:
        following = parse(urljoin(f"{url}{url.query}", location))
    except (UrlRefused, ValueError) as error:
        raise _refused_redirect(f"{location[:200]!r}: {error}") from error
    if following in seen:
        raise UrlFailed("it redirects in a circle.")
    seen.add(following)
    if len(seen) > MAX_REDIRECTS + 1:
        raise UrlFailed(f"it redirects more than {MAX_REDIRECTS} times.")
    return following


def _refused_redirect(reason: str) -> UrlRefused:
    """Where to is not told: it may be known inside alone."""
    return UrlRefused("it redirects to an address that cannot be used here.", reason)


def _header(response: httpcore.Response, name: bytes) -> bytes:
    return next((value for key, value in response.headers if key.lower() == name), b"")


def _location(response: httpcore.Response) -> str:
    try:
        location = _header(response, b"location").decode()
    except UnicodeDecodeError as error:
        raise _refused_redirect("a Location that is not UTF-8") from error
    if not location:
        raise UrlFailed("it redirects, but does not say where to.")
    if not location.isprintable():  # urljoin would leave out what cannot be seen
        raise _refused_redirect(repr(location[:200]))
    return location


def _checked_length(response: httpcore.Response, max_bytes: int) -> int | None:
    """The length that is announced; None if there is none.

    Raises:
        UrlFailed: it is not the file itself that follows.
        BodyTooLarge: it is more than `max_bytes`.
    """
    if response.status != _OK:
        raise UrlFailed(f"its host answered {response.status}.")
    if _header(response, b"content-encoding").strip().lower() not in {b"", b"identity"}:
        raise UrlFailed("its host sends it compressed, which was not asked for.")
    if not (announced := _header(response, b"content-length")):
        return None
    length = int(announced)
    if length > max_bytes:
        raise BodyTooLarge(max_bytes)
    return length


@contextmanager
def _named_errors(deadline: Deadline) -> Iterator[None]:
    """Turns what sockets, OpenSSL and httpcore raise into errors that tell no more than is due."""
    try:
        yield
    except TimeoutError as error:
        message = f"its host did not send all of it within {deadline.seconds:.3g} s."
        raise UrlFailed(message, repr(error)) from error
    except ssl.SSLCertVerificationError as error:
        raise UrlFailed("its host's certificate is not valid for it.", repr(error)) from error
    except OSError as error:
        raise UrlFailed("the connection to its host failed.", repr(error)) from error
    except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
        raise UrlFailed("what its host answered is not proper HTTP.", repr(error)) from error
