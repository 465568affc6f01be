"""What becomes of pictures that were submitted, through both clients."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from sightline.client import AsyncClient, AsyncTaskHandle, Client, Progress, errors, handle
from sightline.client.transport import AT_ONCE
from sightline.tasks import retry_policy
from support.clients import Kind, client_of
from support.eventually import eventually
from support.predict import stuck
from support.servers import Live, live
from support.tasks import DARKEST, picture

BROKEN = picture(3)[:-30]
MAX_UPLOAD = 64 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("reachable")
    with live(
        confidence=0.1,
        url_prefixes=f"{folder.as_uri()}/",
        url_timeout=60,
        max_upload_mb=MAX_UPLOAD / 2**20,
    ) as running:
        yield running


@pytest.fixture
def reachable(server: Live) -> Path:
    """A folder that the service reads pictures from by address."""
    return Path(server.settings.url_prefixes[0].removeprefix("file://"))


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def client(kind: Kind, server: Live) -> Iterator[Any]:
    with client_of(kind, server.url) as made:
        yield made


def seen(results: list[Any]) -> list[int]:
    """Which `picture` of a hundred each result is of, told by its confidence."""
    return [round(float(one.detections.confidence[0]) * 255) - DARKEST for one in results]


def test_results_by_index(client: Any) -> None:
    results = client.submit([picture(number) for number in range(100)]).wait(60)
    assert seen(results) == [result.index for result in results] == list(range(100))
    assert {result.status for result in results} == {"completed"}
    assert results[7].answer.model == "fake"
    assert results[7].detections.width == 27


def test_more_than_a_task_takes(client: Any) -> None:
    handle = client.submit(picture(number % 100) for number in range(250))
    assert (len(handle.ids), handle.total) == (3, 250)
    results = handle.wait(60)
    assert [result.index for result in results] == list(range(250))
    assert seen(results) == [number % 100 for number in range(250)]
    assert client.task(*handle.ids).status() == Progress("completed", 250, 250, 0)
    assert len(handle.annotated(249)) > 100
    with pytest.raises(IndexError, match="250"):
        handle.annotated(250)


def test_results_as_they_come(client: Any, server: Live) -> None:
    with stuck(server) as go_on:
        handle = client.submit([picture(1), b"no picture", picture(2)])
        coming = handle.results(timeout=60)
        first = next(coming)
        assert (first.index, first.status) == (1, "error"), "it was judged while it was sent"
        with pytest.raises(errors.UnsupportedImage, match="not a picture that can be read"):
            _ = first.detections
        go_on.set()
        later = [result.index for result in coming]
    assert sorted(later) == [0, 2], "two workers may end either first"
    assert [result.status for result in handle.wait()] == ["completed", "error", "completed"]
    assert [result.index for result in handle.results()] == [1, *later]


def test_leaving_the_results_in_the_middle(client: Any) -> None:
    handle = client.submit([picture(number) for number in range(10)])
    for _ in handle.results(timeout=60):
        break
    assert len(handle.wait(60)) == 10


def test_progress_is_told(client: Any, server: Live) -> None:
    told: list[Progress] = []
    with stuck(server) as go_on:
        handle = client.submit([picture(number) for number in range(30)] + [b"no picture"])

        def progress(now: Progress) -> None:
            told.append(now)
            if now.status == "processing":
                go_on.set()

        assert len(handle.wait(60, progress)) == 31
    assert told[0].total == 31
    assert told[-1] == Progress("completed", 31, 31, 1)
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert len(set(told)) == len(told)


def test_the_place_in_the_queue(client: Any, server: Live) -> None:
    with stuck(server):
        before = client.submit([picture(1)] * 60)
        handle = client.submit([picture(2)], priority="low")
        assert handle.status().status == "queued"
        assert handle.status().position > 0
    assert seen(handle.wait(60)) == [2]
    assert len(before.wait(60)) == 60


def test_a_wait_that_takes_too_long(client: Any, server: Live) -> None:
    with stuck(server):
        handle = client.submit([picture(5)])
        for timeout in (0, 0.2):
            with pytest.raises(TimeoutError, match="0 of 1 pictures have ended") as late:
                handle.wait(timeout)
            assert isinstance(late.value, errors.TimedOut)
        with pytest.raises(errors.TimedOut):
            next(handle.results(0.2))
    assert seen(handle.wait(60)) == [5]


def test_cancel(client: Any, server: Live) -> None:
    with stuck(server):
        handle = client.submit(picture(number % 100) for number in range(130))
        now = handle.cancel()
        assert now.status in {"cancelled", "completed"}
    results = handle.wait(60)
    assert len(results) == 130
    cancelled = [result for result in results if result.status == "cancelled"]
    assert len(cancelled) >= 30, "the second task had not begun"
    with pytest.raises(errors.Cancelled, match="before its turn"):
        _ = cancelled[0].detections
    assert handle.cancel().done == 130, "there is nothing more to cancel"


def test_a_cancel_that_comes_too_late_loses_nothing(client: Any) -> None:
    handle = client.submit([picture(1), b"no picture", picture(2)])
    assert len(client.task(*handle.ids).wait(60)) == 3
    assert handle.cancel() == Progress("completed", 3, 3, 1)
    first, second, third = handle.wait()
    assert seen([first, third]) == [1, 2]
    assert isinstance(second.error, errors.UnsupportedImage)
    assert client.task(*handle.ids).status().done == 3, "nothing is forgotten"


def test_cancel_from_another_thread_than_the_one_that_waits(server: Live) -> None:
    with Client(server.url) as client, ThreadPoolExecutor(1) as threads, stuck(server):
        handle = client.submit([picture(1)] * 20)
        begun = threading.Event()
        waiting = threads.submit(handle.wait, 60, lambda _: begun.set())
        assert begun.wait(60)
        handle.cancel()
        assert [result.status for result in waiting.result()] == ["cancelled"] * 20


def test_retry(client: Any, reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_policy, "_FIRST_PAUSE", 0.01)
    late = reachable / f"{time.monotonic_ns()}.png"
    good = reachable / "good.png"
    good.write_bytes(picture(6))
    handle = client.submit([good.as_uri(), late.as_uri()])
    first = handle.wait(60)
    assert [result.status for result in first] == ["completed", "error"]
    assert isinstance(first[1].error, errors.UrlFailed)
    late.write_bytes(picture(9))
    assert handle.retry().total == 2
    assert seen(handle.wait(60)) == [6, 9]


def test_what_was_no_picture_is_not_tried_again(client: Any) -> None:
    handle = client.submit([b"no picture", BROKEN])
    assert [result.status for result in handle.wait(60)] == ["error"] * 2
    handle.retry()
    results = handle.wait(60)
    assert [type(result.error) for result in results] == [
        errors.UnsupportedImage,
        errors.BrokenImage,
    ]
    assert handle.status() == Progress("error", 2, 2, 2)


def test_strict_takes_all_or_nothing(
    client: Any, server: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "_PARTING_LASTS", 60)

    def kept() -> int:
        return sum(server.context.tasks._services.store.glance().statuses.values())

    before = kept()
    with stuck(server), pytest.raises(errors.UnsupportedImage):
        client.submit([*[picture(1)] * 150, b"no picture"], strict=True)
    found = server.context.tasks._services.store.glance().statuses
    assert found.get("queued", 0) == found.get("processing", 0) == 0, "the first task is cancelled"
    assert kept() <= before + 1


def test_options_reach_the_service(client: Any) -> None:
    bright, dark = picture(99), np.full((20, 20, 3), 60, np.uint8)
    assert len(client.detect(bright, confidence=0.99).detections) == 0
    assert len(client.detect(dark, classes=["dark"]).detections) == 1
    assert len(client.detect(dark, classes="bright").detections) == 0
    assert len(client.detect(dark, classes=[1, "bright"], model="fake").detections) == 1
    results = client.submit([bright, dark], classes=["dark"], priority="high", iou=0.5).wait(60)
    assert [len(result.detections) for result in results] == [0, 1]
    with pytest.raises(errors.BadOption, match="confidence"):
        client.detect(bright, confidence=2)
    with pytest.raises(TypeError, match="no option 'priority'; there are: confidence"):
        client.detect(bright, priority="high")
    with pytest.raises(TypeError, match="no option 'timeout'"):
        client.submit(bright, timeout=3)


def test_a_callback_that_may_not_be_called(client: Any) -> None:
    with pytest.raises(errors.CallbackRefused, match="callback_url"):
        client.submit(picture(1), callback_url="http://127.0.0.1:9/")


def test_one_key_is_one_task(client: Any, kind: Kind) -> None:
    key = f"invoices-{kind}"
    several = [picture(number % 100) for number in range(120)]
    first = client.submit(several, idempotency_key=key)
    again = client.submit(several, idempotency_key=key)
    assert again.ids == first.ids
    with pytest.raises(errors.IdempotencyConflict):
        client.submit(picture(5), idempotency_key=key)
    assert seen(first.wait(60)) == seen(again.wait(60)), "a conflict cancels nothing"


def test_a_handle_is_found_again(client: Any) -> None:
    handle = client.submit([picture(1), picture(2)])
    assert seen(client.task(*handle.ids).wait(60)) == [1, 2]
    (first, _) = client.task(*handle.ids).wait()
    assert first.source == first.filename == "image-0"
    with pytest.raises(errors.UnknownTask):
        client.task("0" * 32)


def test_too_large_a_picture(client: Any) -> None:
    large = bytes(MAX_UPLOAD + 1)
    with pytest.raises(errors.UploadTooLarge):
        client.detect(picture(1) + large)
    results = client.submit([picture(1), picture(2) + large]).wait(60)
    assert isinstance(results[1].error, errors.UploadTooLarge)
    assert results[0].detections


def test_a_service_that_is_full_is_tried_until_it_is_not(kind: Kind) -> None:
    with live(max_backlog_images=5) as server, client_of(kind, server.url) as client:
        with stuck(server) as go_on:
            first = client.submit([picture(1)] * 5)
            with client_of(kind, server.url, patience=0) as hasty:
                with pytest.raises(errors.Overloaded) as refused:
                    hasty.submit([picture(2)] * 5)
                assert isinstance(refused.value, errors.TryLater)
                assert (refused.value.retry_after or 0) >= 1
            go_on.set()
            assert seen(client.submit([picture(2)] * 5).wait(60)) == [2] * 5
        assert seen(first.wait(60)) == [1] * 5


KEY = "open-sesame-open-sesame"


def test_keys(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    with live(api_keys=f"me:{KEY}") as server:
        with client_of(kind, server.url) as client, pytest.raises(errors.KeyWrong) as refused:
            client.detect(picture(1))
        assert refused.value.status == 401
        assert refused.value.retry_after is None
        with client_of(kind, server.url, api_key=KEY) as client:
            assert client.submit(picture(1)).wait(60)[0].detections
        monkeypatch.setenv("SIGHTLINE_API_KEY", KEY)
        monkeypatch.setenv("SIGHTLINE_URL", f"{server.url}/")
        with client_of(kind) as client:
            assert client.detect(picture(1)).detections


def test_too_many_requests(kind: Kind) -> None:
    def hurry(client: Any) -> None:
        for _ in range(20):
            client.detect(picture(1))

    # So long that no machine is slow enough to keep to it, and so short that it can be waited for.
    with live(rate_limit="2/hour") as server, client_of(kind, server.url, patience=0) as client:
        with pytest.raises(errors.RateLimited) as refused:
            hurry(client)
        assert refused.value.status == 429
    with live(rate_limit="2/second") as server, client_of(kind, server.url) as client:
        for _ in range(4):
            assert client.detect(picture(1)).detections


class Counting(httpx.AsyncHTTPTransport):
    """Knows how many requests were under way at most."""

    now = most = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            answer = await super().handle_async_request(request)
            await answer.aread()
        finally:
            self.now -= 1
        return answer


def test_many_at_once_from_one_event_loop(server: Live) -> None:
    counting = Counting()
    many = range(3 * AT_ONCE)

    async def main() -> list[int]:
        async with AsyncClient(server.url, transport=counting) as client:

            async def one(number: int) -> list[int]:
                return seen(await (await client.submit(picture(number))).wait(120))

            found = await asyncio.gather(*map(one, many))
        return [number for one in found for number in one]

    assert asyncio.run(main()) == list(many)
    assert 1 < counting.most <= AT_ONCE


def test_proxies_are_not_for_this_machine(
    kind: Kind, server: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with client_of(kind, server.url, patience=0) as client:
        assert client.detect(picture(1)).detections
    elsewhere = client_of(kind, "http://service.test", patience=0)
    with elsewhere as client, pytest.raises(errors.Unreachable):
        client.detect(picture(1))


def test_waiting_for_many_keeps_nobody_from_asking(
    server: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "_LONG", 60)

    async def main() -> None:
        async with AsyncClient(server.url) as client:
            with stuck(server) as go_on:
                tasks = [await client.submit(picture(1)) for _ in range(AT_ONCE + 4)]
                waiting = [asyncio.create_task(task.wait(60)) for task in tasks]
                await asyncio.sleep(0)
                now = await asyncio.wait_for(tasks[0].status(), 45)
                assert now.done == 0
                go_on.set()
            for results in await asyncio.gather(*waiting):
                assert seen(results) == [1]

    asyncio.run(main())


def test_threads_share_a_client(server: Live) -> None:
    with Client(server.url) as client, ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda number: client.detect(picture(number)).detections, range(50))
        assert [one.width for one in found] == [20 + number for number in range(50)]


def expire(server: Live, task_id: str) -> None:
    """Forget a task that has ended: nobody can tell that from SIGHTLINE_RESULT_TTL being over."""
    assert httpx.delete(f"{server.url}/result/{task_id}", timeout=60).status_code == 204


def test_results_that_have_expired(client: Any, server: Live) -> None:
    handle = client.submit(picture(1))
    assert handle.wait(60)[0].detections
    expire(server, *handle.ids)
    with pytest.raises(errors.ExpiredTask, match=handle.ids[0]):
        client.task(*handle.ids)
    assert handle.wait()[0].detections, "what is known is known"
    assert handle.status().done == handle.cancel().done == 1


@pytest.mark.parametrize("late", [False, True])
def test_an_upload_that_outlasts_results(
    kind: Kind, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 101 pictures the last comes so slowly that the results of the others expire meanwhile."""
    monkeypatch.setattr(handle, "_GLANCE", 1e9 if late else 0)
    monkeypatch.setattr(handle, "_GLANCE_LASTS", 60)
    monkeypatch.setattr(handle, "_REST", 0)

    ids: list[str] = []
    add = AsyncTaskHandle.add

    async def noting(self: AsyncTaskHandle, task_id: str, sources: Sequence[str] = ()) -> None:
        ids.append(task_id)
        await add(self, task_id, sources)

    monkeypatch.setattr(AsyncTaskHandle, "add", noting)

    class Slow(BytesIO):
        blocks = 0

        def read(self, size: int | None = -1, /) -> bytes:
            if size:
                self.blocks += 1
                if self.blocks == 2:
                    eventually(lambda: first().json()["status"] == "completed", "it ends", 60)
                if self.blocks == 6:
                    expire(server, ids[0])
            return super().read(size)

    with live(confidence=0.1, idle_timeout=60) as server, client_of(kind, server.url) as client:

        def first() -> httpx.Response:
            return httpx.get(f"{server.url}/result/{ids[0]}", timeout=60)

        slow = Slow(picture(42).ljust(2 * 2**20, b"\0"))
        results = client.submit([picture(number) for number in range(100)] + [slow]).wait(60)
    assert slow.blocks > 6
    if late:
        assert {type(result.error) for result in results[:100]} == {errors.ExpiredTask}
        assert seen(results[100:]) == [42]
    else:
        assert seen(results) == [*range(100), 42]
