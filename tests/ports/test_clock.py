"""The Clock port, for the system's clock and the lane tests' fake: monotonic seconds, and the time of day."""

from __future__ import annotations

import time

import pytest

from tests.support.virtual_http import VirtualClock
from worker.adapters.clock import SystemClock
from worker.engine.ports import Clock

CLOCKS: list[Clock] = [SystemClock(), VirtualClock()]


@pytest.mark.parametrize("clock", CLOCKS, ids=["system", "fake"])
def test_its_seconds_never_decrease(clock: Clock) -> None:
    seen = [clock.now() for _ in range(1000)]

    assert seen == sorted(seen)


@pytest.mark.parametrize("clock", CLOCKS, ids=["system", "fake"])
def test_its_wall_clock_is_in_unix_seconds(clock: Clock) -> None:
    assert 1_600_000_000 < clock.wall() < 2 * time.time()


def test_the_systems_wall_clock_is_the_systems() -> None:
    before, seen, after = time.time(), SystemClock().wall(), time.time()

    assert before <= seen <= after
