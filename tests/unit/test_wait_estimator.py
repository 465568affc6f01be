"""What is told of a wait follows what pictures really take."""

import pytest

from sightline.serving import wait_estimator
from sightline.serving.wait_estimator import WaitEstimator


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(wait_estimator, "perf_counter", clock)
    return clock


def run(measured: WaitEstimator, clock: Clock, pictures: int, every: float, *, busy: bool) -> None:
    """Pictures of 0.1 s in the engine go through, one `every` so many seconds."""
    for _ in range(pictures):
        clock.now += every
        measured.note(0.0, 0.1)
        measured.leave(busy)


def test_the_slower_stage_sets_the_pace(clock: Clock) -> None:
    measured = WaitEstimator(workers=2, streams=1, batch=1)
    run(measured, clock, 50, 5.0, busy=False)
    assert measured.seconds(10) == pytest.approx(1.0)
    for _ in range(200):
        measured.note(0.4, 0.1)
    assert measured.seconds(10) == pytest.approx(2.0, rel=0.01)


def test_what_is_lost_between_pictures_counts_while_there_is_more_to_do(clock: Clock) -> None:
    measured = WaitEstimator(workers=2, streams=1, batch=1)
    run(measured, clock, 100, 0.13, busy=True)
    assert measured.seconds(10) == pytest.approx(1.3, rel=0.01)


def test_time_without_pictures_is_nobodys(clock: Clock) -> None:
    measured = WaitEstimator(workers=2, streams=1, batch=1)
    run(measured, clock, 100, 0.1, busy=True)
    run(measured, clock, 1, 0.1, busy=False)
    clock.now += 3600
    run(measured, clock, 10, 0.1, busy=True)
    assert measured.seconds(10) == pytest.approx(1.0, rel=0.01)


def test_a_pause_of_the_machine_does_not_close_the_service(clock: Clock) -> None:
    measured = WaitEstimator(workers=2, streams=1, batch=1)
    run(measured, clock, 100, 0.1, busy=True)
    clock.now += 3600
    measured.leave(True)
    assert measured.seconds(10) <= 2.0
