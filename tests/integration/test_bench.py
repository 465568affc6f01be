"""Load on real servers: those that answer, that refuse, that hang, that die."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sightline import ConfigError
from sightline.bench.client import reach
from sightline.bench.inprocess import STEPS, measure
from sightline.bench.load import Load, run
from sightline.bench.plan import BenchImage, Plan, Target, parse_target
from sightline.bench.record import RequestRecord
from sightline.bench.stats import Summary, summarise
from sightline.settings import load_settings
from support import pictures
from support.bad_servers import answer, bad_server, read_request
from support.hosts import nobody
from support.servers import live

PICTURES = (BenchImage("a.jpg", pictures.jpeg()), BenchImage("b.png", pictures.png()))


def load(url: str, **options: Any) -> Summary:
    """A load test without warm-up, so that what the server saw is what was counted."""
    plan = Plan(parse_target(url), PICTURES, **({"warm_up": 0.0} | options))
    summary = summarise(run(plan)[0])
    assert summary.sent == summary.answered + summary.errors + summary.unfinished
    assert summary.answered + summary.errors == sum(end.count for end in summary.endings)
    return summary


def ended(summary: Summary) -> dict[tuple[int, str], int]:
    return {(end.status, end.kind): end.count for end in summary.endings}


def test_every_request_is_counted() -> None:
    with live() as server:
        summary = load(server.url, requests=50, duration=None, concurrency=4)
    assert ended(summary) == {(200, ""): 50}
    assert summary.clean
    assert summary.bytes_sent > 50 * len(PICTURES[1].data)
    assert summary.bytes_received > 50 * 100


def test_a_duration_ends_it_and_a_warm_up_does_not_count() -> None:
    seen = 0
    lock = threading.Lock()

    def count(connection: socket.socket) -> None:
        nonlocal seen
        while True:
            with_picture = read_request(connection).startswith(b"POST /detect")
            with lock:
                seen += with_picture
            connection.sendall(answer())

    with bad_server(count) as url:
        summary = load(url, duration=1.0, warm_up=1.0, concurrency=2)
    assert summary.clean
    assert 0 < summary.sent < seen


def test_what_the_service_says_of_itself() -> None:
    with live(api_keys="me:open-sesame-open-sesame") as server:
        plan = Plan(parse_target(server.url), PICTURES, 1, None, 2, warm_up=0)
        assert run(plan)[1] == {}
        about = run(replace(plan, key="open-sesame-open-sesame"))[1]
    assert (about["model"], about["engine"]) == ("fake", "fake")


def test_a_wrong_key() -> None:
    with live(api_keys="me:open-sesame-open-sesame") as server:
        refused = load(server.url, requests=10, duration=None, key="wrong")
        served = load(server.url, requests=10, duration=None, key="open-sesame-open-sesame")
    (((status, kind), count),) = ended(refused).items()
    assert (status, count) == (401, 10)
    assert kind.startswith("urn:sightline:problem:")
    assert refused.latency.p50 is None
    assert not refused.clean
    assert served.clean


def test_retry_after_is_heeded_and_told_apart() -> None:
    """The question after its health takes the one place there is in an hour."""
    refused = iter([answer("429 Too Many Requests", b"{}", "Retry-After: 1")])

    def refuse_once(connection: socket.socket) -> None:
        while True:
            asked = read_request(connection).startswith(b"POST")
            connection.sendall((asked and next(refused, None)) or answer())

    with bad_server(refuse_once) as url:
        waiting = load(url, requests=2, duration=None, concurrency=1)
    with live(rate_limit="1/hour") as server:
        hasty = load(server.url, requests=20, duration=None, concurrency=1, wait=False)
    assert [(end.status, end.count) for end in waiting.endings] == [(429, 1), (200, 1)]
    assert waiting.waits == 1
    assert waiting.waited_s >= 1
    assert waiting.latency.max is not None
    assert waiting.latency.max <= 1000 * (waiting.seconds - 1), "waiting is no latency"
    assert [(end.status, end.count) for end in hasty.endings] == [(429, 20)]
    assert (hasty.waits, hasty.waited_s) == (0, 0)


@pytest.mark.parametrize("status", ["503 Service Unavailable", "429 Too Many Requests"])
def test_a_wait_ends_with_the_test(status: str) -> None:
    """Told to come back in an hour, by a service that is full: nobody waits for that."""

    def refuse(connection: socket.socket) -> None:
        while True:
            read_request(connection)
            connection.sendall(answer(status, b"{}", "Retry-After: 3600"))

    with bad_server(refuse) as url:
        by_time = load(url, duration=2.0, concurrency=3)
        by_count = load(url, duration=None, requests=1, concurrency=1)
    assert (by_time.sent, by_time.waits) == (3, 3)
    assert by_count.waits == 0


def test_annotated_answers_are_kept_one_a_picture(tmp_path: Path) -> None:
    with live() as server:
        assert load(server.url, requests=9, duration=None, save=tmp_path / "out").clean
    found = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in found] == ["1-a.jpg.jpg", "2-b.png.jpg"]
    for file in found:
        with Image.open(BytesIO(file.read_bytes())) as picture:
            assert (picture.format, picture.size) == ("JPEG", (48, 32))


def test_a_folder_that_cannot_be_made_is_told_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with live() as server, pytest.raises(ConfigError, match="cannot save"):
        load(server.url, save=tmp_path / "file" / "below")


def test_nobody_there_is_told_at_once() -> None:
    with nobody() as port, pytest.raises(ConfigError, match="refused"):
        load(f"http://127.0.0.1:{port}")


def test_a_server_that_dies_in_the_middle() -> None:
    """It is told what became of each request, and the test ends long before its time."""
    dying = threading.Event()
    answered = threading.Semaphore(20)

    def die(connection: socket.socket) -> None:
        while not dying.is_set():
            read_request(connection)
            if not answered.acquire(blocking=False):
                dying.set()
                return
            connection.sendall(answer())

    with bad_server(die) as url:
        found: list[Summary] = []
        plan = {"duration": 600, "silence_timeout": 4.0, "concurrency": 4}
        tester = threading.Thread(target=lambda: found.append(load(url, **plan)))
        tester.start()
        assert dying.wait(60)
    tester.join(60)
    (summary,) = found
    assert 19 <= summary.ok <= 20, "one may have gone to the question after its health"
    assert {kind for status, kind in ended(summary) if not status} <= {"closed", "reset", "refused"}
    assert "refused" in {kind for _, kind in ended(summary)}
    assert "no answer for" in summary.gave_up
    assert not summary.clean


def test_a_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only requests have half a second: on a busy machine it takes longer to find the service."""

    async def reach_at_leisure(target: Target, _timeout: float) -> str:
        return await reach(target, 60)

    async def nothing(_load: Load) -> dict[str, Any]:
        return {}

    monkeypatch.setattr("sightline.bench.load.reach", reach_at_leisure)
    monkeypatch.setattr(Load, "_health", nothing)

    def hang(connection: socket.socket) -> None:
        read_request(connection)
        connection.recv(1)

    with bad_server(hang) as url:
        waited = load(
            url, requests=4, duration=None, timeout=0.5, silence_timeout=600, concurrency=2
        )
        given_up = load(url, requests=10**6, duration=None, timeout=0.5, silence_timeout=0.5)
    assert ended(waited) == {(0, "timed out"): 4}
    assert given_up.gave_up.endswith("timed out")


