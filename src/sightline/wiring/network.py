"""The network: who may be asked for pictures and callbacks, and by whom."""

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
    """Decides which hosts may be asked.

    Raises:
        ConfigError: a host that is to be open is not understood.
    """
    return Guard(parse_allowed(settings.url_allow))


def open_fetcher(settings: Settings, resolve: Resolve = socket.getaddrinfo) -> Fetcher:
    """Fetches the pictures that clients name, from where they may.

    Args:
        settings: limits, and the hosts that are open.
        resolve: looks names up.

    Raises:
        ConfigError: a host that is to be open is not understood.
    """
    return Fetcher(
        settings.max_upload_bytes,
        Sniffer,
        open_guard(settings),
        Resolver(resolve),
    )
