"""Sends webhooks: signed as Standard Webhooks specifies, and guarded against SSRF.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: the
headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, the latter `v1,` and the Base64
of HMAC-SHA256 over `id.timestamp.body`; secrets are `whsec_` and 24 to 64 bytes in Base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import os
import secrets
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpcore

from sightline.errors import CallbackRefused, ConfigError, UrlRefused
from sightline.net.connect import Deadline, GuardedBackend, Resolver, exchange, tls_context
from sightline.net.guard import Guard
from sightline.net.url import Url, parse

SECONDS = 15.0
"""Timeout of a whole call, from the name look-up to the end of the answer."""

_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)
_ANSWER_BYTES = 4096  # read and dropped, so that the receiver sees its answer taken
_GONE = 410

_log = logging.getLogger("sightline")


class CallFailed(Exception):
    """A call that is not permitted or got no answer; `str()` may be shown to the client."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a receiver answered.

    Attributes:
        status: the HTTP status.
        retry_after: seconds of its Retry-After; None without one.
    """

    status: int
    retry_after: float | None = None

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """The receiver wants no more calls."""
        return self.status == _GONE


@dataclass(frozen=True, slots=True)
class WebhookSender:
    """Sends webhooks; thread-safe.

    Attributes:
        key: the signing key, as `read_secret` returns it.
        guard: decides which hosts may be called.
        resolver: resolves their names.
        seconds: timeout of a whole call.
        tls: the trusted certificates.
        clock: Unix time.
    """

    key: bytes = field(repr=False)
    guard: Guard
    resolver: Resolver = field(default_factory=Resolver)
    seconds: float = SECONDS
    tls: ssl.SSLContext = field(default_factory=tls_context)
    clock: Callable[[], float] = time.time

    def post(self, url: str, message_id: str, body: bytes) -> Reply:
        """Post `body`, JSON in UTF-8. Redirects are not followed, but returned as replies.

        Args:
            url: the address that the client gave.
            message_id: the same for each attempt to deliver the same message; without a dot.
            body: signed and sent unchanged.

        Raises:
            CallFailed: no answer came in time, or the address may not be called.
            Overloaded: too many names are being looked up.
        """
        deadline = Deadline(self.seconds, threading.Event())
        timestamp = int(self.clock())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self.key, message_id, timestamp, body),
        }
        with _named_errors(deadline):
            at = parse(url)
            backend = GuardedBackend(at, self.guard, self.resolver, deadline, self.tls)
            with exchange("POST", at, headers, backend, body) as response:
                if backend.stream is None:
                    raise AssertionError  # something answered
                backend.stream.allowance = _ANSWER_BYTES
                with suppress(OSError, httpcore.ProtocolError):  # the status is what counts
                    for _ in response.iter_stream():
                        pass
                return Reply(response.status, _retry_after(response, self.clock()))


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`; `timestamp` is Unix time in whole seconds."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def check_callback(url: str, guard: Guard, resolver: Resolver, seconds: float = 3.0) -> None:
    """Check that `url` may be called, as far as that can be known in advance.

    Raises:
        CallbackRefused: its form, its port or its host is not permitted. The message is the same
            for all hosts that are not public, so that it reveals nothing of the inner network.
        Overloaded: too many names are being looked up.
    """
    try:
        at = parse(url)
        reason = _refusal_reason(at, guard, resolver, Deadline(seconds, threading.Event()))
    except UrlRefused as error:
        raise CallbackRefused(error.message) from error
    if reason:
        _log.info("callback refused: %s: %s", at, reason)
        raise CallbackRefused(
            "its host is not one on the public internet, at port 80 or 443, that can be called "
            "from here. Leave it out and poll instead, or have whoever runs the service list the "
            "host in SIGHTLINE_URL_ALLOW.",
            reason,
        )


def _refusal_reason(url: Url, guard: Guard, resolver: Resolver, deadline: Deadline) -> str:
    """Why no connection may be made to the host of `url`, for the log; "" if one may."""
    try:
        addresses = resolver.look_up(url, deadline)
    except (OSError, UnicodeError) as error:  # TimeoutError is an OSError too
        return f"it has no address: {error}"
    refused = [str(at) for at in addresses if not guard.permits(url.host, at, url.port)]
    if refused:
        return f"refused at port {url.port}: {', '.join(refused)}"
    return "" if addresses else "it has no address"


def read_secret(text: str) -> bytes:
    """The key in a secret `whsec_…`.

    Raises:
        ConfigError: it is no secret; the message describes the format, and does not quote `text`.
    """
    try:
        key = base64.b64decode(text.strip().removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.strip().startswith(_PREFIX) or len(key) not in _KEY_BYTES:
        raise ConfigError(
            "option 'webhook_secret': it has to be whsec_ and 24 to 64 bytes in Base64. Make one: "
            'echo "whsec_$(openssl rand -base64 32)"'
        )
    return key


def open_secret(configured: str | None, path: Path | None) -> bytes:
    """The key that calls are signed with.

    Args:
        configured: a secret `whsec_…`; comes first.
        path: else the file with the secret, readable by its owner only; made if missing, once even
            if several processes try. None: a new secret for this process.

    Raises:
        ConfigError: the setting or the file holds no secret, or the file cannot be read or made.
    """
    if configured is not None:
        return read_secret(configured)
    made = _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    if path is None:
        return read_secret(made)
    try:
        if not path.exists():
            _write_once(path, made)
        return read_secret(path.read_text("ascii"))
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"the secret for webhooks cannot be kept in {path}: {error}. Set "
            "SIGHTLINE_WEBHOOK_SECRET, or name another folder with --data-dir"
        ) from error
    except ConfigError as error:
        raise ConfigError(f"{path} holds no secret for webhooks: remove it, and one is made") from (
            error
        )


def _write_once(path: Path, secret: str) -> None:
    """Write the file atomically, unless another process has made it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)  # its mode is 0600
    try:
        with open(handle, "w", encoding="ascii") as file:  # noqa: PTH123  a handle, not a path
            file.write(f"{secret}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()


def _retry_after(response: httpcore.Response, now: float) -> float | None:
    """The seconds of a Retry-After, a number or a date (RFC 9110, 10.2.3); None without one."""
    values = (value for name, value in response.headers if name.lower() == b"retry-after")
    text = next(values, b"").decode("latin-1").strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


@contextmanager
def _named_errors(deadline: Deadline) -> Iterator[None]:
    """Turn errors into `CallFailed`, with texts that reveal nothing of the inner network."""
    try:
        yield
    except UrlRefused as error:
        _log.info("not called: %s (%s)", error, error.reason)
        raise CallFailed("its host is not one that can be called from here") from error
    except TimeoutError as error:
        raise CallFailed(f"no answer within {deadline.seconds:g} s") from error
    except ssl.SSLCertVerificationError as error:
        raise CallFailed("its certificate is not valid for it") from error
    except OSError as error:
        _log.info("not called: %s", error)
        raise CallFailed("no connection, or it broke") from error
    except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
        raise CallFailed("what it answered is not proper HTTP") from error
