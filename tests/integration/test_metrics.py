"""GET /metrics: what really went through."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
from PIL import Image

from support import pictures
from support.eventually import eventually
from support.frames import said, watching
from support.problems import problem
from support.servers import Live, live

if TYPE_CHECKING:
    import pytest

GOOD = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), "JPEG")


def metrics(server: Live) -> dict[str, Any]:
    answer = httpx.get(f"{server.url}/metrics", headers={"Accept": "application/json"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


def test_pictures_and_frames_are_counted_and_failures_apart() -> None:
    with live() as server:
        before = metrics(server)
        for sent in (GOOD, GOOD, GOOD[:-100]):
            httpx.post(f"{server.url}/detect", files={"file": sent})
        with watching(server.url) as connection:
            connection.send(GOOD)
            said(connection)
        after = metrics(server)
        assert after["images_total"] - before["images_total"] == 3
        assert after["failed_total"] - before["failed_total"] == 1
        assert after["avg_latency_ms"] > 0
        assert (after["model"], after["device"]) == ("fake", "cpu")
        assert after["backlog_images"] == 0

        def rate() -> float:
            """Over the last five seconds, of which some may be lost in a stall."""
            httpx.post(f"{server.url}/detect", files={"file": GOOD})
            return float(metrics(server)["current_fps"])

        eventually(lambda: rate() > 0, "the rate shows")


def test_what_waits_is_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    with live(max_batch=1) as server, ThreadPoolExecutor(5) as pool:
        reached, go_on = threading.Event(), threading.Event()

        def hold(_: Any) -> None:
            reached.set()
            go_on.wait(60)

        monkeypatch.setattr(server.detector._engine, "before_infer", hold)
        try:
            first = pool.submit(httpx.post, f"{server.url}/detect", files={"file": GOOD})
            assert reached.wait(60)
            others = [
                pool.submit(httpx.post, f"{server.url}/detect", files={"file": GOOD})
                for _ in range(4)
            ]
            eventually(lambda: metrics(server)["queue_depth"] == 4, "four wait")
        finally:
            go_on.set()
        assert all(one.result().status_code == 200 for one in (first, *others))
        assert metrics(server)["queue_depth"] == 0


def test_only_json_is_spoken() -> None:
    with live() as server:
        plain = httpx.get(f"{server.url}/metrics", headers={"Accept": "text/plain"})
        assert "application/json" in problem(plain, 406, "not-acceptable")["detail"]
        for query, accept in (("", "*/*"), ("?format=json", "text/plain"), ("", "application/*")):
            answer = httpx.get(f"{server.url}/metrics{query}", headers={"Accept": accept})
            assert answer.json()["queue_depth"] == 0
        problem(httpx.get(f"{server.url}/metrics?format=xml"), 422, "bad-option")
