"""What is known of a request, from its first byte to its log line: id, client, key, counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope

CLIENT_GONE = 499
"""Logged where the client hung up before it was answered (nginx's number)."""

_KEY = "sightline.record"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key it was. Every caller is an admin or not."""

    name: str
    admin: bool


@dataclass(slots=True)
class RequestInfo:
    """What the log line at the end of a request says.

    Attributes:
        request_id: the client's `X-Request-Id` if it is a decent one, else a new one.
        client: address, without port.
        caller: whose key it came with; None without one.
        problem: last part of the problem's type, if it failed.
        status: of the answer; 499 while there is none.
        bytes_in: of the body, as far as it was read.
        counts: what else is counted: of a WebSocket, its frames.
    """

    request_id: str
    client: str
    caller: Caller | None = None
    problem: str | None = None
    status: int = CLIENT_GONE
    bytes_in: int = 0
    bytes_out: int = 0
    counts: dict[str, int] = field(default_factory=dict)


def open_info(scope: Scope, request_id: str, client: str) -> RequestInfo:
    """A new record, kept in `scope`."""
    info: RequestInfo = scope.setdefault(_KEY, RequestInfo(request_id, client))
    return info


def info_of(scope: Scope) -> RequestInfo:
    """The record of the request."""
    info: RequestInfo = scope[_KEY]
    return info


def name_of(info: RequestInfo) -> str:
    """What the client of a request is known by: the name of its key, or its address."""
    return info.caller.name if info.caller else client_name(info.client)


def client_name(address: str) -> str:
    """What a client without a key is known by: its address, of IPv6 its /64.

    Whoever has one IPv6 address has 2^64 of them (RFC 6177).
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address  # a Unix socket, or what a trusted proxy calls its clients
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return address
