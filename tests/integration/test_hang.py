"""An engine that never returns: what clients, probes and a supervisor see."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import httpx
import pytest
from PIL import Image

from sightline import Detector
from sightline.serving import canary, repository
from sightline.serving.repository import Repository
from support import pictures
from support.eventually import eventually
from support.problems import problem
from support.servers import Live, live

GOOD = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), "JPEG")


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Live, threading.Event]]:
    """A service whose engine hangs from here on, until the event is set."""
    monkeypatch.setattr("sightline.serving.pipeline._CLOSE_TIMEOUT", 5.0)
    with live(request_timeout=0.5, canary_interval=0.1, max_queue=8) as server:
        monkeypatch.setattr(canary, "_ANSWER_TIMEOUT", 0.2)
        go_on = threading.Event()
        server.detector._engine.before_infer = lambda _images: go_on.wait(60)  # type: ignore[attr-defined]
        yield server, go_on
        go_on.set()


def test_requests_end_and_it_is_not_ready_until_it_returns(
    hanging: tuple[Live, threading.Event],
) -> None:
    server, go_on = hanging
    with ThreadPoolExecutor(40) as pool:
        posts = [
            pool.submit(httpx.post, f"{server.url}/detect", content=GOOD, timeout=60)
            for _ in range(40)
        ]
        statuses = {post.result(60).status_code for post in posts}
    assert statuses <= {503, 504}
    assert 504 in statuses
    ready = f"{server.url}/health/ready"
    eventually(lambda: httpx.get(ready).status_code == 503, "not ready")
    assert "canary got no answer" in problem(httpx.get(ready), 503, "not-serving")["detail"]
    go_on.set()
    eventually(lambda: httpx.get(ready).status_code == 200, "ready again")
    url = f"{server.url}/detect"
    eventually(lambda: httpx.post(url, content=GOOD).status_code == 200, "in half a second")


def test_a_canary_that_times_out_keeps_no_place_in_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = Repository(lambda name, _: Detector(name=name, engine="fake"), "m", None)
    watch, go_on = canary.Canary(models, GOOD, {}, 1000), threading.Event()
    watch.start()
    monkeypatch.setattr(canary, "_ANSWER_TIMEOUT", 0.05)
    with models.lease() as detector:
        detector._engine.before_infer = lambda _images: go_on.wait(60)  # type: ignore[attr-defined]
        for _ in range(20):
            watch.check()
        assert "canary got no answer" in models.unhealthy_reasons()[0]
        assert len(detector._pipeline._lanes) == 0
    go_on.set()
    watch.close()
    models.close()


def test_a_canary_does_not_wait_for_its_answer_when_it_is_closed() -> None:
    models = Repository(lambda name, _: Detector(name=name, engine="fake"), "m", None)
    watch, go_on = canary.Canary(models, GOOD, {}, 0.01), threading.Event()
    watch.start()
    with models.lease() as detector:
        detector._engine.before_infer = lambda _images: go_on.wait(60)  # type: ignore[attr-defined]
        eventually(lambda: detector.call_seconds > 0, "the canary hangs in it")
        watch.close()
        assert detector.call_seconds > 0, "and it hangs still"
    go_on.set()
    models.close()


def test_liveness_turns_red_when_a_call_is_beyond_all_measure(
    hanging: tuple[Live, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, go_on = hanging
    url = f"{server.url}/health/live"
    eventually(lambda: server.detector.call_seconds > 0, "the canary hangs in it")
    assert httpx.get(url).status_code == 200
    monkeypatch.setattr(repository, "_HUNG_AFTER", 0.0)
    detail = problem(httpx.get(url), 503, "not-serving")["detail"]
    assert "fake: its engine has not returned from a call for " in detail
    assert "start it again" in detail
    monkeypatch.setattr(repository, "_HUNG_AFTER", 120.0)
    go_on.set()
    eventually(lambda: httpx.get(url).status_code == 200, "alive")


HANGS = """
import sys, threading
from sightline import cli
from sightline.api.server import config
from sightline.engines.fake import FakeEngine
from sightline.serving import pipeline

infer, calls = FakeEngine.infer, []

def hang_at_the_third(self, images, **how):
    calls.append(images)
    if len(calls) > 2:  # the warm-up and the canary's first picture come before
        print("it hangs", flush=True)
        threading.Event().wait()
    return infer(self, images, **how)

FakeEngine.infer = hang_at_the_third
pipeline._CLOSE_TIMEOUT = 1.0
config._DRAIN_SECONDS = 1
sys.argv = ["sightline", "serve", "--engine", "fake", "--port", "0"]
cli.main()
"""


def test_a_signal_ends_a_process_whose_engine_hangs(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HANGS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            said = _read_until("photo.jpg", process.stdout)
            url = said.split("photo.jpg ")[1].split("/detect")[0]
            eventually(lambda: _answers(url), "it listens")
            with ThreadPoolExecutor(1) as pool:
                post = pool.submit(httpx.post, f"{url}/detect", content=GOOD, timeout=60)
                said += _read_until("it hangs", process.stdout)
                process.terminate()
                assert post.result(60).status_code == 503
            more, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, said + more
    assert "the engine has not returned from a call for" in more


def _read_until(words: str, lines: IO[str]) -> str:
    said = ""
    for line in lines:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it ended before it said '{words}': {said}")


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live").status_code == 200
    except httpx.ConnectError:
        return False
