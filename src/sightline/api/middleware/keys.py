"""API keys: their format, their hashes, and the caller that a key belongs to."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING

from sightline.api.request_info import Caller
from sightline.api.server.handshake import SUBPROTOCOL
from sightline.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from sightline.settings import Settings

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HASHED = re.compile(r"sha256:([0-9a-f]{64})")

_KEY_PROTOCOL = f"{SUBPROTOCOL}.key."

ADMIN = "admin"
"""The name of the admin key's owner in the log."""


class Keys:
    """The API keys that the service accepts.

    Only their SHA-256 is kept. Keys are random and long, so a slow hash would add no security,
    only load.
    """

    def __init__(self, settings: Settings) -> None:
        """The keys in `settings`.

        Raises:
            ConfigError: an entry is not a name and a key, or a name occurs twice.
        """
        self._digests: dict[str, bytes] = {}
        if settings.api_keys is not None:
            entries = settings.api_keys.get_secret_value().split(",")
            for number, entry in enumerate((e.strip() for e in entries if e.strip()), start=1):
                self._add(entry if ":" in entry else f"key-{number}:{entry}")
        if settings.api_keys_file is not None:
            for entry in _lines(settings.api_keys_file):
                self._add(entry)
        self.required = bool(self._digests)
        self._admin: bytes | None = None
        if settings.admin_key is not None:
            self._admin = _digest_of(settings.admin_key.get_secret_value())

    @property
    def has_admin(self) -> bool:
        return self._admin is not None

    def caller(self, headers: list[tuple[bytes, bytes]]) -> Caller | None:
        """The owner of the key in `headers`; None if the key is missing or unknown.

        Every key is compared, in constant time, so that the time taken reveals nothing.
        """
        given = hashlib.sha256(_given(headers)).digest()
        found = None
        for name, digest in self._digests.items():
            if hmac.compare_digest(given, digest):
                found = Caller(name, admin=False)
        if self._admin is not None and hmac.compare_digest(given, self._admin):
            found = Caller(ADMIN, admin=True)
        return found

    def _add(self, entry: str) -> None:
        name, _, key = entry.partition(":")
        if not _NAME.fullmatch(name) or not key:
            raise ConfigError(
                "an API key must be written name:key, the name of up to 64 letters, digits, "
                "'.', '_' and '-'; separate keys by commas"
            )
        if name in self._digests or name == ADMIN:
            raise ConfigError(f"there are two API keys of the name '{name}'")
        self._digests[name] = _digest_of(key)


def new_key(name: str) -> tuple[str, str]:
    """A new random key of 256 bits, and its entry for the file of keys.

    Raises:
        ConfigError: the name is not acceptable.
    """
    if not _NAME.fullmatch(name) or name == ADMIN:
        raise ConfigError(
            f"a key's name is up to 64 letters, digits, '.', '_' and '-', and not '{ADMIN}'"
        )
    key = f"sl_{secrets.token_urlsafe(32)}"
    return key, f"{name}:sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def _digest_of(key: str) -> bytes:
    """SHA-256 of a key, which may already be given as `sha256:…`."""
    hashed = _HASHED.fullmatch(key)
    return bytes.fromhex(hashed[1]) if hashed else hashlib.sha256(key.encode()).digest()


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.expanduser().read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file of API keys cannot be read: {error}") from error
    entries = [line for line in lines if line and not line.startswith("#")]
    for entry in entries:
        if not _HASHED.fullmatch(entry.partition(":")[2]):
            raise ConfigError(
                f"{path} holds a line that is no hashed key; put there what `sightline key` prints"
            )
    return entries


def _given(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The key in `Authorization` (Bearer, or Basic with any user name) or `X-API-Key`.

    Or in the name of a subprotocol, since a page cannot set headers on a WebSocket.
    """
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return token.strip()
            if scheme.lower() == b"basic":
                return _password(token)
        elif name == b"x-api-key":
            return value
        elif name == b"sec-websocket-protocol" and (key := _subprotocol_key(value)):
            return key
    return b""


def _subprotocol_key(value: bytes) -> bytes:
    """The key in `sightline, sightline.key.<Base64url of the key, without padding>`."""
    for name in value.decode("latin-1").split(","):
        if name.strip().startswith(_KEY_PROTOCOL):
            coded = name.strip().removeprefix(_KEY_PROTOCOL)
            try:
                return base64.b64decode(coded + "=" * (-len(coded) % 4), b"-_", validate=True)
            except (ValueError, binascii.Error):
                return b""
    return b""


def _password(token: bytes) -> bytes:
    try:
        return base64.b64decode(token, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
