"""The WebSocket handshake (RFC 6455, section 4): its check, its scope, its responses."""

from __future__ import annotations

import base64
import binascii
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote

import httptools
from websockets.utils import accept_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Message, Scope

    Headers = Iterable[tuple[bytes, bytes]]

SUBPROTOCOL = "sightline"
"""The WebSocket subprotocol of this service."""

_KEY_BYTES = 16


def is_handshake(method: bytes, headers: Headers) -> bool:
    """Whether an upgrade request is a valid WebSocket handshake."""
    by_name = dict(headers)
    try:
        key = base64.b64decode(by_name.get(b"sec-websocket-key", b""), validate=True)
    except binascii.Error:
        return False
    return (
        method == b"GET"
        and by_name.get(b"upgrade", b"").lower() == b"websocket"
        and by_name.get(b"sec-websocket-version") == b"13"
        and len(key) == _KEY_BYTES
    )


def websocket_scope(scope: Scope, url: bytes) -> Scope:
    """The ASGI scope of a WebSocket, made from the scope of its upgrade request.

    Raises:
        httptools.HttpParserError: the request target is no path.
    """
    target = httptools.parse_url(url)
    if not target.path:
        raise httptools.HttpParserInvalidURLError("there is no path")
    root = scope["root_path"]
    offered = b",".join(v for name, v in scope["headers"] if name == b"sec-websocket-protocol")
    names = (name.strip() for name in offered.decode("latin-1").split(","))
    return dict(scope) | {
        "type": "websocket",
        "scheme": {"http": "ws", "https": "wss"}[scope["scheme"]],
        "path": root + unquote(target.path.decode("ascii")),
        "raw_path": root.encode("ascii") + target.path,
        "query_string": target.query or b"",
        "subprotocols": [name for name in names if name],
        "extensions": {"websocket.http.response": {}},
    }


def accepted(scope: Scope, message: Message) -> bytes:
    """The response 101 that accepts a handshake."""
    key = dict(scope["headers"])[b"sec-websocket-key"].decode("ascii")
    headers = [
        (b"upgrade", b"websocket"),
        (b"connection", b"upgrade"),
        (b"sec-websocket-accept", accept_key(key).encode()),
        *message.get("headers", ()),
    ]
    if message.get("subprotocol"):
        headers.append((b"sec-websocket-protocol", message["subprotocol"].encode()))
    return _head(101, headers)


def refused(status: int, headers: Headers, body: bytes) -> bytes:
    """An HTTP response that refuses a handshake and closes the connection."""
    kept = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    length = b"%d" % len(body)
    return _head(status, [*kept, (b"content-length", length), (b"connection", b"close")]) + body


def ordinary(method: bytes, url: bytes, headers: Headers) -> bytes:
    """The head of a request without its `Upgrade` header."""
    lines = [method + b" " + url + b" HTTP/1.1"]
    lines += [b": ".join(header) for header in headers if header[0] != b"upgrade"]
    return b"\r\n".join([*lines, b"", b""])


def _head(status: int, headers: Headers) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
    return b"\r\n".join([*lines, *(b": ".join(header) for header in headers), b"", b""])
