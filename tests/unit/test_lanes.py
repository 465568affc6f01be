from __future__ import annotations

from collections import Counter

import pytest

from sightline import Overloaded
from sightline.serving.job import Job, LaneName
from sightline.serving.lanes import Lanes
from sightline.types import DetectOptions


def job(size: int = 1) -> Job:
    return Job(bytes(size), DetectOptions())


def lanes(max_jobs: int = 1000, max_bytes: int = 10**9) -> Lanes:
    return Lanes(max_jobs, max_bytes)


def test_first_come_first_served_within_a_lane() -> None:
    waiting = lanes()
    jobs = [job() for _ in range(5)]
    for one in jobs:
        waiting.put(one, "batch", 1)
    assert [waiting.take() for _ in range(6)] == [*jobs, None]


def test_shares_hold_under_load_and_nobody_starves() -> None:
    waiting = lanes()
    names: tuple[LaneName, ...] = ("batch", "stream", "interactive")
    lane_of = {}
    for name in names:
        for _ in range(200):
            one = job()
            lane_of[id(one)] = name
            waiting.put(one, name, 1)
    taken = Counter(lane_of[id(waiting.take())] for _ in range(130))
    assert taken == {"interactive": 80, "stream": 40, "batch": 10}


def test_an_idle_lane_earns_no_credit() -> None:
    waiting = lanes()
    for _ in range(100):
        waiting.put(job(), "interactive", 1)
        waiting.take()
    for _ in range(20):
        waiting.put(job(1), "interactive", 1)
        waiting.put(job(2), "batch", 1)
    taken = [waiting.take() for _ in range(9)]
    assert sum(one is not None and one.nbytes == 2 for one in taken) == 1


def test_bounded_in_number() -> None:
    waiting = lanes(max_jobs=2)
    waiting.put(job(), "interactive", 1)
    waiting.put(job(), "batch", 1)
    with pytest.raises(Overloaded, match="2 pictures wait") as caught:
        waiting.put(job(), "interactive", 7)
    assert caught.value.retry_after == 7
    waiting.take()
    waiting.put(job(), "interactive", 1)
    assert len(waiting) == 2


def test_bounded_in_bytes_but_one_large_picture_is_served() -> None:
    waiting = lanes(max_bytes=100)
    waiting.put(job(150), "interactive", 1)
    with pytest.raises(Overloaded):
        waiting.put(job(1), "interactive", 1)
    waiting.take()
    waiting.put(job(60), "interactive", 1)
    waiting.put(job(40), "interactive", 1)
    with pytest.raises(Overloaded):
        waiting.put(job(1), "interactive", 1)
