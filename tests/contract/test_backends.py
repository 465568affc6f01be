"""What every backend behind the HTTP API keeps: in this process, or in another."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sightline.backend.messages import DeviceInfo
from sightline.backend.operations import OPERATIONS
from sightline.errors import (
    BadOption,
    BrokenImage,
    ConfigError,
    ImageTooLarge,
    NotAllowed,
    Overloaded,
    RateLimited,
    TooManyAtOnce,
    UnsupportedImage,
)
from support import pictures
from support.backends import GOOD, Bench, Sent, opened


@pytest.fixture(params=["local", "remote"])
def check(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Runs a scenario on an open backend of each kind."""
    for operation in OPERATIONS.values():
        if operation.timeout is not None:
            monkeypatch.setattr(operation, "timeout", 60.0)  # an engine process is busy at times

    def run(scenario: Callable[[Bench], Awaitable[None]], **options: Any) -> None:
        async def whole() -> None:
            async with asyncio.timeout(120), opened(request.param, tmp_path, **options) as bench:
                await scenario(bench)

        asyncio.run(whole())

    return run


def test_a_picture_becomes_json_or_a_picture(check: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        answer = await bench.detect()
        found = json.loads(answer.body)
        assert answer.media_type == "application/json"
        assert (answer.model, answer.digest) == ("fake", "fake")
        assert answer.device == bench.backend.device == DeviceInfo("cpu", "fake", "fp32")
        assert (found["count"], found["image"]) == (1, {"width": 64, "height": 48})
        drawn = await bench.detect(drawn=True)
        assert (drawn.media_type, drawn.body[:3]) == ("image/jpeg", b"\xff\xd8\xff")
        options: dict[str, Any] = {
            "confidence": 0.1,
            "classes": ["dark", "1"],
            "max_detections": 7,
            "iou": 0.3,
        }
        assert json.loads((await bench.detect(**options, model="fake")).body)["count"] == 0

    check(scenario)


def test_who_would_wait_too_long_is_told_before_the_picture(check: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.require_room(None)
        with pytest.raises(BadOption, match="no model 'none'"):
            await bench.require_room("none")
        bench.detector._pipeline._estimator.note(0, 4.0)
        go_on = threading.Event()
        bench.engine.before_infer = lambda _: go_on.wait(120)
        asked = [asyncio.create_task(bench.detect()) for _ in range(4)]
        while bench.detector._pipeline.predicted_wait("interactive") <= 8:
            await asyncio.sleep(0.01)
        with pytest.raises(Overloaded) as refusal:
            await bench.require_room("fake")
        assert refusal.value.retry_after > 1
        go_on.set()
        await asyncio.gather(*asked)

    check(scenario, max_wait=10)


def test_a_picture_is_closed_once_it_is_queued(check: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        entered, go_on = threading.Event(), threading.Event()

        def hold(_: Any) -> None:
            entered.set()
            go_on.wait(120)

        bench.engine.before_infer = hold
        sent = Sent(GOOD)
        asked = asyncio.create_task(bench.detect(sent))
        assert await asyncio.to_thread(entered.wait, 60)
        assert sent.closed
        assert not asked.done()
        go_on.set()
        assert (await asked).body

    check(scenario)


def test_errors_are_what_they_were(check: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(UnsupportedImage, match="text"):
            await bench.detect(b"hello, this is only a text")
        with pytest.raises(BrokenImage):
            await bench.detect(GOOD[:-40])
        with pytest.raises(BadOption, match="no model 'x'"):
            await bench.detect(model="x")
        with pytest.raises(BadOption, match="Did you mean 'bright'"):
            await bench.detect(classes=["brigth"])
        with pytest.raises(ImageTooLarge) as large:
            await bench.detect(pictures.bare_png(2000, 1000))
        assert (large.value.width, large.value.height, large.value.limit) == (2000, 1000, 10**6)
        assert (await bench.detect()).body

    check(scenario, max_pixels=10**6)


def test_a_full_queue_says_when_to_come_back(check: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        go_on = threading.Event()
        bench.engine.before_infer = lambda _: go_on.wait(120)
        asked = [asyncio.create_task(bench.detect()) for _ in range(60)]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_EXCEPTION)
        refusal = next(iter(done)).exception()
        go_on.set()
        assert isinstance(refusal, Overloaded)
        assert refusal.retry_after >= 1
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(result).__name__ for result in results} == {"DetectReply", "Overloaded"}

    check(scenario, max_queue=4)


def test_who_does_not_wait_costs_no_inference(check: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        seen, entered, go_on = list[int](), threading.Event(), threading.Event()

        def hold(images: Any) -> None:
            seen.append(len(images))
            entered.set()
            go_on.wait(120)

        bench.engine.before_infer = hold
        first = asyncio.create_task(bench.detect())
        assert await asyncio.to_thread(entered.wait, 60)
        others = [asyncio.create_task(bench.detect()) for _ in range(30)]
        while bench.waiting < 30:
            await asyncio.sleep(0.01)
        for other in others:
            other.cancel()
        await asyncio.wait(others)
        await bench.status()  # by now the other side knows
        go_on.set()
        await first
        assert (await bench.detect()).body
        assert sum(seen) == 2

    check(scenario)


def test_models_come_and_go(check: Callable[..., None], tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        status = await bench.status()
        assert [model.name for model in status.models] == ["fake"]
        assert (status.unhealthy_reasons, status.notice) == ([], "")
        source = str(tmp_path / "models" / "other.onnx")
        assert (await bench.load("other", source)).loaded
        assert json.loads((await bench.detect(model="other")).body)["model"] == "other"
        with pytest.raises(NotAllowed, match="outside"):
            await bench.load("other", "/etc/passwd")
        with pytest.raises(NotAllowed, match="default"):
            await bench.remove("fake")
        await bench.remove("other")
        with pytest.raises(BadOption, match="other"):
            await bench.remove("other")
        await bench.wake_default()
        assert len((await bench.status()).models) == 1

    check(scenario, models_folder=tmp_path / "models")


def test_a_model_that_cannot_be_loaded_is_the_operators_to_mend(
    check: Callable[..., None],
) -> None:
    async def scenario(bench: Bench) -> None:
        def refuse(name: str, source: str | None) -> Any:
            raise ConfigError(f"{source} is no model")

        bench.repository._open = refuse
        with pytest.raises(ConfigError, match=r"hf://a/b/c\.onnx is no model"):
            await bench.load("other", "hf://a/b/c.onnx")

    check(scenario)


def test_rates_are_counted(check: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.count("alice")
        await (await bench.admit("alice")).aclose()
        await bench.count("alice")
        with pytest.raises(RateLimited) as caught:
            await bench.admit("alice")
        with pytest.raises(RateLimited):
            await bench.count("alice")
        assert 1 <= caught.value.retry_after <= 61
        await bench.count("bob")

    check(scenario, rate_limit="3/minute")


def test_places_are_taken_and_given_back(check: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        first = await bench.admit("alice")
        second = await bench.admit("alice")
        await bench.count("alice")
        with pytest.raises(TooManyAtOnce) as caught:
            await bench.admit("alice")
        assert caught.value.retry_after >= 1
        await (await bench.admit("bob")).aclose()
        await first.aclose()
        third = await bench.admit("alice")
        await second.aclose()
        await third.aclose()
        await (await bench.admit("alice")).aclose()

    check(scenario, max_concurrent=2)


def test_without_limits_all_are_let_in(check: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        places = [await bench.admit("alice") for _ in range(100)]
        for place in places:
            await place.aclose()

    check(scenario)


def test_a_picture_waits_in_the_lane_that_is_named(
    check: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        lanes = []
        submit = bench.detector.submit

        def watched(*arguments: Any, **options: Any) -> Any:
            lanes.append(options["lane"])
            return submit(*arguments, **options)

        monkeypatch.setattr(bench.detector, "submit", watched)
        await bench.detect()
        await bench.detect(lane="stream")
        assert lanes == ["interactive", "stream"]

    check(scenario)


def test_status_tells_how_much_went_through(check: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        before = (await bench.status()).load
        await bench.detect()
        with pytest.raises(UnsupportedImage):
            await bench.detect(b"this never comes as far as the queue")
        after = (await bench.status()).load
        assert after.images_total - before.images_total == 1
        assert after.failed_total == before.failed_total
        assert after.queue_depth == 0
        assert after.avg_latency_ms is not None

    check(scenario)
