"""Where a task is in the queue, and what many ask for at once."""

from __future__ import annotations

import asyncio

import pytest

from sightline.api.tasks import positions as places
from sightline.api.tasks import ttl_cache as fresh
from sightline.api.tasks.positions import Positions
from sightline.api.tasks.ttl_cache import TTLCache


class Clock:
    """Time goes by when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in (fresh, places):
            monkeypatch.setattr(module, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_the_wait_follows_from_how_the_queue_moves(clock: Clock) -> None:
    queue = {"one": 100, "two": 400}
    looks = []

    async def positions() -> dict[str, int]:
        looks.append(clock.now)
        return dict(queue)

    async def run() -> None:
        seen = Positions(positions)
        assert await seen.of("one") == {"position": 100, "estimated_wait_s": None}
        clock.now += 2
        queue.update(one=60, two=360)
        assert await seen.of("one") == {"position": 60, "estimated_wait_s": 3.0}
        assert await seen.of("two") == {"position": 360, "estimated_wait_s": 18.0}
        clock.now += 2
        queue.update(one=55, two=355)  # slower now
        slower = (await seen.of("one"))["estimated_wait_s"]
        assert 55 / 20 < slower < 55 / 2.5
        clock.now += 0.5
        queue.update(one=0)
        assert (await seen.of("one"))["position"] == 55, "the queue is looked at once a second"
        queue.update(one=55)
        clock.now += 100
        assert await seen.of("two") == {"position": 355, "estimated_wait_s": None}
        assert len(looks) == 4, "however many ask"

    asyncio.run(run())


def test_who_has_just_come_is_found(clock: Clock) -> None:
    queue = {"one": 0}

    async def positions() -> dict[str, int]:
        return dict(queue)

    async def run() -> None:
        seen = Positions(positions)
        await seen.of("one")
        queue["two"] = 7
        assert (await seen.of("two"))["position"] == 7
        assert (await seen.of("gone"))["position"] == 0

    asyncio.run(run())


def test_many_who_ask_at_once_share_an_answer(clock: Clock) -> None:
    asked = []

    async def ask() -> int:
        asked.append(clock.now)
        await asyncio.sleep(0)
        if len(asked) == 2:
            raise OSError
        return len(asked)

    async def run() -> None:
        answer = TTLCache(ask, 1.0)
        first = asyncio.create_task(answer.get())
        await asyncio.sleep(0)
        first.cancel()  # whoever asked first may leave
        assert await asyncio.gather(*(answer.get() for _ in range(50))) == [1] * 50
        clock.now += 1.1
        failed = await asyncio.gather(*(answer.get() for _ in range(50)), return_exceptions=True)
        assert {type(one) for one in failed} == {OSError}
        clock.now += 1.1
        assert await answer.get() == 3
        answer.forget()
        assert await answer.get() == 4

    asyncio.run(run())