def reset(connection: socket.socket) -> None:
    read_request(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def babble(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"220 mail.example.org ESMTP\r\n")


def cut_off(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")


def close_after_each(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(answer("200 OK", b"{}", "Connection: close"))


def end_with_the_connection(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n{}")


def answer_early(connection: socket.socket) -> None:
    while True:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer())


@pytest.mark.parametrize(
    ("behave", "outcome"),
    [
        (reset, (0, "reset")),
        (babble, (0, "no HTTP")),
        (cut_off, (0, "closed")),
        (close_after_each, (200, "")),
        (end_with_the_connection, (200, "")),
        (answer_early, (200, "")),
    ],
)
def test_bad_servers(behave: Any, outcome: tuple[int, str]) -> None:
    with bad_server(behave) as url:
        assert ended(load(url, requests=6, duration=None, concurrency=2)) == {outcome: 6}


def test_an_open_loop_counts_from_when_a_request_was_due() -> None:
    """A service that stalls once delays all that was due meanwhile, and that shows."""
    stalls = threading.Semaphore(1)

    def stall(connection: socket.socket) -> None:
        while True:
            if read_request(connection).startswith(b"POST") and stalls.acquire(blocking=False):
                threading.Event().wait(1.0)
            connection.sendall(answer())

    with bad_server(stall) as url:
        summary = load(url, rate=100, duration=None, requests=100, concurrency=1)
    assert (summary.sent, summary.ok, summary.unsent) == (100, 100, 0)
    assert summary.latency.p50 is not None
    assert summary.latency.p50 > 100, "in a closed loop one request alone would have waited"


def test_arrivals_that_found_no_client_are_told() -> None:
    def hang(connection: socket.socket) -> None:
        if read_request(connection).startswith(b"GET"):
            connection.sendall(answer())
        connection.recv(1)

    with bad_server(hang) as url:
        summary = load(url, rate=25, duration=2.0, timeout=3, concurrency=2)
    assert summary.sent == 2
    assert summary.unsent == 48
    assert not summary.clean


def test_an_open_loop_that_is_kept_up_with() -> None:
    with live() as server:
        summary = load(server.url, rate=25, duration=2.0)
    assert summary.sent + summary.unsent == 50
    assert summary.ok == summary.sent > 0


def test_ended_by_hand() -> None:
    """What was measured counts; what is under way is said to be."""

    def hang_later(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer())
        read_request(connection)
        connection.recv(1)

    def interrupt(record: RequestRecord, _seconds: float) -> None:
        if record.sent == 6:
            os.kill(os.getpid(), signal.SIGINT)

    with bad_server(hang_later) as url:
        plan = Plan(parse_target(url), PICTURES, 3, 600, warm_up=0, timeout=600)
        record, _ = run(plan, interrupt)
    summary = summarise(record)
    assert (summary.sent, summary.ok, summary.unfinished) == (6, 3, 3)
    assert summary.stopped
    assert summary.clean


def test_what_this_machine_can_do() -> None:
    told: list[str] = []
    limits = measure(load_settings(engine="fake"), PICTURES, 0.2, 2, told.append)
    assert tuple(limit.name for limit in limits.limits) == STEPS
    assert all(len(limit.per_s) == 2 and limit.median > 0 for limit in limits.limits)
    assert limits.limits[0].share == 1
    assert len(told) == 1 + 2 * len(STEPS)
