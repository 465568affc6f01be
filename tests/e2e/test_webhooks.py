"""Webhooks of a real service, from a submission to a receiver that verifies the call."""

from __future__ import annotations

import json
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import pictures
from support.eventually import eventually
from support.hosts import nobody
from support.problems import problem
from support.receivers import Receiver, receiver, verifier
from support.servers import live, serve


def submit(url: str, callback: str) -> httpx.Response:
    return httpx.post(
        f"{url}/predict",
        params={"callback_url": callback},
        files={"files": ("a.jpg", pictures.jpeg())},
    )


def webhook(url: str, task_id: str) -> dict[str, Any]:
    """How it stands with the call."""
    state: dict[str, Any] = httpx.get(f"{url}/result/{task_id}").raise_for_status().json()
    found: dict[str, Any] = state["webhook"]
    return found


@pytest.fixture
def away() -> Iterator[Receiver]:
    """A receiver that is down; `receiver(away.port)` is up."""
    with nobody() as port:
        yield Receiver(port)


def test_a_call_comes_though_the_receiver_was_down_and_the_service_was_killed(
    tmp_path: Path, away: Receiver
) -> None:
    data = tmp_path / "place"
    arguments = ["--engine", "fake", "--data-dir", str(data)]
    allowed = {"SIGHTLINE_URL_ALLOW": "127.0.0.1"}
    with serve(arguments, environment=allowed) as first:
        task_id = submit(first.url, away.url).raise_for_status().json()["task_id"]
        eventually(lambda: webhook(first.url, task_id)["attempts"], "it is tried")
        told = webhook(first.url, task_id)
        first.process.send_signal(signal.SIGKILL)
    assert (told["url"], told["state"]) == (away.url, "due")
    assert told["attempts"][0]["error"] == "no connection, or it broke"
    with receiver(away.port) as back, serve(arguments, environment=allowed) as second:
        assert back.came.acquire(timeout=120)
        eventually(
            lambda: webhook(second.url, task_id)["state"] == "delivered", "it is told of as done"
        )
        assert webhook(second.url, task_id)["attempts"][-1]["status"] == 204
    ((headers, body),) = back.calls
    secret = data / "webhook-secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert verifier()(secret.read_text().strip(), headers, body)
    assert json.loads(body)["data"]["task_id"] == task_id


def test_a_callback_to_an_address_inside_is_refused_when_the_task_is_submitted() -> None:
    with live() as server:
        with socket.create_server(("127.0.0.1", 0)) as inside:
            inside.settimeout(0.1)
            port = inside.getsockname()[1]
            answers = [
                submit(server.url, callback)
                for callback in (
                    f"http://127.0.0.1:{port}/hook",
                    f"http://localhost:{port}/hook",
                    "http://169.254.169.254/latest/meta-data",
                    "https://no-such-host.invalid/",
                )
            ]
            with pytest.raises(TimeoutError):
                inside.accept()
        wrong = submit(server.url, "ftp://example.com/")
        left = httpx.get(f"{server.url}/tasks").json()
    for answer in answers:
        problem(answer, 422, "callback-refused")
    assert len({answer.json()["detail"] for answer in answers}) == 1
    problem(wrong, 422, "callback-refused")
    assert left["statuses"] == {}


@pytest.mark.soak
@pytest.mark.parametrize("workers", ["0", "2"])
def test_one_that_is_down_for_a_minute_gets_its_call(
    tmp_path: Path, away: Receiver, workers: str
) -> None:
    arguments = ["--engine", "fake", "--data-dir", str(tmp_path / "place"), "--workers", workers]
    with serve(arguments, environment={"SIGHTLINE_URL_ALLOW": "127.0.0.1"}) as running:
        task_id = submit(running.url, away.url).raise_for_status().json()["task_id"]
        time.sleep(60)
        assert len(webhook(running.url, task_id)["attempts"]) > 3
        with receiver(away.port) as back:
            assert back.came.acquire(timeout=120)
            eventually(lambda: webhook(running.url, task_id)["state"] == "delivered", "it is done")
    assert len(back.calls) == 1
