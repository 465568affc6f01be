"""Opens the guard of outgoing connections, and the fetcher of pictures."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from sightline.net.connect import Resolver
from sightline.net.fetch import Fetcher
from sightline.net.guard import Guard, parse_allowed
from sightline.vision.formats import Sniffer

if TYPE_CHECKING:
    from sightline.net.connect import Resolve
    from sightline.settings import Settings


def open_guard(settings: Settings) -> Guard:
    """The guard that decides which hosts may be connected to.

    Raises:
        ConfigError: an entry of `url_allow` is invalid.
    """
    return Guard(parse_allowed(settings.url_allow))


def open_fetcher(settings: Settings, resolve: Resolve = socket.getaddrinfo) -> Fetcher:
    """The fetcher of pictures that clients name by address.

    Args:
        settings: limits, and the allowed hosts.
        resolve: resolves host names.

    Raises:
        ConfigError: an entry of `url_allow` is invalid.
    """
    return Fetcher(
        settings.max_upload_bytes,
        Sniffer,
        open_guard(settings),
        Resolver(resolve),
    )
