"""Live detection over a WebSocket: what a client is told, and what it cannot do to the service."""

from __future__ import annotations

import base64
import json
import logging
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus

from sightline.api import live as live_module
from sightline.api.middleware.keys import new_key
from sightline.api.server.close_reason import close_with
from sightline.api.uploads.spool import Upload
from sightline.backend.operations import DETECT
from support import pictures
from support.eventually import eventually
from support.frames import (
    BINARY,
    CLOSE,
    CONTINUED,
    HANDSHAKE,
    PING,
    TEXT,
    ended,
    frame,
    heard,
    refusal,
    rude,
    said,
    watching,
)
from support.problems import problem
from support.servers import Live, live

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

GOOD = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), "JPEG")
ALICE, ALICE_ENTRY = new_key("alice")


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live() as running:
        yield running


def bench(server: Live) -> Any:
    return server.detector._engine


@contextmanager
def held(server: Live) -> Iterator[tuple[threading.Event, threading.Event]]:
    """The engine waits: whether it was reached, and what lets it go on."""
    reached, go_on = threading.Event(), threading.Event()
    engine = bench(server)
    usual = engine.before_infer

    def hold(_: Any) -> None:
        reached.set()
        go_on.wait(60)

    engine.before_infer = hold
    try:
        yield reached, go_on
    finally:
        go_on.set()
        engine.before_infer = usual


def still_answers(server: Live) -> None:
    with watching(server.url) as connection:
        connection.send(GOOD)
        assert said(connection)["count"] == 1


def connections(server: Live) -> int:
    return len(server.server.server_state.connections)


# What it says


def test_a_frame_is_answered_as_a_picture_is(server: Live) -> None:
    with watching(server.url) as connection:
        connection.send(GOOD)
        answer = said(connection)
    posted = httpx.post(f"{server.url}/detect", files={"file": GOOD}).json()
    assert (answer.pop("frame"), answer.pop("dropped")) == (1, 0)
    assert answer.keys() == posted.keys()
    assert answer["detections"] == posted["detections"]
    assert answer["image"] == posted["image"]


def test_options_are_those_of_a_picture(server: Live) -> None:
    with watching(server.url, "?classes=dark&confidence=0.1") as connection:
        connection.send(GOOD)
        assert said(connection)["count"] == 0


def test_the_newest_frame_wins(server: Live) -> None:
    with held(server) as (reached, go_on), watching(server.url) as connection:
        connection.send(GOOD)
        assert reached.wait(60)
        for _ in range(8):
            connection.send(b"no picture, and nobody looks at it")
        connection.send(GOOD)
        counts = record_counts(server, connection)
        eventually(lambda: counts()["frames"] == 10, "all frames are there")
        go_on.set()
        first, last = said(connection), said(connection)
    assert (first["frame"], first["dropped"], first["count"]) == (1, 8, 1)
    assert (last["frame"], last["dropped"], last["count"]) == (10, 8, 1)


def record_counts(server: Live, connection: ClientConnection) -> Any:
    """Reads the counts of this connection: others may not have ended."""
    from sightline.api.request_info import info_of

    ours = connection.socket.getsockname()
    (one,) = (
        c for c in server.server.server_state.connections if getattr(c, "client", None) == ours
    )
    return lambda: info_of(one._websocket._scope).counts  # type: ignore[union-attr]


def test_frames_wait_in_the_lane_of_streams(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = []
    submit = server.detector.submit

    def watched(*arguments: Any, **options: Any) -> Any:
        lanes.append(options["lane"])
        return submit(*arguments, **options)

    monkeypatch.setattr(server.detector, "submit", watched)
    still_answers(server)
    httpx.post(f"{server.url}/detect", files={"file": GOOD})
    assert lanes == ["stream", "interactive"]


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"garbage", "unsupported-image"),
        (b"", "empty-image"),
        (GOOD[:-100], "broken-image"),
        ("a text", "malformed-body"),
        (pictures.encode(Image.new("L", (2000, 2000)), "PNG"), "image-too-large"),
    ],
)
def test_a_bad_frame_is_told_and_the_next_is_answered(sent: bytes | str, kind: str) -> None:
    with live(max_pixels=1_000_000) as server, watching(server.url) as connection:
        connection.send(sent)
        told = said(connection)
        assert told["frame"] == 1
        assert told["type"] == f"urn:sightline:problem:{kind}"
        connection.send(GOOD)
        answer = said(connection)
        assert (answer["frame"], answer["count"]) == (2, 1)


