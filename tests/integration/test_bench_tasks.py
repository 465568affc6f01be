"""Load by tasks: all that comes back is checked, and what does not is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from sightline.bench.load import run_load
from sightline.bench.plan import BenchImage, Plan, parse_target
from sightline.bench.stats import Summary, summarise
from sightline.bench.tasks import TaskLoad, alike
from sightline.errors import Overloaded
from sightline.tasks import admission
from support import pictures
from support.bad_servers import answer, bad_server, read_request
from support.servers import live

if TYPE_CHECKING:
    import socket

PICTURES = (BenchImage("a.jpg", pictures.jpeg()), BenchImage("b.png", pictures.png()))


def load(url: str, given: tuple[BenchImage, ...] = PICTURES, **options: Any) -> tuple[Summary, int]:
    """The figures, and how many tasks were accepted."""
    defaults = {"warm_up": 0.0, "duration": None, "requests": 4, "batch": 3, "concurrency": 2}
    plan = Plan(parse_target(url, "/predict"), given, **(defaults | options))
    tasks = TaskLoad(plan, None)
    summary = summarise(run_load(tasks)[0])
    assert summary.sent == summary.answered + summary.errors + summary.unfinished
    return summary, len(tasks.submits_ms())


def ended(summary: Summary) -> dict[tuple[int, str], int]:
    return {(end.status, end.kind): end.count for end in summary.endings}


def test_every_picture_is_counted_and_comes_back_as_its_own() -> None:
    with live() as server:
        summary, submitted = load(server.url)
    assert submitted == 4
    assert ended(summary) == {(200, ""): 12}
    assert summary.clean


def test_a_picture_that_fails_is_told_by_its_problem() -> None:
    broken = BenchImage("c.jpg", pictures.jpeg()[:200])
    with live() as server:
        summary, _ = load(server.url, (PICTURES[0], broken), batch=2, requests=2)
    assert ended(summary) == {(200, ""): 2, (422, "urn:sightline:problem:broken-image"): 2}
    assert not summary.clean


def test_a_service_that_refuses_is_heeded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise Overloaded("Too much waits.", 1)

    monkeypatch.setattr(admission, "make_room", full)
    with live() as server:
        summary, submitted = load(server.url, duration=2.0, concurrency=1)
    assert submitted == 0
    assert ended(summary) == {(503, "urn:sightline:problem:overloaded"): summary.sent}
    assert summary.waits


def result(index: int, name: str, confidence: float = 0.9, x1: float = 10.0) -> dict[str, Any]:
    box = {"x1": x1, "y1": 10.0, "x2": 110.0, "y2": 60.0}
    found = {"label": "dog", "confidence": confidence, "bbox": box}
    return {"index": index, "filename": name, "status": "completed", "detections": [found]}


def service(results: Callable[[int], Any]) -> Callable[[socket.socket], None]:
    """One whose tasks end at once, with `results`; it is told which task it is."""

    def behave(connection: socket.socket) -> None:
        number = -1
        while True:
            if read_request(connection).startswith(b"POST"):
                number += 1
                connection.sendall(answer("201 Created", b"{}", "Location: /result/x"))
                continue
            body = results(number)
            connection.sendall(
                body if isinstance(body, bytes) else answer(body=json.dumps(body).encode())
            )

    return behave


def done(*results: dict[str, Any]) -> dict[str, Any]:
    return {"status": "completed", "progress": {"done": 2}, "results": results}


@pytest.mark.parametrize(
    ("results", "told"),
    [
        (lambda n: done(result(0, f"{2 * n}")), {(200, ""): 2, (0, "lost"): 2}),
        (
            lambda n: done(result(0, f"{2 * n + 1}"), result(1, f"{2 * n}")),
            {(0, "another picture's"): 4},
        ),
        (
            lambda n: done(result(0, f"{2 * n}"), result(1, f"{2 * n + 1}", x1=10.0 + 50 * n)),
            {(200, ""): 3, (0, "another picture's"): 1},
        ),
        (lambda _: answer("410 Gone"), {(410, ""): 4}),
        (
            lambda _: {"status": "processing", "progress": {"done": 0}},
            {(0, "stuck"): 4},
        ),
    ],
)
def test_what_is_lost_or_anothers_is_a_failure(
    results: Callable[[int], Any], told: dict[tuple[int, str], int]
) -> None:
    with bad_server(service(results)) as url:
        timeout = 1.0 if (0, "stuck") in told else 60.0
        summary, _ = load(url, batch=2, requests=2, concurrency=1, timeout=timeout)
    assert ended(summary) == told
    assert not summary.clean


def test_two_answers_to_one_picture_may_differ_by_a_hair() -> None:
    """A box that is just sure enough comes and goes with what else was in its batch."""
    many = [result(0, "", x1=x)["detections"][0] for x in range(0, 100, 10)]
    assert alike([], [])
    assert alike(many, many[:-1])
    assert not alike(many, many[:-3])
    assert not alike(many[:1], [])
    moved = [{**many[0], "confidence": many[0]["confidence"] - 0.02}]
    assert alike(many[:1], moved)
    assert not alike(many[:1], [{**many[0], "label": "cat"}])
