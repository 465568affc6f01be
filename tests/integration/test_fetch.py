"""Hosts that do not behave: each is given up in time, and costs little."""

from __future__ import annotations

import dataclasses
import gzip
import os
import socket
import ssl
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from sightline import __version__
from sightline.errors import (
    BodyTooLarge,
    EmptyImage,
    Overloaded,
    SightlineError,
    UnsupportedImage,
    UrlFailed,
    UrlRefused,
)
from sightline.net.fetch import Fetcher
from sightline.settings import load_settings
from sightline.wiring.network import open_fetcher
from support import pictures
from support.eventually import eventually
from support.hosts import Answer, Wire, host, ok
from support.problems import problem
from support.servers import Live, live

GOOD = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), "JPEG")
OK = b"HTTP/1.1 200 OK\r\n"
MEGABYTE = GOOD + bytes(2**20 - len(GOOD))
HUNG = 60  # seconds: far more than any of this takes
SECRET = "a-secret-of-the-inside"


def here(name: str, port: int, *, type: int = 0) -> list[Any]:  # noqa: A002
    """As `socket.getaddrinfo`, where every name is this machine's."""
    return socket.getaddrinfo("127.0.0.1", port, type=type)


def fetcher(*ports: int) -> Fetcher:
    listed = ",".join(f"127.0.0.1:{port}" for port in ports)
    return open_fetcher(load_settings(url_allow=listed), here)


def chunked(answer: Answer, chunk: bytes) -> None:
    answer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    answer.forever(b"%x\r\n" % len(chunk) + chunk + b"\r\n")


def then(head: bytes, data: bytes = b"", pause: float = 0) -> Callable[[Answer], None]:
    """Sends `head`, and then `data` for ever, or nothing more."""

    def handler(answer: Answer) -> None:
        answer.send(head)
        if data:
            answer.forever(data, pause)
        else:
            answer.silence()

    return handler


def gives(data: bytes) -> Callable[[Answer], None]:
    return lambda answer: answer.send(data)


