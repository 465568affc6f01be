"""Access control: host, origin, key and rate limits, before a byte of a body is read."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from sightline.api.admission import Admission, release_nothing
from sightline.api.assets import PAGE
from sightline.api.middleware.keys import ADMIN
from sightline.api.problems import answer_to
from sightline.api.request_info import info_of, name_of
from sightline.api.server.close_reason import refuse_handshake
from sightline.errors import HostUnknown, KeyWrong, NotAllowed, SightlineError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from sightline.api.middleware.keys import Keys
    from sightline.settings import Settings

OPEN_PATHS = frozenset({"/health/live", *PAGE})
"""Paths that need no key and count against no limit: liveness, and the page, which asks for a key
itself."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, 9.2.1), and so need no check of the origin."""


class AccessControl:
    """Refuses requests that may not come in, and passes all others to the application."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        keys: Keys,
        admission: Callable[[], Admission],
    ) -> None:
        """An access control that reads `admission` at the first request.

        Args:
            app: gets the requests that are let in.
            settings: allowed hosts and origins.
            keys: of clients.
            admission: returns the limits on clients, which exist once the server has started.
        """
        self._app = app
        self._hosts = settings.allowed_hosts
        self._origins = settings.cors_origins
        self._keys = keys
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        try:
            release = await self._admit(scope)
        except SightlineError as error:
            # A foreign host or origin gets no open connection on which to be told why.
            if scope["type"] == "websocket" and not isinstance(error, HostUnknown | NotAllowed):
                await refuse_handshake(error, scope, receive, send)
            else:
                await answer_to(error, scope)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            await release()

    async def _admit(self, scope: Scope) -> Callable[[], Awaitable[None]]:
        """Raises if the request may not come in; returns what releases its place at the end."""
        headers = scope["headers"]
        host = _header(headers, b"host")
        for name, value in headers:
            if name == b"host":
                self._require_host(scope, value.decode("latin-1"))
        if scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS:
            self._require_origin(_header(headers, b"origin"), host)
        if scope["path"].removeprefix(scope.get("root_path", "")) in OPEN_PATHS:
            return release_nothing
        info = info_of(scope)
        info.caller = self._keys.caller(headers)
        admission, client = self._admission(), name_of(info)
        if info.caller is None and self._keys.required:
            await admission.count(client)  # limits the guessing of keys too
            raise KeyWrong(
                "The key is missing or wrong: send Authorization: Bearer KEY, or X-API-Key: KEY."
            )
        return await admission.admit(client)

    def _require_host(self, scope: Scope, host: str) -> None:
        """Raises HostUnknown if `host` is not a name of this service.

        This stops DNS rebinding: a foreign page whose own name resolves to this machine. Such a
        name is in the public DNS and has a dot in it, so names without a dot are allowed.
        """
        name, server = _hostname(host), scope.get("server")
        if self._hosts:
            known = any(_matches(name, pattern) for pattern in self._hosts)
        elif server is None or not is_loopback(server[0]):
            known = True
        else:
            known = "." not in name or name.endswith(".localhost") or _is_address(name)
        if host and not known:
            raise HostUnknown(
                f"The service does not answer to '{name[:80]}'. Use a name of its own, or add this "
                "one to SIGHTLINE_ALLOWED_HOSTS on the server."
            )

    def _require_origin(self, origin: str, host: str) -> None:
        """Raises NotAllowed if `origin` is another origin, and settings do not allow it."""
        if not origin or "*" in self._origins or origin in self._origins:
            return
        if _authority(origin.partition("://")[2]) != _authority(host):
            raise NotAllowed(
                f"Pages of the origin '{origin[:80]}' may not use this service; add it to "
                "SIGHTLINE_CORS_ORIGINS on the server if they should. If this is the service's own "
                "page behind a proxy, the proxy has to pass on the Host that it was asked by."
            )


def require_admin(scope: Scope, keys: Keys) -> None:
    """Require the admin key.

    Raises:
        NotAllowed: the service has no admin key, or the key is another one.
        KeyWrong: the key is missing or unknown.
    """
    if not keys.has_admin:
        raise NotAllowed("Changing models is switched off: start with SIGHTLINE_ADMIN_KEY set.")
    caller = info_of(scope).caller
    if caller is None:
        raise KeyWrong(f"The {ADMIN} key is missing or wrong: send Authorization: Bearer KEY.")
    if not caller.admin:
        raise NotAllowed(f"The key '{caller.name}' may not do this: it takes the {ADMIN} key.")


def _header(headers: list[tuple[bytes, bytes]], wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in headers if name == wanted), "")


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches `address`."""
    return address.startswith("127.") or address == "::1"


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _hostname(authority: str) -> str:
    """The host of `host:port`, in lower case, without the brackets of IPv6."""
    host, _, port = authority.rpartition(":")
    name = host if host and port.isdigit() else authority
    return name.strip("[]").rstrip(".").lower()


def _authority(text: str) -> tuple[str, str]:
    """Host and port. Ports 80 and 443 are equal (""), since a proxy may terminate TLS."""
    _, colon, port = text.rpartition(":")
    port = port if colon and port.isdigit() else ""
    return _hostname(text), "" if port in {"80", "443"} else port


def _matches(name: str, pattern: str) -> bool:
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return name.endswith(pattern[1:].lower())
    return name == pattern.lower()
