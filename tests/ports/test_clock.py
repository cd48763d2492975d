"""The Clock port: seconds that only grow, and the time of day."""

from __future__ import annotations

import time

from worker.adapters.clock import SystemClock
from worker.engine.ports import Clock


def test_its_seconds_only_grow() -> None:
    clock: Clock = SystemClock()

    seen = [clock.now() for _ in range(1000)]

    assert seen == sorted(seen)


def test_its_wall_clock_is_the_systems() -> None:
    clock: Clock = SystemClock()

    before, seen, after = time.time(), clock.wall(), time.time()

    assert before <= seen <= after
