"""Fetches a picture by its address, with limits on time and size.

The command line uses no guard: its user may fetch from any host. For a client of the service,
pictures are fetched only from hosts that `Guard` permits.
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
_SMALL_CHUNKS = 1000  # chunks of a body that may be of any size; beyond them …
_MIN_CHUNK_BYTES = 64  # … the average must have so many bytes, or reading costs too much

_log = logging.getLogger("sightline")


def is_url(text: str) -> bool:
    """Whether `text` is an http(s) URL, not the name of a file."""
    return text.lower().startswith(("http://", "https://"))


class TypeCheck(Protocol):
    """Check of a file's first bytes, so that the rest of what is no picture is not read."""

    def feed(self, data: bytes) -> None:
        """Take the next chunk. Raises an error if the file is no picture."""

    def finish(self) -> None:
        """The file is complete. Raises as `feed`."""


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches pictures; thread-safe.

    Attributes:
        max_bytes: most bytes of a picture.
        type_check: begins the check of one file.
        guard: decides which hosts may be connected to; None: all.
        resolver: resolves their names.
        tls: the trusted certificates.
    """

    max_bytes: int
    type_check: Callable[[], TypeCheck]
    guard: Guard | None = None
    resolver: Resolver = field(default_factory=Resolver)
    tls: ssl.SSLContext = field(default_factory=tls_context)

    def fetch(self, url: str, seconds: float, gone: threading.Event | None = None) -> bytes:
        """The bytes of the file at an http(s) address.

        Args:
            url: the address; up to `MAX_REDIRECTS` redirects are followed, each checked like it.
            seconds: timeout for everything, from the name look-up to the last byte.
            gone: cancels the fetch once it is set.

        Raises:
            UrlRefused: the address, or one that it redirects to, may not be fetched.
            UrlFailed: the host did not return the file.
            BodyTooLarge: the file has more than `max_bytes`.
            Overloaded: too many names are being looked up.
            SightlineError: the error of the check.
        """
        deadline = Deadline(seconds, gone or threading.Event())
        at: Url | None = None
        try:
            at = parse(url)
            seen = {at}
            answer = self._request(at, deadline)
            while isinstance(answer, str):
                at = _next(at, answer, seen)
                answer = self._follow(at, deadline)
        except UrlError as error:
            _log.info("not fetched: %s: %s (%s)", at or "an address", error, error.reason)
            raise
        return answer

    def _follow(self, url: Url, deadline: Deadline) -> bytes | str:
        try:
            return self._request(url, deadline)
        except UrlRefused as error:
            raise _refused_redirect(f"{url}: {error} {error.reason}") from error

    def _request(self, url: Url, deadline: Deadline) -> bytes | str:
        """The file at `url`, or the Location it redirects to."""
        backend = GuardedBackend(url, self.guard, self.resolver, deadline, self.tls)
        with _named_errors(deadline), exchange("GET", url, {}, backend) as response:
            if response.status in _REDIRECTS:
                return _location(response)
            length = _checked_length(response, self.max_bytes)
            if backend.stream is None:
                raise AssertionError  # something answered
            # Twice the largest body without a length, since each chunk has a header.
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
            if number > _SMALL_CHUNKS and len(body) < number * _MIN_CHUNK_BYTES:
                raise UrlFailed("its host sends it in crumbs.")
            deadline.left()
        check.finish()
        return bytes(body)


def _next(url: Url, location: str, seen: set[Url]) -> Url:
    """The target of a redirect from `url` to `location`; added to `seen`."""
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
    """The error for a redirect that is refused; its target is logged, and not told."""
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
    if not location.isprintable():  # urljoin drops some invisible characters
        raise _refused_redirect(repr(location[:200]))
    return location


def _checked_length(response: httpcore.Response, max_bytes: int) -> int | None:
    """The declared length of the body; None if there is none.

    Raises:
        UrlFailed: the body is not the file itself.
        BodyTooLarge: the length is more than `max_bytes`.
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
    """Turn errors of sockets, OpenSSL and httpcore into `UrlFailed`, details are logged."""
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
