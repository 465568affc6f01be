"""Two hundred clients at once against a service that can serve four pictures a second."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from sightline import Overloaded
from sightline.bench.load import run
from sightline.bench.plan import BenchImage, Plan, parse_target
from sightline.bench.record import RequestRecord
from support import pictures
from support.eventually import eventually
from support.processes import usage
from support.servers import live

CLIENTS = 200
PICTURE = pictures.jpeg(1280, 720)
MAX_WAIT = 1
PACE = 4  # pictures a second
# Whoever waits longer is in a queue that nobody bounds: there it would be 50 s. A busy machine
# delays all by some seconds.
LATEST = 30

PACED = f"""
import os, sys, time
from sightline import cli
from sightline.engines.fake import FakeEngine

infer = FakeEngine.infer

def slowly(self, images, **how):
    time.sleep(len(images) / {PACE})
    return infer(self, images, **how)

FakeEngine.infer = slowly
os.environ["SIGHTLINE_MAX_WAIT"] = "{MAX_WAIT}"
os.environ["SIGHTLINE_HEAD_TIMEOUT"] = os.environ["SIGHTLINE_IDLE_TIMEOUT"] = "60"
sys.argv = ["sightline", "serve", "--engine", "fake", "--port", "0"]
cli.main()
"""


@dataclass
class Paced:
    url: str
    pid: int

    @property
    def mb(self) -> float:
        return usage(self.pid).mb

    def storm(self, seconds: float, wait: bool) -> RequestRecord:
        picture = BenchImage("a.jpg", PICTURE)
        plan = Plan(
            parse_target(self.url), (picture,), CLIENTS, seconds, wait=wait, warm_up=0, timeout=60
        )
        return run(plan)[0]


@contextmanager
def paced() -> Iterator[Paced]:
    with subprocess.Popen(
        [sys.executable, "-c", PACED], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            found = None
            while found is None:
                assert process.stdout is not None
                line = process.stdout.readline()
                assert line, "it ended at start"
                found = re.search(r"photo\.jpg (http://[\d.]+:\d+)", line)
            service = Paced(found[1], process.pid)
            eventually(lambda: answers(service.url), "it listens")
            yield service
        finally:
            process.terminate()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live").status_code == 200
    except httpx.ConnectError:
        return False


async def burst(url: str) -> list[httpx.Response]:
    """What each of so many clients is told that ten times as many ask as may wait."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        asked = [client.post("/detect", content=PICTURE) for _ in range(10 * MAX_WAIT * PACE)]
        return await asyncio.gather(*asked)


@pytest.mark.parametrize("wait", [False, True], ids=["at once again", "heeding Retry-After"])
@pytest.mark.parametrize("seconds", [2.5, pytest.param(20, marks=pytest.mark.soak)])
def test_a_storm_is_answered_or_refused_in_time(seconds: float, wait: bool) -> None:
    with paced() as service:
        service.storm(1, wait)  # until allocators and pools have their size
        before = service.mb
        record = service.storm(seconds, wait)
        assert {kind.status for kind in record.kinds} == {200, 503}
        assert len(record.ended) == record.sent >= CLIENTS
        assert record.ok > PACE * seconds / 10, "a tenth of what it could serve"
        assert max(record.took) < LATEST
        refused = [answer for answer in asyncio.run(burst(service.url)) if answer.is_error]
        assert refused
        assert {answer.status_code for answer in refused} == {503}
        assert all(1 <= int(answer.headers["retry-after"]) <= 20 for answer in refused)
        first = httpx.post(f"{service.url}/detect", content=PICTURE)
        assert first.status_code in {200, 503}
        eventually(lambda: httpx.post(f"{service.url}/detect", content=PICTURE).is_success, "calm")
        assert service.mb < before + 100


def test_a_refused_upload_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has sent the head alone, and is told at once."""

    def full(_max_wait: float, _lane: str = "interactive") -> None:
        raise Overloaded("A picture would wait 99.0 s.", 7)

    with live() as server:
        monkeypatch.setattr(server.detector, "require_room", full)
        with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
            connection.sendall(
                b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n"
            )
            answer = b""
            while part := connection.recv(65536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 7\r\n" in answer.lower()
        assert b"\r\nconnection: close\r\n" in answer.lower()
