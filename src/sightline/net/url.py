"""A strict parser of http(s) URLs; all later steps use its result, so none parses differently."""

from __future__ import annotations

import ipaddress
import re
import string
import unicodedata
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote

import idna

from sightline.errors import UrlRefused

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_LENGTH = 4096
DEFAULT_PORTS = {"http": 80, "https": 443}

_MAX_PORT = 65535
_MAX_NAME = 253  # characters, RFC 1035
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # control, format, surrogate, line ends
_PARTS = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(#.*)?",
    re.IGNORECASE,
)
_AUTHORITY = re.compile(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[0-9]*))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed URL.

    Attributes:
        scheme: http or https.
        host: lower-case ASCII without a trailing dot, or an IP address without brackets.
        literal: `host`, if it is an IP address.
        port: 1 to 65535.
        path: begins with a slash; ASCII.
        query: begins with a question mark, or is empty; ASCII.
    """

    scheme: str
    host: str
    literal: Address | None
    port: int
    path: str
    query: str

    @property
    def authority(self) -> str:
        """The Host header (RFC 9110, 7.2): host, and port unless it is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        """The URL for logs, without its query, which may hold a signature."""
        return f"{self.scheme}://{self.authority}{self.path}"


def parse(text: str) -> Url:
    """Parse an http(s) URL (RFC 3986).

    Raises:
        UrlRefused: it is no URL, or contains something ambiguous: credentials, backslashes,
            invisible characters, an unusual form of a host. The message depends on `text` only.
    """
    if len(text) > MAX_LENGTH:
        raise UrlRefused(f"it has {len(text)} characters, and {MAX_LENGTH} are the most.")
    if any(unicodedata.category(sign) in _INVISIBLE for sign in text):
        raise UrlRefused("it holds characters that cannot be seen. Percent-encode them.")
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise UrlRefused("it must begin with http:// or https://.")
    if "\\" in text or text != text.strip():
        raise UrlRefused("it holds a backslash, or ends in a space. Percent-encode it.")
    if "@" in parts["authority"]:
        raise UrlRefused("it holds a user name or a password. Leave them out.")
    scheme = parts["scheme"].lower()
    authority = _AUTHORITY.fullmatch(parts["authority"])
    if authority is None:
        raise UrlRefused("what follows its // is not a host and a port.")
    try:
        port = read_port(authority["port"]) if authority["port"] else DEFAULT_PORTS[scheme]
        if authority["six"] is None:
            host, literal = read_host(authority["host"])
        else:
            literal = _read_six(authority["six"])
            host = str(literal)
    except ValueError as error:
        raise UrlRefused(f"{error}.") from error
    return Url(scheme, host, literal, port, _ascii(parts["path"] or "/"), _ascii(parts["query"]))


def read_host(text: str) -> tuple[str, Address | None]:
    """A host name in its canonical form, or an IPv4 address.

    Names are converted to ASCII (UTS 46). A name whose last label is a number is an IPv4 address
    (WHATWG URL, 3.5), and only the form 192.0.2.1 is accepted: 0x7f.1 and 2130706433 mean 127.0.0.1
    to some programs and not to others.

    Returns:
        The host, and its address if it is one.

    Raises:
        ValueError: it is neither; the message says why.
    """
    if not text or len(text) > _MAX_NAME + 1:
        raise ValueError("the host is missing" if not text else "the host has too long a name")
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True).decode()
        except idna.IDNAError:
            raise ValueError("the host is not a name that can be looked up") from None
    host = text.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("the host is not a name that can be looked up")
    if not _NUMBER.fullmatch(labels[-1]):
        return host, None
    try:
        return host, ipaddress.IPv4Address(host)
    except ValueError:
        raise ValueError("the host is a number, and not four decimal ones from 0 to 255") from None


def read_port(digits: str) -> int:
    """A port, 1 to 65535.

    Raises:
        ValueError: it is no port.
    """
    port = int(digits[:9])
    if not 1 <= port <= _MAX_PORT:
        raise ValueError(f"a port is a number from 1 to {_MAX_PORT}")
    return port


def _read_six(text: str) -> ipaddress.IPv6Address:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError("the host is not an IPv6 address") from None
    if address.scope_id is not None:
        raise ValueError("the host has a zone, which means something on one machine only")
    return address


def _ascii(text: str | None) -> str:
    """`text` with characters that a request line may not contain percent-encoded."""
    return quote(text or "", safe=string.punctuation)
