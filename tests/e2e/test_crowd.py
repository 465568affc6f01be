"""The service as a process, under crowds: a thousand that stall, and a signal under load."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from PIL import Image

from sightline.api.middleware.keys import new_key
from sightline.models.resolve import BUNDLED
from support import pictures
from support.eventually import eventually
from support.predict import stuck
from support.servers import Process, listens, live, serve

GOOD = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), "JPEG")
HEAD = b"POST /detect HTTP/1.1\r\nHost: x\r\n"
STALLS = [
    b"",
    b"PO",
    HEAD,
    HEAD + b"Content-Length: 9000000\r\n\r\n" + GOOD,
    HEAD + b"Content-Length: 9000000\r\n\r\n" + GOOD + bytes(150_000),
]


def memory_of(pid: int) -> int:
    """Resident bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_thousand_stall_and_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_HEAD_TIMEOUT", "8")
    monkeypatch.setenv("SIGHTLINE_IDLE_TIMEOUT", "8")
    with serve(["--engine", "fake"]) as running, ExitStack() as stack:
        client = stack.enter_context(httpx.Client(base_url=running.url, timeout=60))
        assert client.post("/detect", content=GOOD).status_code == 200
        before = memory_of(running.process.pid)
        port = int(running.url.rpartition(":")[2])
        stalled = []
        for number in range(1000):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
            connection.sendall(STALLS[number % len(STALLS)])
            stalled.append(connection)
        for _ in range(20):
            assert client.post("/detect", content=GOOD).json()["count"] == 1
        with httpx.Client(base_url=running.url, timeout=60) as newcomer:
            assert newcomer.post("/detect", content=GOOD).json()["count"] == 1
        assert memory_of(running.process.pid) - before < 300 * 2**20
        for number, connection in enumerate(stalled):
            answer = b""
            while part := connection.recv(65536):
                answer += part
            if STALLS[number % len(STALLS)]:
                assert answer.startswith(b"HTTP/1.1 408 ")
        assert client.post("/detect", content=GOOD).json()["count"] == 1


def clients_until_refused(url: str, keep_alive: bool, results: list[str]) -> None:
    """One client after another's answer; ends when the service takes no more connections."""
    limits = httpx.Limits(max_keepalive_connections=1 if keep_alive else 0)
    with httpx.Client(limits=limits, timeout=60) as client:
        while True:
            try:
                answer = client.post(f"{url}/detect", files={"file": GOOD})
            except httpx.ConnectError:
                results.append("refused")
                return
            except httpx.HTTPError as error:
                results.append(repr(error))
                return
            results.append(str(answer.status_code))


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--engine", "fake"], id="fake"),
        pytest.param(["--model", str(BUNDLED)], id="demo", marks=pytest.mark.soak),
    ],
)
def test_a_signal_under_load_loses_nothing(arguments: list[str]) -> None:
    with serve(arguments) as running:
        results: list[str] = []
        threads = [
            threading.Thread(target=clients_until_refused, args=(running.url, n % 2 == 0, results))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        eventually(lambda: results.count("200") > 30, "it answers")
        code, said = running.stop()
        for thread in threads:
            thread.join(60)
    assert code == 0, said
    assert set(results) == {"200", "refused"}, set(results)
    assert results.count("refused") == len(threads)


def test_a_stalled_upload_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_IDLE_TIMEOUT", "2")
    with serve(["--engine", "fake"]) as running:
        port = int(running.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.sendall(HEAD + b"Content-Length: 9000000\r\n\r\n" + GOOD)
            code, said = running.stop()
            assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
    assert code == 0
    assert "Traceback" not in said


def test_requests_that_came_together_before_a_signal_are_answered() -> None:
    with live() as server, socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        with stuck(server, after=1):
            connection.sendall((HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD) * 40)
            received = connection.recv(10)
            server.stop()
            eventually(lambda: not listens(server.port), "it takes no more connections")
        while part := connection.recv(65536):
            received += part
    assert received.count(b"HTTP/1.1 200 ") == 40
    assert received.rpartition(b"HTTP/1.1")[2].count(b"connection: close") == 1


AT_LAST = """
import gc, os, signal, sys
from sightline import cli
freeze = gc.freeze

def at_this_moment():
    os.kill(os.getpid(), signal.SIGTERM)
    freeze()

gc.freeze = at_this_moment
sys.argv = ["sightline", "serve", "--engine", "fake", "--port", "0"]
cli.main()
"""


def test_a_signal_just_before_it_serves_is_heeded() -> None:
    done = subprocess.run([sys.executable, "-c", AT_LAST], timeout=60, check=False)
    assert done.returncode == 0


def test_a_signal_while_the_model_loads(yolov8n: Path) -> None:
    command = [sys.executable, "-m", "sightline", "serve", "--port", "0", "--model", str(yolov8n)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with process:
        eventually(lambda: _handles_sigterm(process.pid), "it is starting")
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert b"Traceback" not in said


def _handles_sigterm(pid: int) -> bool:
    """Whether the process has taken SIGTERM into its own hands (proc(5), SigCgt)."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.split("SigCgt:")[1].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_a_reader_who_stops_reading_the_log_stops_nothing() -> None:
    """Nobody reads this process's output from here on, and the pipe holds 64 KB."""
    with serve(["--engine", "fake"]) as running, httpx.Client(timeout=60) as client:
        for _ in range(400):  # a line has 200 bytes and more
            assert client.get(f"{running.url}/health/live").status_code == 200
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0


def warnings_of(running: Process) -> list[str]:
    """What it said at start about being open, and until it has answered."""
    assert running.process.stdout is not None
    httpx.get(f"{running.url}/health/live", headers={"X-Request-Id": "the-last"})
    said = running.said
    while "the-last" not in said:
        line = running.process.stdout.readline()
        assert line, "it ended"
        said += line
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return [line["event"] for line in lines if line["level"] == "warning"]


@pytest.mark.parametrize(
    ("host", "keys", "warned"),
    [("127.0.0.1", False, False), ("0.0.0.0", False, True), ("0.0.0.0", True, False)],
)
def test_an_open_service_says_so_once(
    host: str, keys: bool, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if keys:
        monkeypatch.setenv("SIGHTLINE_API_KEYS", new_key("alice")[1])
    with serve(["--engine", "fake", "--host", host]) as running:
        warnings = warnings_of(running)
    assert len(warnings) == (1 if warned else 0)
    assert not warned or "SIGHTLINE_API_KEYS" in warnings[0]