SLOW: dict[str, Callable[[Answer], None]] = {
    "silence": then(b""),
    "a drip of status": then(OK[:9], b" ", 0.05),
    "a drip of headers": then(OK, b"X: y\r\n", 0.05),
    "a drip of one header": then(OK + b"X: ", b"y", 0.05),
    "a drip of interim answers": then(b"", b"HTTP/1.1 102 Processing\r\n\r\n", 0.05),
    "no body": then(OK + b"Content-Length: 5000\r\n\r\n"),
    "no end": then(OK + b"\r\n" + GOOD),
    "a drip of body": then(OK + b"Content-Length: 500000\r\n\r\n" + GOOD, b"x", 0.05),
    "a drip of chunks": then(
        OK + b"Transfer-Encoding: chunked\r\n\r\n20\r\n" + GOOD[:32] + b"\r\n", b"1\r\nx\r\n", 0.05
    ),
    "a drip of chunk length": then(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0", 0.05),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOW)
def test_a_slow_host_is_given_up_at_the_deadline(name: str) -> None:
    with host(lambda answer, _path: SLOW[name](answer)) as running:
        with pytest.raises(UrlFailed) as caught:
            fetcher(running.port).fetch(f"{running.url}/", 0.6)
        assert "within 0.6 s" in str(caught.value)
        assert running.left.wait(HUNG)


BROKEN: dict[str, tuple[Callable[[Answer], None], type[SightlineError], str]] = {
    "nothing": (gives(b""), UrlFailed, "not proper HTTP"),
    "HTTP/0.9": (gives(SECRET.encode() + GOOD), UrlFailed, "not proper HTTP"),
    "SSH": (gives(b"SSH-2.0-OpenSSH_9.6\r\n"), UrlFailed, "not proper HTTP"),
    "endless status": (then(b"HTTP/1.1 200 ", b"O" * 999), UrlFailed, "around the picture"),
    "endless header": (then(OK + b"X: ", b"y" * 999), UrlFailed, ""),
    "endless headers": (then(OK, b"X: y\r\n" * 99), UrlFailed, ""),
    "endless interim answers": (then(b"", b"HTTP/1.1 100 Go\r\n\r\n" * 9), UrlFailed, ""),
    "switching protocols": (
        gives(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), UrlFailed, "",
    ),
    "no content": (gives(b"HTTP/1.1 204 None\r\n\r\n"), UrlFailed, "answered 204"),
    "a part": (gives(b"HTTP/1.1 206 Part\r\n\r\n" + GOOD), UrlFailed, "answered 206"),
    "not modified": (gives(b"HTTP/1.1 304 Same\r\n\r\n"), UrlFailed, "answered 304"),
    "an error's endless body": (
        then(b"HTTP/1.1 500 No\r\n\r\n", MEGABYTE), UrlFailed, "answered 500",
    ),
    "a redirect's endless body": (
        then(b"HTTP/1.1 302 Go\r\n\r\n", MEGABYTE), UrlFailed, "where to",
    ),
    "too short": (gives(OK + b"Content-Length: 9999\r\n\r\n" + GOOD), UrlFailed, ""),
    "a cut chunk": (
        gives(OK + b"Transfer-Encoding: chunked\r\n\r\nfff\r\n" + GOOD), UrlFailed, "",
    ),
    "two lengths": (
        gives(OK + b"Content-Length: 5\r\nContent-Length: 900\r\n\r\n" + GOOD), UrlFailed, "",
    ),
    "a negative length": (gives(OK + b"Content-Length: -5\r\n\r\n" + GOOD), UrlFailed, ""),
    "a long length": (gives(OK + b"Content-Length: " + b"9" * 500 + b"\r\n\r\n"), UrlFailed, ""),
    "gzip": (gives(ok(gzip.compress(GOOD), "Content-Encoding: gzip")), UrlFailed, "compressed"),
    "a gzip bomb": (
        then(OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(bytes(2**20))),
        UrlFailed, "compressed",
    ),
    "x-gzip, in time": (
        gives(ok(GOOD, "Content-Encoding: identity, x-gzip")), UrlFailed, "compressed",
    ),
    "gzip in transfer": (
        gives(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), UrlFailed, "",
    ),
    "a gzip file": (gives(ok(gzip.compress(GOOD))), UnsupportedImage, "gzip archive"),
    "crumbs": (
        then(
            OK + b"Transfer-Encoding: chunked\r\n\r\n20\r\n" + GOOD[:32] + b"\r\n",
            b"1\r\nx\r\n" * 99,
        ),
        UrlFailed, "crumbs",
    ),
    "padded chunks": (
        then(
            OK + b"Transfer-Encoding: chunked\r\n\r\n20\r\n" + GOOD[:32] + b"\r\n",
            b"80;" + b"x" * 9000 + b"\r\n" + bytes(128) + b"\r\n",
        ),
        UrlFailed, "",
    ),
    "an endless PDF": (then(OK + b"\r\n%PDF-1.7", MEGABYTE), UnsupportedImage, "PDF"),
    "an endless page": (then(OK + b"\r\n<html>", MEGABYTE), UnsupportedImage, "web page"),
    "a page called a picture": (
        gives(ok(b"<html>" + SECRET.encode(), "Content-Type: image/jpeg")),
        UnsupportedImage, "web page",
    ),
    "an empty file": (gives(ok(b"")), EmptyImage, "empty"),
    "1 GB announced": (
        then(OK + b"Content-Length: 1073741824\r\n\r\n", MEGABYTE), BodyTooLarge, "",
    ),
    "1 GB in chunks": (lambda answer: chunked(answer, MEGABYTE), BodyTooLarge, ""),
    "1 GB unannounced": (then(OK + b"\r\n", MEGABYTE), BodyTooLarge, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_given_up_at_once(name: str) -> None:
    """Long before the deadline, with little memory, and without a word of it."""
    handler, error, words = BROKEN[name]
    with host(lambda answer, _path: handler(answer)) as running:
        opened = fetcher(running.port)
        tracemalloc.start()
        try:
            with pytest.raises(error) as caught:
                opened.fetch(f"{running.url}/", HUNG)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        sent = running.sent
    said = str(caught.value)
    assert "within" not in said
    assert SECRET not in said
    assert words in said + getattr(caught.value, "reason", "")
    assert peak < 30 * 2**20
    assert sent < 40 * 2**20  # of a gigabyte and more; the kernel's buffers included


def test_a_good_answer_in_every_form() -> None:
    answers = [
        ok(GOOD), ok(GOOD, "Content-Encoding: identity", "Content-Type: text/html"),
        OK + b"\r\n" + GOOD, b"HTTP/1.0 200 OK\r\n\r\n" + GOOD,
        b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + ok(GOOD),
        OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(GOOD) + GOOD + b"\r\n0\r\n\r\n",
    ]  # fmt: skip
    with host(lambda answer, path: answer.send(answers[int(path[1:])])) as running:
        for number in range(len(answers)):
            assert fetcher(running.port).fetch(f"{running.url}/{number}", HUNG) == GOOD


def test_the_largest_picture_is_fetched() -> None:
    largest = GOOD + bytes(10 * 2**20 - len(GOOD))
    with host(lambda answer, _path: answer.send(ok(largest))) as running:
        assert fetcher(running.port).fetch(f"{running.url}/", HUNG) == largest


def test_a_host_is_told_nothing_of_us(monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    with host(lambda answer, _path: answer.send(ok(GOOD, "Set-Cookie: a=b"))) as running:
        for _ in range(2):
            fetcher(running.port).fetch(f"{running.url}/a%20b?c=d#e", HUNG)
        assert running.heads[1].decode().split("\r\n") == [
            "GET /a%20b?c=d HTTP/1.1", f"Host: 127.0.0.1:{running.port}",
            f"User-Agent: sightline/{__version__}", "Accept: */*", "Accept-Encoding: identity",
            "Connection: close", "", "",
        ]  # fmt: skip


def test_the_certificate_is_checked_by_the_name(certificate: Path, secure: ssl.SSLContext) -> None:
    asked = []
    secure.sni_callback = lambda _socket, name, _context: asked.append(name)
    trusting = ssl.create_default_context(cafile=certificate)
    with host(lambda answer, _path: answer.send(ok(GOOD)), tls=secure) as running:
        opened = fetcher(running.port)
        trusted = dataclasses.replace(opened, tls=trusting)
        right, wrong = (f"https://{name}.test:{running.port}/" for name in ("pictures", "other"))
        assert trusted.fetch(right, HUNG) == GOOD
        assert f"Host: pictures.test:{running.port}\r\n".encode() in running.heads[0]
        for fetching, url in ((trusted, wrong), (opened, right), (trusted, running.url)):
            with pytest.raises(UrlFailed) as caught:
                fetching.fetch(url, HUNG)
            assert "certificate is not valid" in str(caught.value)
    assert asked == ["pictures.test", "other.test", "pictures.test", None]


def test_tls_to_a_name_inside_is_refused_before_a_byte(secure: ssl.SSLContext) -> None:
    with host(lambda answer, _path: answer.send(ok(GOOD)), tls=secure) as running:
        with Wire.watched() as wire, pytest.raises(UrlRefused):
            fetcher().fetch(f"https://pictures.test:{running.port}/", HUNG)
        assert wire.asked == []


def test_tls_that_is_none() -> None:
    with host(lambda answer, _path: answer.silence()) as running:
        url = f"https://127.0.0.1:{running.port}/"
        with pytest.raises(UrlFailed, match="within"):
            fetcher(running.port).fetch(url, 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(UrlFailed, match="connection to its host failed"):
            fetcher(port).fetch(f"https://127.0.0.1:{port}/", HUNG)
        thread.join(HUNG)


def test_a_name_server_that_never_answers() -> None:
    answers = threading.Event()

    def never(*_: Any, **__: Any) -> list[Any]:
        answers.wait(HUNG)
        return here("", 80)

    opened = open_fetcher(load_settings(), never)
    with ThreadPoolExecutor(32) as pool:
        for future in [pool.submit(opened.fetch, f"http://{n}.test/", 0.3) for n in range(32)]:
            with pytest.raises(UrlFailed, match="within"):
                future.result(HUNG)
    # No further thread is risked on it …
    with pytest.raises(Overloaded) as caught:
        opened.fetch("http://more.test/", HUNG)
    assert caught.value.retry_after >= 1
    # … until the others are back.
    answers.set()
    for thread in threading.enumerate():
        if thread.name == "sightline-look-up":
            thread.join(HUNG)
    with pytest.raises(UrlRefused):
        opened.fetch("http://more.test/", HUNG)


@pytest.fixture
def drip() -> Iterator[Any]:
    with host(lambda answer, _path: SLOW["a drip of body"](answer)) as running:
        yield running


def test_a_client_that_leaves_takes_its_fetch_along(drip: Any) -> None:
    with live(url_allow="127.0.0.1", url_timeout=10 * HUNG) as server:
        body = b'{"url": "%s/"}' % drip.url.encode()
        head = b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            while not drip.sent:
                assert not drip.ended.wait(0.01)
            assert not drip.left.is_set()
        assert drip.left.wait(20)  # what drips so slowly is given up as crumbs after 50 s
        assert httpx.post(f"{server.url}/detect", content=GOOD).json()["count"] == 1


def ask(server: Live, url: str) -> httpx.Response:
    return httpx.post(f"{server.url}/detect", json={"url": url}, timeout=HUNG)


@pytest.fixture
def held() -> Iterator[tuple[Any, threading.Event]]:
    """A host that answers once the event is set."""
    go = threading.Event()

    def answer_later(answer: Answer, _path: str) -> None:
        assert go.wait(HUNG)
        answer.send(ok(GOOD))

    with host(answer_later) as running:
        yield running, go
        go.set()


def test_slow_hosts_hold_up_nobody_else(held: tuple[Any, threading.Event]) -> None:
    slow, go = held
    with (
        live(url_allow="127.0.0.1", url_timeout=HUNG) as server,
        ThreadPoolExecutor(48) as pool,
    ):
        asked = [pool.submit(ask, server, slow.url) for _ in range(48)]
        while len(slow.heads) < 16:
            assert not slow.ended.wait(0.01)
        assert httpx.post(f"{server.url}/detect", content=GOOD).json()["count"] == 1
        assert not any(future.done() for future in asked)
        go.set()
        assert [future.result().status_code for future in asked] == [200] * 48


def test_who_waits_too_long_behind_slow_hosts_is_told_when(
    held: tuple[Any, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, go = held
    with (
        live(url_allow="127.0.0.1", url_timeout=HUNG) as server,
        ThreadPoolExecutor(48) as pool,
    ):
        first = [pool.submit(ask, server, slow.url) for _ in range(16)]
        eventually(lambda: len(slow.heads) == 16, "all threads wait for it")
        waiting = server.context.fetches._pool._work_queue
        others = [pool.submit(ask, server, slow.url) for _ in range(32)]
        eventually(lambda: waiting.qsize() == 32, "all others wait for a thread")
        monkeypatch.setattr(
            "sightline.api.uploads.by_url._MAX_SHARE", 0.0
        )  # theirs has come to its end
        go.set()
        assert {future.result().status_code for future in first} == {200}
        for future in others:
            problem(future.result(), 503, "overloaded")
            assert future.result().headers["retry-after"] == str(HUNG)
    assert len(slow.heads) == 16


def test_a_bad_list_of_hosts_ends_the_service_at_its_start() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sightline", "serve", "--engine", "fake", "--port", "0"],
        env=os.environ | {"SIGHTLINE_URL_ALLOW": "good.test, bad host"},
        capture_output=True,
        text=True,
        check=False,
        timeout=HUNG,
    )
    assert done.returncode == 2
    assert "'bad host'" in done.stderr
    assert "Traceback" not in done.stderr
