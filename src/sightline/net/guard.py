"""The SSRF guard: decides to which hosts a URL from a client may lead.

An address is allowed if it is ordinary public unicast, or if the operator lists it. All other
addresses are in the IANA special-purpose address registries (RFC 6890 and its successors;
https://www.iana.org/assignments/iana-ipv4-special-registry,
https://www.iana.org/assignments/iana-ipv6-special-registry, read in 2025) and in the registries of
multicast and of IPv6 address space. `ipaddress.is_global` follows them too, but its answer for a
block depends on the patch release of Python, so the blocks are written out here.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from sightline.errors import ConfigError
from sightline.net.url import DEFAULT_PORTS, Address, read_host, read_port

if TYPE_CHECKING:
    from collections.abc import Sequence

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

OPEN_PORTS = frozenset(DEFAULT_PORTS.values())

_SPECIAL_4 = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host, from inside a virtual machine
        "169.254.0.0/16",  # link-local, and most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT relays
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_UNICAST_6 = ipaddress.IPv6Network("2000::/3")  # all global unicast there is (RFC 4291)
_SPECIAL_6 = tuple(
    ipaddress.IPv6Network(block)
    for block in (
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID, …
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address of any kind inside
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # the 6bone, given back
        "3fff::/20",  # documentation
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052


def is_public(address: Address) -> bool:
    """Whether `address` is ordinary public unicast.

    IPv6 addresses that contain an IPv4 address (mapped, compatible, 6to4, Teredo) are not, except
    NAT64 addresses of a public one: in a network with IPv6 only, DNS64 returns no others.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if address in _NAT64:
            return is_public(_embedded(address))
        return address in _UNICAST_6 and not any(address in block for block in _SPECIAL_6)
    return not any(address in block for block in _SPECIAL_4)


def is_own(address: Address) -> bool:
    """Whether `address` belongs to this machine.

    Connecting a UDP socket sets its source address, which equals the destination only if that
    belongs to this machine. No packet is sent.
    """
    six = isinstance(address, ipaddress.IPv6Address)
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:  # there is no route to it, so it is not this machine's
            return False
        return ipaddress.ip_address(probe.getsockname()[0]) == address


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Allowed:
    """An entry of the operator's list of allowed hosts.

    Attributes:
        target: a host name as `read_host` returns it, or a network.
        port: the only allowed port, or None for all.
    """

    target: str | Network
    port: int | None

    def covers(self, host: str, address: Address | None, port: int) -> bool:
        """Whether the entry allows `address` of `host` at `port`."""
        if self.port not in {None, port}:
            return False
        if isinstance(self.target, str):
            return host == self.target
        return address is not None and address in self.target


class Guard:
    """Decides which hosts may be connected to."""

    def __init__(self, allowed: Sequence[Allowed] = ()) -> None:
        self._allowed = tuple(allowed)

    def permits(self, host: str, address: Address, port: int) -> bool:
        """Whether a connection may be made to `address` for a URL with the host `host`."""
        if any(allowed.covers(host, address, port) for allowed in self._allowed):
            return True
        return port in OPEN_PORTS and is_public(address) and not self._is_own(address)

    def _is_own(self, address: Address) -> bool:
        if isinstance(address, ipaddress.IPv6Address) and address in _NAT64:
            return is_own(address) or is_own(_embedded(address))
        return is_own(address)


def parse_allowed(text: str) -> tuple[Allowed, ...]:
    """The entries of the setting `url_allow`.

    Raises:
        ConfigError: an entry is invalid; the message names it.
    """
    entries = (entry.strip() for entry in text.split(","))
    return tuple(_parse_entry(entry) for entry in entries if entry)


def _parse_entry(entry: str) -> Allowed:
    bracketed = re.fullmatch(r"\[([^\[\]]+)\](?::([0-9]+))?", entry)
    plain = re.fullmatch(r"([^:\[\]]+)(?::([0-9]+))?", entry)
    found = bracketed or plain
    target, port = (found[1], found[2]) if found else (entry, None)
    try:
        return Allowed(
            _parse_target(target, bracketed is not None), None if port is None else read_port(port)
        )
    except ValueError as error:
        raise ConfigError(
            f"option 'url_allow': '{entry}' is no host, address or network, with or without "
            f":port ({error}). Write it like camera.lan, 10.1.2.3:8080, 10.1.0.0/16 or "
            "[fd00::/8]:8080"
        ) from error


def _parse_target(text: str, bracketed: bool) -> str | Network:
    if "%" in text:
        raise ValueError("a zone means something on one machine only")
    if bracketed or ":" in text:
        return ipaddress.IPv6Network(text)
    if "/" in text:
        return ipaddress.IPv4Network(text)
    host, address = read_host(text)
    return host if address is None else ipaddress.IPv4Network(str(address))