def test_an_engine_that_fails_is_not_the_end(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise ValueError("a secret of ours")

    with watching(server.url) as connection:
        with monkeypatch.context() as broken:
            broken.setattr(bench(server), "before_infer", fail)
            connection.send(GOOD)
            told = said(connection)
        assert told["status"] == 500
        assert "secret" not in json.dumps(told)
        connection.send(GOOD)
        assert said(connection)["count"] == 1


# Who is let in


@pytest.mark.parametrize(
    "query", ["?confidence=7", "?model=other", "?nonsense=1", "?max_detections=0"]
)
def test_a_wrong_option_is_told_at_once(server: Live, query: str) -> None:
    with watching(server.url, query) as connection:
        refusal(connection, "bad-option", 1008)


def test_an_unknown_class_is_told_at_the_first_frame(server: Live) -> None:
    with watching(server.url, "?classes=zebra") as connection:
        connection.send(GOOD)
        assert "zebra" in refusal(connection, "bad-option", 1008)["detail"]


def test_keys(caplog: pytest.LogCaptureFixture) -> None:
    def coded(key: str) -> str:
        return "sightline.key." + base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")

    good: list[dict[str, Any]] = [
        {"subprotocols": ["sightline", coded(ALICE)]},
        {"additional_headers": {"Authorization": f"Bearer {ALICE}"}},
        {"additional_headers": {"X-API-Key": ALICE}},
    ]
    bad: list[dict[str, Any]] = [
        {},
        {"subprotocols": ["sightline"]},
        {"subprotocols": ["sightline", coded("wrong")]},
        {"subprotocols": ["sightline", "sightline.key.!"]},
        {"subprotocols": ["sightline", f"sightline.key.{ALICE}"]},
    ]
    caplog.set_level(logging.INFO)
    with live(api_keys=f"{ALICE_ENTRY}") as server:
        for options in good:
            with watching(server.url, **options) as connection:
                connection.send(GOOD)
                assert said(connection)["count"] == 1
                spoken = "sightline" if "subprotocols" in options else None
                assert connection.subprotocol == spoken
        for options in bad:
            with watching(server.url, **options) as connection:
                refusal(connection, "key-wrong", 1008)
    assert ALICE not in caplog.text
    assert coded(ALICE) not in caplog.text


def test_a_key_of_any_characters_travels() -> None:
    key = "b/o=b (s) ü"
    coded = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
    with live(api_keys=f"bob:{key}") as server:
        protocols: Any = ["sightline", f"sightline.key.{coded}"]
        with watching(server.url, subprotocols=protocols) as connection:
            connection.send(GOOD)
            assert said(connection)["count"] == 1


def test_pages_of_other_origins_stay_out() -> None:
    with live(cors_origins="https://friend.example") as server:
        for origin in ("https://friend.example", f"http://127.0.0.1:{server.port}"):
            with watching(server.url, origin=origin) as connection:
                connection.send(GOOD)
                assert said(connection)["count"] == 1
        with (
            pytest.raises(InvalidStatus) as refused,
            watching(server.url, origin="https://stranger.example"),
        ):
            pass
        assert refused.value.response.status_code == 403
        assert json.loads(refused.value.response.body)["type"].endswith(":not-allowed")


def test_each_frame_counts_against_the_rate() -> None:
    with live(rate_limit="3/minute") as server, watching(server.url) as connection:
        told = []
        for _ in range(3):
            connection.send(GOOD)
            told.append(said(connection))
        assert [one.get("count") for one in told] == [1, 1, None]
        assert told[2]["type"].endswith(":rate-limited")
        assert told[2]["retry_after"] >= 1


def test_a_connection_takes_one_of_the_places() -> None:
    with live(max_concurrent=1) as server:
        with watching(server.url) as connection:
            connection.send(GOOD)
            assert said(connection)["count"] == 1
            with watching(server.url) as second:
                assert refusal(second, "too-many-at-once", 1013)["retry_after"] >= 1
        eventually(lambda: connections(server) == 0, "the place is free")
        still_answers(server)


def test_overload_is_told_and_passes(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    with watching(server.url) as connection:
        with monkeypatch.context() as busy:
            busy.setattr(server.detector._pipeline, "predicted_wait", lambda _: 1000.0)
            with watching(server.url) as late:
                assert refusal(late, "overloaded", 1013)["retry_after"] >= 1
            connection.send(GOOD)
            told = said(connection)
            assert (told["frame"], told["status"]) == (1, 503)
            assert told["retry_after"] >= 1
        connection.send(GOOD)
        assert said(connection)["count"] == 1


def test_other_paths_and_plain_requests_are_told(server: Live) -> None:
    answer = httpx.get(f"{server.url}/detect/ws")
    problem(answer, 426, "upgrade-required")
    assert answer.headers["upgrade"] == "websocket"
    with pytest.raises(InvalidStatus) as refused, watching(f"{server.url}/nothing"):
        pass
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body)["type"].endswith(":not-found")


@pytest.mark.parametrize(
    ("of", "instead"),
    [
        (b"GET", b"POST"),
        (b"Version: 13", b"Version: 8"),
        (b"Key: AAAA", b"Key: !AAA"),
        (b"Sec-WebSocket-Key", b"X-Nothing"),
        (b"Upgrade: websocket", b"Upgrade: h2c"),
    ],
)
def test_what_is_no_handshake_is_an_ordinary_request(
    server: Live, of: bytes, instead: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(HANDSHAKE.replace(of, instead, 1))
        status = connection.recv(65536).split(b"\r\n")[0]
    assert status in {b"HTTP/1.1 426 Upgrade Required", b"HTTP/1.1 405 Method Not Allowed"}


def test_a_target_that_is_no_path(server: Live) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(HANDSHAKE.replace(b"/detect/ws", b"http://127.0.0.1", 1))
        assert b" 400 " in connection.recv(65536).split(b"\r\n")[0]


# What it cannot do


def test_a_message_that_is_too_large_is_refused_before_it_comes(server: Live) -> None:
    with rude(server.port) as connection:
        connection.sendall(frame(BINARY, announced=2**40))
        (told,), code = heard(connection)
    assert told["type"].endswith(":upload-too-large")
    assert code == 1009


def test_and_so_is_one_in_pieces(server: Live) -> None:
    piece = bytes(2**20)
    with rude(server.port) as connection:
        connection.sendall(frame(BINARY, piece, last=False))
        for _ in range(20):  # it does not listen while it sends
            connection.sendall(frame(CONTINUED, piece, last=False))
        (told,), code = heard(connection)
    assert told["type"].endswith(":upload-too-large")
    assert code == 1009


def test_a_frame_may_come_in_pieces_with_pings_between(server: Live) -> None:
    pieces = [frame(BINARY, GOOD[:100], last=False), frame(PING, b"there?")]
    pieces += [frame(CONTINUED, b"", last=False)] * 5000
    pieces += [frame(CONTINUED, GOOD[100:]), frame(CLOSE, b"\x03\xe8")]
    with rude(server.port) as connection:
        connection.sendall(b"".join(pieces[:-1]))
        eventually_answered(connection)
        connection.sendall(pieces[-1])
        assert heard(connection)[1] == 1000


def eventually_answered(connection: socket.socket) -> None:
    received = b""
    while b'"count":1' not in received:
        part = connection.recv(65536)
        assert part, received
        received += part


def test_what_comes_with_the_handshake_is_not_lost(server: Live) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(HANDSHAKE + frame(BINARY, GOOD))
        eventually_answered(connection)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x82\x05hello",
        b"\xf2\x80" + bytes(4),
        frame(CONTINUED, b"x"),
        frame(3, b"x"),
        b"\xff" * 99,
    ],
    ids=["unmasked", "reserved bits", "nothing to continue", "no such kind", "noise"],
)
def test_what_is_no_frame_ends_the_connection(server: Live, sent: bytes) -> None:
    with rude(server.port) as connection:
        connection.sendall(sent)
        assert heard(connection)[1] in {1002, 1009}
    still_answers(server)


