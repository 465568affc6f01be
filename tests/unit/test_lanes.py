from __future__ import annotations

import gc
import weakref
from collections import Counter

import pytest

from sightline import Overloaded
from sightline.serving.job import Job, LaneName
from sightline.serving.lanes import Lanes, Waiting
from sightline.types import DetectOptions


def job(size: int = 1) -> Job:
    return Job(bytes(size), DetectOptions())


def lanes(max_jobs: int = 1000, max_bytes: int = 10**9) -> Lanes:
    return Lanes(max_jobs, Waiting(max_bytes))


def seconds(pictures: int) -> int:
    """A picture leaves every ten seconds."""
    return 10 * pictures


def test_first_come_first_served_within_a_lane() -> None:
    waiting = lanes()
    jobs = [job() for _ in range(5)]
    for one in jobs:
        waiting.put(one, "batch", seconds)
    assert [waiting.take() for _ in range(6)] == [*jobs, None]


def test_shares_hold_under_load_and_nobody_starves() -> None:
    waiting = lanes()
    names: tuple[LaneName, ...] = ("batch", "stream", "interactive")
    lane_of = {}
    for name in names:
        for _ in range(200):
            one = job()
            lane_of[id(one)] = name
            waiting.put(one, name, seconds)
    taken = Counter(lane_of[id(waiting.take())] for _ in range(130))
    assert taken == {"interactive": 80, "stream": 40, "batch": 10}


def test_passed_over_lanes_earn_no_credit() -> None:
    waiting = lanes()
    for _ in range(50):
        waiting.put(job(1), "batch", seconds)
        waiting.put(job(2), "interactive", seconds)
    assert [one.nbytes for _ in range(20) if (one := waiting.take(background=False))] == [2] * 20
    assert [one.nbytes for _ in range(8) if (one := waiting.take())].count(1) == 1


def test_without_the_background_only_interactive_work_is_taken() -> None:
    waiting = lanes()
    waiting.put(job(), "batch", seconds)
    waiting.put(job(), "stream", seconds)
    assert waiting.take(background=False) is None
    assert waiting.take() is not None


@pytest.mark.parametrize("lane", ["interactive", "stream", "batch"])
@pytest.mark.parametrize("waits", [(0, 0, 100), (3, 0, 100), (40, 9, 2), (0, 30, 30)])
def test_what_comes_before_is_what_is_taken_before(
    lane: LaneName, waits: tuple[int, int, int]
) -> None:
    waiting = lanes()
    names: tuple[LaneName, ...] = ("interactive", "stream", "batch")
    for name, count in zip(names, waits, strict=True):
        for _ in range(count):
            waiting.put(job(), name, seconds)
    told, new = waiting.before(lane), job()
    waiting.put(new, lane, seconds)
    taken = 0
    while waiting.take() is not new:
        taken += 1
    assert taken <= told <= taken + 2, "two more at most: the order of a tie is nobody's concern"


def test_an_idle_lane_earns_no_credit() -> None:
    waiting = lanes()
    for _ in range(100):
        waiting.put(job(), "interactive", seconds)
        waiting.take()
    for _ in range(20):
        waiting.put(job(1), "interactive", seconds)
        waiting.put(job(2), "batch", seconds)
    taken = [waiting.take() for _ in range(9)]
    assert sum(one is not None and one.nbytes == 2 for one in taken) == 1


def test_bounded_in_number() -> None:
    waiting = lanes(max_jobs=2)
    waiting.put(job(), "interactive", seconds)
    waiting.put(job(), "batch", seconds)
    with pytest.raises(Overloaded, match="2 pictures wait") as caught:
        waiting.put(job(), "interactive", seconds)
    assert caught.value.retry_after == 10
    waiting.take()
    waiting.put(job(), "interactive", seconds)
    assert len(waiting) == 2


def test_bounded_in_bytes_but_one_large_picture_is_served() -> None:
    waiting = lanes(max_bytes=100)
    waiting.put(job(150), "interactive", seconds)
    with pytest.raises(Overloaded):
        waiting.put(job(1), "interactive", seconds)
    waiting.take()
    waiting.put(job(60), "interactive", seconds)
    waiting.put(job(40), "interactive", seconds)
    with pytest.raises(Overloaded):
        waiting.put(job(1), "interactive", seconds)


def test_a_refusal_for_its_bytes_says_when_enough_have_left() -> None:
    """In the order in which they will be taken, whatever lane they wait in."""
    waiting = lanes(max_bytes=100)
    order: tuple[LaneName, ...] = ("batch", "stream", "interactive", "interactive")
    for size, lane in zip((10, 10, 30, 30), order, strict=True):
        waiting.put(job(size), lane, seconds)
    with pytest.raises(Overloaded) as caught:
        waiting.put(job(60), "interactive", seconds)
    must_leave = caught.value.retry_after // 10
    for _ in range(must_leave - 1):
        waiting.take()
        with pytest.raises(Overloaded):
            waiting.put(job(60), "interactive", seconds)
    waiting.take()
    waiting.put(job(60), "interactive", seconds)


def test_two_queues_share_their_bytes_and_each_may_hold_one_picture() -> None:
    shared = Waiting(100)
    one, other = Lanes(10, shared), Lanes(10, shared)
    one.put(job(90), "interactive", seconds)
    other.put(job(90), "interactive", seconds)
    with pytest.raises(Overloaded) as caught:
        other.put(job(20), "interactive", seconds)
    assert caught.value.retry_after == 10, "alone it has a place, whatever the other queue holds"
    one.take()
    other.take()
    other.put(job(60), "interactive", seconds)
    other.put(job(40), "interactive", seconds)


def test_what_left_is_not_kept_alive_by_its_future() -> None:
    waiting = lanes()
    one = job()
    future, alive = one.future, weakref.ref(one)
    waiting.put(one, "interactive", seconds)
    del one
    gc.disable()
    try:
        waiting.take()
        assert alive() is None
    finally:
        gc.enable()
    assert not future.done()
