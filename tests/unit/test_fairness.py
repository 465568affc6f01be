"""Turns between classes, whatever comes and goes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sightline.tasks.fairness import PRIORITIES, STRIDES, Turns, ahead
from sightline.tasks.task import Priority

priorities = st.sampled_from(PRIORITIES)
queues = st.fixed_dictionaries({name: st.integers(0, 300) for name in PRIORITIES})


def fresh() -> Turns:
    return Turns(0, dict.fromkeys(PRIORITIES))


def serve(turns: Turns, waiting: dict[Priority, int]) -> Priority:
    """One claim of one image."""
    turns.leave([name for name in PRIORITIES if not waiting[name]])
    name = turns.next([name for name in PRIORITIES if waiting[name]])
    turns.serve(name)
    waiting[name] -= 1
    return name


@given(st.lists(st.tuples(priorities, st.integers(1, 30)), max_size=30), st.integers(0, 200))
def test_high_waits_for_one_of_each_other_class_at_most(
    arrivals: list[tuple[Priority, int]], begun: int
) -> None:
    turns, waiting = fresh(), dict.fromkeys(PRIORITIES, 0)
    for name, count in arrivals:
        waiting[name] += count
        for _ in range(min(begun, sum(waiting.values()))):
            serve(turns, waiting)
    while waiting["high"]:
        serve(turns, waiting)
    waiting["high"] = 1
    served = [serve(turns, waiting) for _ in range(min(3, sum(waiting.values())))]
    assert "high" in served


@given(priorities, queues, st.integers(0, 100))
def test_nobody_starves(name: Priority, waiting: dict[Priority, int], begun: int) -> None:
    """Under constant load of the others, a class is served within a round of all strides."""
    turns = fresh()
    for _ in range(min(begun, sum(waiting.values()))):
        serve(turns, waiting)
    waiting[name] += 1
    mine = waiting[name]
    for _ in range(14):
        for other in PRIORITIES:
            if other != name:
                waiting[other] += 1
        serve(turns, waiting)
    assert waiting[name] < mine


@given(st.integers(1, 20))
def test_shares_are_as_the_weights(rounds: int) -> None:
    turns, waiting = fresh(), dict.fromkeys(PRIORITIES, 10_000)
    served = Counter(serve(turns, waiting) for _ in range(13 * rounds))
    assert served == {"high": 8 * rounds, "normal": 4 * rounds, "low": rounds}


@given(priorities, st.integers(0, 300), queues)
def test_the_place_in_the_queue_is_about_right(
    name: Priority, before: int, waiting: dict[Priority, int]
) -> None:
    waiting[name] = before + 1
    told = ahead(name, before, waiting)
    turns, left = fresh(), dict(waiting)
    served = 0
    while left[name]:
        serve(turns, left)
        served += 1
    assert abs(told - (served - 1)) <= sum(STRIDES.values())
