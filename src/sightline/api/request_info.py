"""The record of a request for its log line: id, client, caller, status, counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope

CLIENT_GONE = 499
"""The status in the log if the client disconnected before the answer (as nginx has it)."""

_KEY = "sightline.request_info"


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of a request's key."""

    name: str
    admin: bool


@dataclass(slots=True)
class RequestInfo:
    """The fields of a request's log line.

    Attributes:
        request_id: the client's `X-Request-Id` if it is valid, else a new one.
        client: its address, without port.
        caller: the owner of its key; None without one.
        problem: last part of the problem's type, if it failed.
        status: of the answer; 499 while there is none.
        bytes_in: of the body, as far as it was read.
        bytes_out: of the answer's body.
        counts: further counts, such as the frames of a WebSocket.
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
    """The record of a request, stored in `scope`; a new one if there is none."""
    info: RequestInfo = scope.setdefault(_KEY, RequestInfo(request_id, client))
    return info


def info_of(scope: Scope) -> RequestInfo:
    """The record of a request that `open_info` was called for."""
    info: RequestInfo = scope[_KEY]
    return info


def name_of(info: RequestInfo) -> str:
    """The client's name for limits: that of its key, or its address."""
    return info.caller.name if info.caller else client_name(info.client)


def client_name(address: str) -> str:
    """The name of a client without a key: its IPv4 address, or the /64 network of an IPv6 one.

    A client with one IPv6 address usually has all 2^64 of its network (RFC 6177).
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address  # a Unix socket, or a name given by a trusted proxy
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return address
