from __future__ import annotations

import pytest

from sightline.backend.throttle import RefusalThrottle


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("sightline.backend.throttle.time.monotonic", lambda: now[0])
    return now


def test_a_few_refusals_go_at_once(clock: list[float]) -> None:
    throttle = RefusalThrottle(longest=2)
    assert [throttle.delay() for _ in range(20)] == [0] * 20


def test_a_storm_goes_at_a_steady_rate_and_none_waits_for_ever(clock: list[float]) -> None:
    throttle = RefusalThrottle(longest=2)
    delays = [throttle.delay() for _ in range(200)]
    assert delays[20:24] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert max(delays) == delays[-1] == 2
    clock[0] += 1.5
    assert throttle.delay() == pytest.approx(0.55)
    clock[0] += 10
    assert [throttle.delay() for _ in range(20)] == [0] * 20, "it is forgotten"
