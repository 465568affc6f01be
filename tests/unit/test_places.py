"""Where a task is in the queue, and what many ask for at once."""

from __future__ import annotations

import asyncio

import pytest

from sightline.api import fresh, places
from sightline.api.fresh import Fresh
from sightline.api.places import Places


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
    positions = {"one": 100, "two": 400}

    async def position(task_id: str) -> int:
        return positions[task_id]

    async def run() -> None:
        seen = Places(position)
        assert await seen.of("one") == {"position": 100, "estimated_wait_s": None}
        clock.now += 2
        positions["one"] = 60
        assert await seen.of("one") == {"position": 60, "estimated_wait_s": 3.0}
        assert await seen.of("two") == {"position": 400, "estimated_wait_s": 20.0}
        clock.now += 2
        positions["one"] = 55  # slower now, and others were served meanwhile
        slower = (await seen.of("one"))["estimated_wait_s"]
        assert 55 / 20 < slower < 55 / 2.5
        clock.now += 0.5
        positions["one"] = 0
        assert (await seen.of("one"))["position"] == 55, "it is looked up once a second"
        clock.now += 100
        assert await seen.of("two") == {"position": 400, "estimated_wait_s": None}

    asyncio.run(run())


def test_only_some_places_are_remembered() -> None:
    async def position(_: str) -> int:
        return 1

    async def run() -> None:
        seen = Places(position)
        for number in range(3000):
            await seen.of(str(number))
        assert len(seen._places) == len(seen._seen) == 1000

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
        answer = Fresh(ask, 1.0)
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
