"""Pauses between attempts that fail."""

from __future__ import annotations

from sightline.backoff import Backoff


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 30)
    assert backoff.pause == 0
    pauses = [backoff.fail() for _ in range(9)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert backoff.pause == 30
    assert backoff.failures == 9


def test_the_first_failures_may_cost_no_pause() -> None:
    backoff = Backoff(0.5, 30, immediate=1)
    assert [backoff.fail() for _ in range(3)] == [0, 0.5, 1]


def test_a_success_begins_anew() -> None:
    backoff = Backoff(1, 60)
    backoff.fail()
    backoff.fail()
    backoff.reset()
    assert backoff.pause == 0
    assert backoff.fail() == 1


def test_failures_without_end() -> None:
    backoff = Backoff(1, 60)
    backoff.failures = 100_000
    assert backoff.fail() == 60
