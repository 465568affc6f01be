"""Clients that stall, drip, flood, hang up or do not listen are cut; nobody else feels it."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from sightline.api.server.http import TimeoutHttpProtocol
from sightline.api.uploads.spool import SMALL, UploadBudget
from support import pictures
from support.eventually import eventually
from support.servers import Live, live

GOOD = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), "JPEG")
HEAD = b"POST /detect HTTP/1.1\r\nHost: x\r\n"
LIMITS = {"head_timeout": 1.0, "idle_timeout": 1.0, "body_timeout": 3.0}


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with pytest.MonkeyPatch.context() as patch, live(**LIMITS) as running:
        patch.setattr("sightline.api.server.http._LINGER", 60.0)  # who sends on is heard to his end
        yield running


def connect(server: Live) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server hangs up."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def answers(server: Live) -> None:
    assert httpx.post(f"{server.url}/detect", files={"file": GOOD}).json()["count"] == 1


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"G", b" 408 "),
        (b"POST /detect HTTP/1.1\r\nHost: x\r\n", b" 408 "),
        (HEAD + b"Content-Length: 1000\r\n\r\n", b" 408 "),
        (HEAD + b"Content-Length: 1000\r\n\r\n" + GOOD[:100], b" 408 "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n", b" 408 "),
        (HEAD + b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n", b" 408 "),
        (
            HEAD + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 900\r\n\r\n"
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + GOOD[:50],
            b" 408 ",
        ),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /hea", b" 408 "),
    ],
)
def test_a_stall_is_cut_and_told(server: Live, sent: bytes, answer: bytes) -> None:
    started = time.monotonic()
    with connect(server) as connection:
        connection.sendall(sent)
        received = read_all(connection)
        assert time.monotonic() - started > 0.9, "cut before its time"
    last = received.rpartition(b"HTTP/1.1")[2].split(b"\r\n")[0]
    assert answer in last + b" "
    if answer:
        assert b"application/problem+json" in received
        assert b"connection: close" in received.lower()


@pytest.mark.parametrize("head", [True, False])
def test_a_drip_is_cut_in_the_end(server: Live, head: bool) -> None:
    """A byte now and then keeps no connection open."""
    with connect(server) as connection:
        body = b"Content-Length: 100000\r\n\r\n" + GOOD[:64]
        connection.sendall(HEAD + (b"X: " if head else body))
        connection.settimeout(0.2)
        received = b""
        end = time.monotonic() + 60
        while b" 408 " not in received:
            assert time.monotonic() < end, "it goes on for ever"
            connection.send(b"G" if head else b"\0")
            try:
                received += connection.recv(65536)
            except TimeoutError:
                continue
    answers(server)


@pytest.mark.parametrize(
    "flood",
    [
        b"GET /" + b"a" * 2**20,
        b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 2**20,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2**18,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 2**18,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 2**20,
    ],
)
def test_no_head_is_read_without_end(server: Live, flood: bytes) -> None:
    with connect(server) as connection:
        sender = threading.Thread(target=_send, args=(connection, flood))
        sender.start()
        received = read_all(connection)
        sender.join()
    status = received.split(b"\r\n")[0]
    assert b" 431 " in status or b" 400 " in status or b" 422 " in status, received[:200]
    answers(server)


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        return  # the server has had enough


def test_an_early_answer_arrives_at_a_client_that_is_still_sending(server: Live) -> None:
    """Closing at once would reset the connection, and the answer be lost with it."""
    with connect(server) as connection:
        connection.sendall(HEAD + b"Content-Length: 60000000\r\n\r\n")
        for _ in range(200):  # it does not listen while it sends
            connection.sendall(bytes(50_000))
        assert b" 413 " in read_all(connection).split(b"\r\n")[0]


def test_requests_that_come_together_are_answered_in_their_order(server: Live) -> None:
    with connect(server) as connection:
        good = HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD
        health = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.sendall(good + health + good + b"NONSENSE\r\n\r\n")
        received = read_all(connection)
    statuses = [part.split(b"\r\n")[0] for part in received.split(b"HTTP/1.1 ")[1:]]
    assert [status[:3] for status in statuses] == [b"200", b"200", b"200", b"400"]


def test_an_upgrade_that_is_not_known_is_an_ordinary_request(server: Live) -> None:
    with connect(server) as connection:
        connection.sendall(
            HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n"
            b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD
        )
        received = connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 200 ")
        while b'"count":1' not in received:  # head and body may come apart
            part = connection.recv(65536)
            assert part, received
            received += part
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_who_does_not_read_his_answers_is_cut(server: Live) -> None:
    """Else his answers would lie in memory for as long as he likes."""
    large = pictures.encode(Image.effect_noise((1500, 1500), 90), "JPEG", quality=95)
    request = HEAD + b"Accept: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(large) + large
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", server.port))
        sender = threading.Thread(target=_send, args=(connection, request * 20))
        sender.start()
        sender.join(60)
        assert not sender.is_alive(), "the service reads on while nobody reads its answers"
    answers(server)


def test_a_hundred_stall_and_others_are_served(server: Live) -> None:
    with ExitStack() as stalled:
        connections = [stalled.enter_context(connect(server)) for _ in range(100)]
        for number, connection in enumerate(connections):
            body = b"Content-Length: 9000000\r\n\r\n" + GOOD + bytes(100_000)
            connection.sendall((HEAD + body) if number % 2 else HEAD)
        for _ in range(20):
            answers(server)
        for connection in connections:
            assert b" 408 " in read_all(connection).split(b"\r\n")[0]


def test_more_connections_than_there_may_be() -> None:
    from sightline.api.server import config as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_most_connections", lambda: 10)
        with live(**(LIMITS | {"head_timeout": 5.0})) as running, ExitStack() as kept:
            connections = [kept.enter_context(connect(running)) for _ in range(10)]
            with connect(running) as one_too_many:
                received = read_all(one_too_many)
            assert received.startswith(b"HTTP/1.1 503 ")
            assert b"too-many-connections" in received
            assert b"retry-after: 5\r\n" in received
            for connection in connections:
                assert read_all(connection) == b""  # they never said a word
            answers(running)


def test_who_reads_slowly_gets_it_all() -> None:
    """The answer takes several times as long as he may stop reading it."""
    large = pictures.encode(Image.effect_noise((2400, 2400), 90), "JPEG", quality=95)
    head = b"Accept: image/jpeg\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(large)
    received = b""
    limits = LIMITS | {"idle_timeout": 2.0, "body_timeout": 60.0}  # a busy machine reads slowly too
    with live(**limits) as running, slow_reader(running) as connection:
        connection.sendall(HEAD + head + large)
        eventually(lambda: _waits_for_reader(running), "more is to be read than fits in between")
        started = time.monotonic()
        while time.monotonic() - started < 5:
            received += connection.recv(16384)
            time.sleep(0.01)
        received += read_all(connection)
    answered, _, body = received.partition(b"\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: %d\r\n" % len(body) in answered


def test_who_reads_a_drop_at_a_time_is_cut(server: Live) -> None:
    """Also where the connection is to be closed: what is left to read keeps it open."""
    large = pictures.encode(Image.effect_noise((2400, 2400), 90), "JPEG", quality=95)
    head = b"Accept: image/jpeg\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(large)
    with slow_reader(server) as connection:
        connection.sendall(HEAD + head + large)
        eventually(lambda: _waits_for_reader(server), "it waits")
        with suppress(ConnectionError):  # it may be cut already
            connection.recv(300_000)
        eventually(lambda: not _waits_for_reader(server), "it is cut")
    answers(server)


def slow_reader(server: Live) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", server.port))
    return connection


def _waits_for_reader(server: Live) -> bool:
    open_now = list(server.server.server_state.connections)
    return any(c.transport.get_write_buffer_size() > 0 for c in open_now)


def protocols() -> list[TimeoutHttpProtocol]:
    """Every connection that something still holds."""
    gc.collect()
    return [o for o in gc.get_objects() if isinstance(o, TimeoutHttpProtocol)]


@pytest.mark.parametrize("target", [b"x:80", b"/health", b"http://x/health"])
def test_a_tunnel_is_refused_once(server: Live, target: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(b"CONNECT " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        received = read_all(connection)
    assert received.count(b"HTTP/1.1 400 ") == received.count(b"HTTP/1.1 ") == 1


def test_few_requests_wait_on_one_connection(server: Live) -> None:
    """The rest of what came together is bytes, and not yet requests."""
    health = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    longest = 0
    queue = TimeoutHttpProtocol.on_headers_complete

    def watched(protocol: TimeoutHttpProtocol) -> None:
        nonlocal longest
        queue(protocol)
        longest = max(longest, len(protocol.pipeline))

    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(TimeoutHttpProtocol, "on_headers_complete", watched)
        connection = stack.enter_context(connect(server))
        connection.sendall(health * 2000 + b"NONSENSE\r\n\r\n")
        received = read_all(connection)
    assert received.count(b"HTTP/1.1 200 ") == 2000
    assert 0 < longest < 50


def test_trailers_are_not_kept(server: Live) -> None:
    """Ten megabytes of body are no licence for as many of trailers."""
    body = GOOD + bytes(2**20)
    with connect(server) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"%x\r\n" % len(body) + body + b"\r\n0\r\n")
        flood = threading.Thread(target=_send, args=(connection, b"a:\r\n" * 2**18))
        flood.start()
        assert b" 431 " in read_all(connection).split(b"\r\n")[0]
        flood.join()


def test_headers_are_counted(server: Live) -> None:
    with connect(server) as connection:
        connection.sendall(HEAD + b"a:\r\n" * 1000 + b"Content-Length: 10\r\n\r\n")
        assert b" 431 " in read_all(connection).split(b"\r\n")[0]


def test_a_reset_leaves_nothing(server: Live) -> None:
    before = len(protocols())
    for number in range(20):
        with connect(server) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * (1 + number % 2 * 20))
            connection.recv(1000)
            linger = (1).to_bytes(4, "little") + bytes(4)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    eventually(lambda: len(protocols()) <= before, "nothing holds them any more")


# Where uploads lie


def test_many_large_uploads_lie_on_disk_and_are_answered(tmp_path: Path) -> None:
    large = pictures.encode(Image.effect_noise((1200, 1200), 90).convert("RGB"), "PNG")
    assert len(large) > 10 * SMALL
    with live() as running:
        budget: UploadBudget = running.app.upload_budget
        files = _nameless_files()
        budget.memory = 2 * len(large)
        halves = []
        with ExitStack() as stack:
            for _ in range(8):
                connection = stack.enter_context(connect(running))
                connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(large) + large[:-9])
                halves.append(connection)
            before = budget.disk
            eventually(
                lambda: _nameless_files() >= files + 6, "what memory has no room for is on disk"
            )
            assert budget.memory >= 0
            for connection in halves:
                connection.sendall(large[-9:])
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        eventually(lambda: budget.memory == 2 * len(large), "memory is given back")
        eventually(lambda: budget.disk >= before, "and what is on disk")
        eventually(lambda: _nameless_files() <= files, "no file is left")


def _nameless_files() -> int:
    """Files of this process that have no name in any folder."""
    links = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(fd.readlink()))
        except FileNotFoundError:
            continue
    return sum(link.endswith("(deleted)") and "/tmp" in link for link in links)


@pytest.mark.parametrize("full", ["budget", "disk"])
def test_no_room_for_uploads_is_a_503(full: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    large = GOOD + bytes(500_000)
    with live() as running:
        budget: UploadBudget = running.app.upload_budget
        budget.memory = 0
        if full == "budget":
            budget.disk = 1000
        else:
            monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "wb", 0))  # noqa: SIM115, PTH123
        answer = httpx.post(f"{running.url}/detect", content=large)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert budget.memory == 0
        answers(running)


def test_clients_that_hang_up_leave_nothing(server: Live) -> None:
    budget: UploadBudget = server.app.upload_budget
    connections = server.server.server_state.connections
    eventually(lambda: not connections, "the tests before are gone")
    before, files = (budget.memory, budget.disk), _nameless_files()

    def drop(number: int) -> None:
        with connect(server) as connection:
            connection.sendall(HEAD + b"Content-Length: 9000000\r\n\r\n" + GOOD + bytes(200_000))
            if number % 2:  # reset, instead of a polite end
                linger = (1).to_bytes(4, "little") + bytes(4)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(drop, range(50)))
    eventually(lambda: (budget.memory, budget.disk) == before, "room is given back")
    eventually(lambda: _nameless_files() <= files, "no file is left")
    answers(server)


def test_what_is_refused_costs_no_inference(server: Live) -> None:
    """A client that hangs up in the queue is not computed for."""
    engine, entered, go_on = server.detector._engine, threading.Event(), threading.Event()
    infer, calls = engine.infer, 0

    def slow(images: Any, **how: Any) -> Any:
        nonlocal calls
        calls += 1
        entered.set()
        go_on.wait(60)
        return infer(images, **how)

    engine.infer = slow  # type: ignore[method-assign]
    try:
        with ExitStack() as stack:
            for _ in range(40):
                connection = stack.enter_context(connect(server))
                connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD)
            assert entered.wait(60)
            pipeline, lanes = server.detector._pipeline, server.detector._pipeline._lanes
            eventually(lambda: pipeline.waiting + pipeline._batcher.running == 40, "they wait")
        eventually(lambda: len(lanes) == 0, "nobody waits for them any more")
        go_on.set()
        answers(server)
        assert calls <= 4  # the one that ran, what had been decoded, and the last
    finally:
        go_on.set()
        engine.infer = infer  # type: ignore[method-assign]
