"""A worker that dies under load, over real HTTP: its requests end, and another takes its place."""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from PIL import Image

from sightline import Detector, ModelError
from sightline.serving import restarter as revival
from sightline.serving.repository import Repository
from support import pictures
from support.eventually import eventually
from support.problems import problem
from support.processes import Usage, usage
from support.servers import Live, live

GOOD = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), "JPEG")
CLIENTS = 12


class Killed(BaseException):
    """Nothing that anybody expects."""


def kill_at_the_next_call(detector: Detector) -> None:
    def die(_images: object) -> None:
        raise Killed

    detector._engine.before_infer = die  # type: ignore[attr-defined]


def ready(server: Live) -> httpx.Response:
    return httpx.get(f"{server.url}/health/ready", timeout=60)


def own_usage() -> Usage:
    return usage(os.getpid())


def load(server: Live, stop: threading.Event, answers: list[httpx.Response]) -> None:
    with httpx.Client(timeout=90) as client:
        while not stop.is_set():
            answers.append(client.post(f"{server.url}/detect", content=GOOD))


def test_a_death_under_load_over_http(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with live() as server:
        may_open = hold_openings(server.repository, monkeypatch)
        stop, answers = threading.Event(), list[httpx.Response]()
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(load, server, stop, answers) for _ in range(CLIENTS)]
            eventually(lambda: len(answers) > 50, "it answers")
            dead = server.detector
            kill_at_the_next_call(dead)
            eventually(lambda: ready(server).status_code == 503, "not ready")
            assert (
                "its inference worker died" in problem(ready(server), 503, "not-serving")["detail"]
            )
            assert httpx.get(f"{server.url}/health/live").status_code == 200
            assert not dead.alive, "and a refusal costs a request nothing"
            refused = httpx.post(f"{server.url}/detect", content=GOOD, timeout=60)
            problem(refused, 503, "worker-died")
            assert refused.headers["retry-after"] == "3"
            may_open.set()
            eventually(lambda: ready(server).status_code == 200, "ready again")
            so_far = len(answers)
            eventually(lambda: len(answers) > so_far + 50, "it answers again")
            stop.set()
            for client in clients:
                client.result(60)
        assert {answer.status_code for answer in answers} == {200, 503}
        assert {answer.status_code for answer in answers[so_far + CLIENTS :]} == {200}
        assert server.detector is not dead
        with pytest.raises(RuntimeError, match="shutdown"):
            dead._pipeline._pool.submit(print)
    said = [record.message for record in caplog.records if record.name == "sightline"]
    assert len(said) == 2, said
    assert said[0] == "fake: the inference worker died"
    assert said[1].startswith("fake: opened again, ")
    assert "in die\n    raise Killed" in caplog.text


def hold_openings(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """No model is opened again before the event is set."""
    open_model, may_open = repository._open, threading.Event()

    def hold(name: str, source: str | None) -> Detector:
        assert may_open.wait(60)
        return open_model(name, source)

    monkeypatch.setattr(repository, "_open", hold)
    return may_open


def test_twenty_deaths_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revival, "_SOUND_AFTER", 0.0)
    with (
        live() as server,
        ThreadPoolExecutor(CLIENTS) as pool,
        httpx.Client(base_url=server.url, timeout=90) as client,
    ):

        def post(_: object = None) -> int:
            return client.post("/detect", content=GOOD).status_code

        def die_and_come_back() -> None:
            dead = server.detector
            kill_at_the_next_call(dead)
            assert set(pool.map(post, range(CLIENTS))) <= {200, 503}
            eventually(lambda: server.detector is not dead, "another is in its place")
            eventually(lambda: client.get("/health/ready").status_code == 200, "ready again")
            assert post() == 200

        for _ in range(10):  # until allocators have their size
            die_and_come_back()
        before = own_usage()
        for _ in range(20):
            die_and_come_back()
        # Pools grow as far as there are clients; a thread left by each death would be more.
        eventually(lambda: own_usage().threads <= before.threads + CLIENTS, f"more than {before}")
        assert own_usage().mb < before.mb + 30, (before, own_usage())


class Opener:
    """Opens fake detectors, or fails as often as it is told to."""

    def __init__(self) -> None:
        self.failures = 0
        self.opened: list[Detector] = []

    def __call__(self, name: str, _source: str | None) -> Detector:
        if self.failures:
            self.failures -= 1
            raise ModelError("the disk is gone")
        self.opened.append(Detector(name=name, engine="fake"))
        return self.opened[-1]


def kill(detector: Detector) -> None:
    kill_at_the_next_call(detector)
    assert detector.submit(GOOD).exception(60)


def test_what_cannot_be_opened_is_tried_again_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []
    wait = threading.Event.wait

    def note(self: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread().name != "sightline-restart" or timeout is None:
            return wait(self, timeout)
        pauses.append(timeout)
        return self.is_set()

    monkeypatch.setattr(threading.Event, "wait", note)
    opener = Opener()
    repository = Repository(opener, "m", None)
    opener.failures = 9
    kill(opener.opened[0])
    eventually(lambda: len(opener.opened) == 2, "it is opened in the end")
    eventually(lambda: repository.unhealthy_reasons() == [], "ready again")
    assert pauses == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    said = [record.message for record in caplog.records if "cannot be opened" in record.message]
    assert len(said) == 9
    assert said[0] == (
        "m: it cannot be opened again: the disk is gone. The next attempt is in 1 s."
    )
    kill(opener.opened[1])  # at once after it came back: that is a death in a row
    eventually(lambda: len(opener.opened) == 3, "it is opened again")
    assert pauses[-1] == 60
    repository.close()


def test_it_is_not_ready_while_it_cannot_be_opened() -> None:
    opener = Opener()
    repository = Repository(opener, "m", None)
    opener.failures = 1000
    kill(opener.opened[0])
    eventually(lambda: "the disk is gone" in repository.unhealthy_reasons()[0], "it says why")
    repository.close()
    eventually(lambda: not revivals(), "nobody goes on trying")


def revivals() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sightline-restart"]


@pytest.mark.parametrize("what", ["load", "remove", "close"])
def test_what_was_replaced_meanwhile_is_not_opened_again(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener = Opener()
    repository = Repository(opener, "m", None)
    repository.load("other", "source")
    dead = opener.opened[-1]
    may_go_on = threading.Event()
    replace: Any = repository._restarter._replace

    def replace_later(*arguments: object) -> bool:
        assert may_go_on.wait(60)
        return bool(replace(*arguments))

    monkeypatch.setattr(repository._restarter, "_replace", replace_later)
    kill(dead)
    eventually(revivals, "it is about to be opened")
    match what:
        case "load":
            repository.load("other", "another source")
        case "remove":
            repository.remove("other")
        case _:
            repository.close()
    opened = len(opener.opened)
    may_go_on.set()
    eventually(lambda: not revivals(), "the revival ends")
    assert len(opener.opened) == opened
    repository.close()
    eventually(lambda: not any(one.alive for one in opener.opened), "all are closed")
