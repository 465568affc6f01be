"""A real process under plain use: what it holds does not grow."""

from __future__ import annotations

import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fuzz import seeds
from fuzz.watch import Watched, watched
from support import pictures
from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CLIENTS = 4
_DROPPED = 200
_DECLARED, _SENT = 2_000_000, 100_000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Watched]:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    with watched() as running:
        yield running
        assert not running.fault, "\n" + "\n".join(running.fault)


def ask(server: Watched, count: int) -> None:
    """`count` good pictures of every format, over a few kept connections."""
    files = list(seeds.pictures().values())

    def work(first: int) -> None:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
        for index in range(first, count, _CLIENTS):
            connection.request("POST", "/detect", files[index % len(files)])
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            assert "detections" in json.loads(answer.read())
        connection.close()

    with ThreadPoolExecutor(_CLIENTS) as pool:
        list(pool.map(work, range(_CLIENTS)))


@pytest.mark.parametrize("more", [300, pytest.param(4_500, marks=pytest.mark.soak)])
def test_more_pictures_take_no_more_memory_than_the_first(server: Watched, more: int) -> None:
    ask(server, 300)
    settled = server.usage
    ask(server, more)
    eventually(lambda: server.usage.files <= settled.files, f"more than {settled}")
    assert server.usage.mb <= settled.mb * 1.05, (settled, server.usage)


def heads() -> list[bytes]:
    """Of uploads that announce more than will come: raw, multipart, chunked."""
    post = b"POST /detect HTTP/1.1\r\nHost: localhost\r\n"
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    length = b"Content-Length: %d\r\n" % _DECLARED
    form = b"Content-Type: multipart/form-data; boundary=b\r\n"
    body = pictures.jpeg().ljust(_SENT, b"\0")
    return [
        post + length + b"\r\n",
        post + length + b"\r\n" + body,
        post + length + form + b"\r\n",
        post + length + form + b"\r\n" + part[:40],
        post + length + form + b"\r\n" + part + body,
        post + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % _DECLARED + body,
    ]


def test_two_hundred_uploads_that_are_dropped_leave_nothing(
    server: Watched, tmp_path: Path
) -> None:
    ask(server, 200)
    drop(server)  # once for the threads and buffers that stay
    before = server.usage
    for _ in range(3):
        drop(server)
    eventually(lambda: server.usage.files <= before.files, f"more than {before}")
    eventually(lambda: server.usage.threads <= before.threads, f"more than {before}")
    assert server.usage.mb <= before.mb * 1.05, (before, server.usage)
    assert list((tmp_path / "temporary").iterdir()) == []
    ask(server, 10)


def drop(server: Watched) -> None:
    """Open them all, send what there is, and go: half of them without a word (a reset)."""
    idle = server.usage.files
    uploads, connections = heads(), []
    for number in range(_DROPPED):
        connection = socket.create_connection((server.host, server.port), 30)
        connection.sendall(uploads[number % len(uploads)])
        connections.append(connection)
    eventually(lambda: server.usage.files >= _DROPPED, "they are not all accepted")
    for number, connection in enumerate(connections):
        if number % 2:
            linger = (1).to_bytes(4, "little") + bytes(4)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()
    eventually(lambda: server.usage.files <= idle, f"more files than {idle}")