def test_thousands_of_tiny_frames(server: Live) -> None:
    with rude(server.port) as connection:
        connection.sendall(b"".join(frame(TEXT) for _ in range(2000)) + frame(BINARY, GOOD))
        eventually_answered(connection)
    still_answers(server)


def test_who_does_not_read_is_neither_read_nor_waited_for() -> None:
    """Neither answers nor pongs pile up for somebody who only sends."""
    with live(idle_timeout=1) as server:
        for sent in (frame(PING, bytes(125)) * 1000, frame(TEXT, b"?" * 5000) * 100):
            with rude(server.port, buffer=4096) as connection:
                while is_taken(connection, sent):
                    assert waiting_for(server) < 400_000
            eventually(lambda: connections(server) == 0, "it is cut")
        still_answers(server)


def is_taken(connection: socket.socket, sent: bytes) -> bool:
    """Raises TimeoutError if the service neither takes it nor hangs up."""
    try:
        connection.sendall(sent)
    except ConnectionError:
        return False
    return True


def waiting_for(server: Live) -> int:
    """Bytes that wait to be read by the clients."""
    return sum(
        one.transport.get_write_buffer_size()
        for one in list(server.server.server_state.connections)
        if not one.transport.is_closing()
    )


def test_who_stops_in_the_middle_of_a_message_is_not_waited_for() -> None:
    with live(idle_timeout=0.3) as server:
        for sent in (frame(BINARY, GOOD[:50], announced=len(GOOD)), b"\x82"):
            with rude(server.port) as connection:
                connection.sendall(sent)
                (told,), code = heard(connection)
                assert (told["type"].rpartition(":")[2], code) == ("body-stalled", 1008)


