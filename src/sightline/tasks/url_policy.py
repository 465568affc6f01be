"""Policy for the URLs of a task: which hosts, prefixes and callbacks it may name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from sightline.errors import UrlRefused
from sightline.net.url import MAX_LENGTH, parse
from sightline.net.webhooks import check_callback

if TYPE_CHECKING:
    from sightline.net.connect import Resolver
    from sightline.net.guard import Guard

_SCHEMES = ("http://", "https://")
_STORES = ("s3://", "gs://", "az://", "file://")


@dataclass(frozen=True, slots=True)
class UrlPolicy:
    """Checks the URLs of a task, at submission and again before they are read.

    Attributes:
        guard: decides which hosts are permitted.
        resolver: resolves host names.
        prefixes: permitted prefixes of URLs in object stores and folders.
    """

    guard: Guard
    resolver: Resolver
    prefixes: tuple[str, ...] = ()

    def require(self, text: str) -> None:
        """Check the URL of a picture.

        Host names are not resolved here: `net.fetch` resolves them and checks their addresses.

        Raises:
            UrlRefused: it is not permitted.
        """
        if text.lower().startswith(_SCHEMES):
            self._require_host(text)
        elif text.startswith(_STORES):
            self._require_prefix(text)
        else:
            known = ", ".join((*_SCHEMES, *_STORES))
            raise UrlRefused(f"it must begin with one of {known}.")

    def require_callback(self, text: str) -> None:
        """Check the URL of a callback. Resolves its host: not for the event loop.

        Raises:
            CallbackRefused, Overloaded: as `net.webhooks.check_callback`.
        """
        check_callback(text, self.guard, self.resolver)

    def _require_host(self, text: str) -> None:
        url = parse(text)
        if url.literal is not None and not self.guard.permits(url.host, url.literal, url.port):
            raise UrlRefused("its host may not be asked for pictures.")

    def _require_prefix(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise UrlRefused(f"it has {len(text)} characters, and {MAX_LENGTH} are the most.")
        path = unquote(text)
        if not (text.isprintable() and path.isprintable()) or set(path) & set("\\?#"):
            raise UrlRefused("it holds characters that no such address may hold.")
        if {".", ".."} & set(path.split("/")):
            raise UrlRefused("it leads up through '..'. Write it without.")
        if not any(text.startswith(f"{prefix.rstrip('/')}/") for prefix in self.prefixes):
            raise UrlRefused(
                "it is not under a prefix that this service may read. SIGHTLINE_URL_PREFIXES on "
                "the server lists them."
            )
