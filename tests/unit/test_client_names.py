"""Access control of WebSockets, and the names of clients, without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sightline.api.admission import Admission
from sightline.api.middleware.access import AccessControl
from sightline.api.middleware.access_log import AccessLog
from sightline.api.middleware.keys import Keys
from sightline.api.request_info import client_name
from sightline.backend.limits import LongestRequest
from sightline.settings import load_settings

PAGE = b"https://app.example.org"


def statuses(headers: list[tuple[bytes, bytes]], **options: Any) -> list[int]:
    """What a client that asks for a WebSocket is told: statuses, and the code of a close."""
    settings = load_settings(engine="fake", **options)
    told: list[int] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    async def send(message: Any) -> None:
        if message["type"] == "websocket.accept":
            told.append(101)
        elif message["type"] == "websocket.http.response.start":
            told.append(message["status"])
        elif message["type"] == "websocket.close":
            told.append(message["code"])

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    nobody: Any = None  # without limits nobody is asked
    admission = Admission(nobody, settings)
    access = AccessControl(application, settings, Keys(settings), lambda: admission)
    layers = AccessLog(access)
    scope = {
        "type": "websocket",
        "path": "/detect/ws",
        "headers": [(b"host", b"vision.example.org"), *headers],
        "client": ("203.0.113.9", 1234),
        "server": ("203.0.113.1", 8000),
    }
    asyncio.run(layers(scope, receive, send))
    return told


def test_a_page_of_another_origin_gets_no_websocket() -> None:
    assert statuses([(b"origin", b"https://attacker.example")]) == [403]
    assert statuses([(b"origin", b"https://vision.example.org")]) == [101]
    assert statuses([(b"origin", PAGE)]) == [403]
    assert statuses([(b"origin", PAGE)], cors_origins=PAGE.decode()) == [101]
    assert statuses([]) == [101]


def test_a_websocket_wants_the_key() -> None:
    assert statuses([], api_keys="bob:secret") == [101, 1008]
    assert statuses([(b"authorization", b"Bearer secret")], api_keys="bob:secret") == [101]
    assert statuses([], allowed_hosts="other.example.org") == [400]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("unix:", "unix:"),
        ("", ""),
    ],
)
def test_what_a_client_without_a_key_is_known_by(address: str, name: str) -> None:
    assert client_name(address) == name


def test_the_longest_request_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    longest = LongestRequest(10)
    longest.note(2)
    assert longest.seconds() == 10
    now += 60
    assert longest.seconds() == 5
    longest.note(8)
    assert longest.seconds() == 8