def test_who_drips_is_not_waited_for() -> None:
    with live(body_timeout=0.5) as server, rude(server.port) as connection:
        connection.sendall(frame(BINARY, GOOD[:50], last=False))
        stop = threading.Event()

        def drip() -> None:
            with suppress(ConnectionError):  # it may be cut
                while not stop.wait(0.05):
                    connection.sendall(frame(CONTINUED, last=False))

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            (told,), code = heard(connection)
        finally:
            stop.set()
            dripping.join()
        assert (told["type"].rpartition(":")[2], code) == ("body-stalled", 1008)


def test_a_silent_client_is_disconnected(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "SILENCE", 0.2)
    with watching(server.url) as connection:
        refusal(connection, "body-stalled", 1008)


def test_messages_that_are_not_whole_share_what_memory_there_is() -> None:
    with live(idle_timeout=60) as server:
        budget = server.app.upload_budget
        whole = budget.memory
        budget.memory = 3_000_000
        half = frame(BINARY, bytes(2_000_000), announced=4_000_000)
        with rude(server.port) as first:
            first.sendall(half)
            eventually(lambda: budget.memory < 1_200_000, "it takes room")
            with rude(server.port) as second:
                second.sendall(half)
                (told,), code = heard(second)
                assert (told["type"].rpartition(":")[2], code) == ("overloaded", 1013)
        eventually(lambda: budget.memory == 3_000_000, "it is given back")
        budget.memory = whole
        still_answers(server)


def test_who_is_silent_keeps_no_picture_in_memory(server: Live) -> None:
    large = frame(BINARY, GOOD + bytes(5_000_000))
    still_answers(server)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        with ExitStack() as stack:
            for _ in range(3):
                connection = stack.enter_context(rude(server.port))
                connection.sendall(large)
                assert connection.recv(1000)

            def kept() -> int:
                return tracemalloc.get_traced_memory()[0] - before

            eventually(lambda: kept() < 3_000_000, "no frame is left")
    finally:
        tracemalloc.stop()


def test_what_is_written_when_a_connection_ends_gives_its_room_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entered, go_on = threading.Event(), threading.Event()
    usual = Upload._write

    def slow(upload: Upload) -> None:
        entered.set()
        assert go_on.wait(60)
        usual(upload)

    class Full(Upload):
        async def flush(self) -> None:
            self._budget.memory = 0  # others came before it
            await super().flush()

    async def told(websocket: Any, error: Exception) -> None:
        closing.append(error)
        await close_with(websocket, error)

    closing: list[Exception] = []
    monkeypatch.setattr(live_module, "close_with", told)
    monkeypatch.setattr(Upload, "_write", slow)
    monkeypatch.setattr(live_module, "Upload", Full)
    monkeypatch.setattr(live_module, "SILENCE", 3.0)  # from when it is connected
    with live() as server, watching(server.url) as connection:
        budget = server.app.upload_budget
        disk = budget.disk
        connection.send(GOOD + bytes(500_000))
        assert entered.wait(60)
        assert budget.disk < disk
        eventually(lambda: closing, "nothing came for too long")
        go_on.set()
        refusal(connection, "body-stalled", 1008)
        eventually(lambda: budget.disk == disk, "it is given back")


def test_who_is_gone_costs_no_more(server: Live) -> None:
    budget = server.app.upload_budget
    eventually(lambda: connections(server) == 0, "the tests before are gone")
    large = GOOD + bytes(1_000_000)
    before = budget.memory
    with held(server) as (reached, go_on), ExitStack() as stack:
        connection = stack.enter_context(rude(server.port))
        connection.sendall(frame(BINARY, large) * 3)
        assert reached.wait(60)
        eventually(lambda: budget.memory < before, "the newest waits")
        stack.close()
        eventually(lambda: connections(server) == 0, "the service has noticed")
        eventually(lambda: budget.memory == before, "nothing of it is left")
        go_on.set()
    eventually(lambda: not server.detector._pipeline._lanes, "nor in the queue")
    still_answers(server)


def test_a_close_that_is_not_answered(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.api.server import websocket

    monkeypatch.setattr(websocket, "_CLOSE_TIMEOUT", 0.2)
    bad = HANDSHAKE.replace(b"/detect/ws", b"/detect/ws?model=x", 1)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(bad)
        while connection.recv(65536):
            pass


# Its end


def test_a_service_that_goes_down_answers_the_frame_under_way() -> None:
    with (
        live() as server,
        watching(server.url) as idle,
        watching(server.url) as busy,
        held(server) as (reached, go_on),
    ):
        busy.send(GOOD)
        assert reached.wait(60)
        server.stop()
        assert ended(idle) == 1012
        go_on.set()
        assert said(busy)["count"] == 1
        assert ended(busy) == 1012


def test_a_failure_that_nobody_foresaw(
    server: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backend = server.context.backend
    usual = backend.call

    async def odd(operation: Any, *rest: Any) -> Any:
        if operation is DETECT:
            raise LookupError("a secret of ours")
        return await usual(operation, *rest)

    monkeypatch.setattr(backend, "call", odd)
    with watching(server.url) as connection:
        connection.send(GOOD)
        assert "secret" not in json.dumps(refusal(connection, "internal", 1011))
    assert "a secret of ours" in caplog.text


def test_one_line_in_the_log_tells_of_a_connection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    key = "a-key-of-twenty-signs"
    mine = {"Authorization": f"Bearer {key}"}
    with (
        live(api_keys=f"watcher:{key}") as server,
        watching(server.url, "?confidence=0.3", additional_headers=mine) as connection,
    ):
        for sent in (GOOD, b"garbage"):
            connection.send(sent)
            said(connection)
    eventually(lambda: requests_of(caplog, "watcher"), "it is written")
    (line,) = requests_of(caplog, "watcher")
    found = vars(line)
    assert (found["method"], found["path"], found["status"]) == ("WEBSOCKET", "/detect/ws", 101)
    counts = {name: found[name] for name in ("frames", "answered", "refused", "dropped")}
    assert counts == {"frames": 2, "answered": 1, "refused": 1, "dropped": 0}
    assert found["bytes_in"] == len(GOOD) + 7
    assert found["bytes_out"] > 100
    assert "confidence" not in caplog.text


def requests_of(caplog: pytest.LogCaptureFixture, key: str) -> list[logging.LogRecord]:
    """Others' connections, which end when they end, are told of too."""
    return [one for one in caplog.records if vars(one).get("key") == key]


def test_a_client_that_hangs_up_in_order(server: Live) -> None:
    with watching(server.url) as connection:
        connection.send(GOOD)
        said(connection)
        connection.close(1001, "bye")
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
