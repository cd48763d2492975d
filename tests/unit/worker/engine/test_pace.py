"""At what pace a host is asked after a pause, and how that rises."""

from __future__ import annotations

from math import inf

import pytest

from worker.engine.pace import Pace


def _starts(pace: Pace, now: float, seconds: int) -> list[int]:
    """Start whatever may start, answered at once, and count by second."""
    counts = [0] * seconds
    for step in range(seconds * 200):
        moment = now + step / 200
        if pace.reserve(moment) == 0:
            counts[step // 200] += 1
            pace.grow(moment)
    return counts


def test_a_pace_starts_below_the_one_that_worked_and_rises() -> None:
    pace = Pace(0.0)
    pace.slow_down(2.0, 50.0, is_open=True)
    pace.resume(3.0)

    starts = _starts(pace, 3.0, 3)

    assert 30 <= starts[0] <= 44 < starts[1] < starts[2] <= 48


def test_for_an_unknown_host_the_pace_starts_low_and_doubles() -> None:
    pace = Pace(0.0)
    pace.slow_down(1.0, 0.0, is_open=True)
    pace.resume(2.0)

    starts = _starts(pace, 2.0, 6)

    assert starts[0] <= 5
    assert starts[5] > 2.5 * starts[3]


def test_a_pace_falls_below_the_one_it_was_and_below_what_was_answered() -> None:
    """A pause in a row costs half of the pace; otherwise what was answered since the last one counts."""
    for answered, now, is_open, worked in [(1000, 4.0, False, 0.7), (1000, 4.0, True, 1.0), (1000, 2.5, True, 0.7)]:
        pace = Pace(0.0)
        pace.slow_down(1.0, 50.0, is_open=True)
        pace.resume(2.0)
        pace.answered = answered
        before = pace.rate
        assert pace.learned == before == pytest.approx(0.7 * 0.9 * 50)

        pace.slow_down(now, 0.0, is_open=is_open)

        assert pace.rate == pytest.approx(0.7 * 0.9 * worked * before)

    pace.resume(5.0)
    pace.answered = 10
    pace.slow_down(7.0, 0.0, is_open=True)
    assert pace.rate == pytest.approx(0.7 * 0.9 * 5.0)


def test_one_start_is_made_up_for_after_idle_time() -> None:
    pace = Pace(0.0)
    pace.slow_down(1.0, 50.0, is_open=True)
    pace.resume(2.0)

    assert sum(pace.reserve(12.0) == 0 for _ in range(10)) == 2


def test_a_requested_pause_shows_a_limit_if_it_is_not_the_only_one() -> None:
    lone, twice, rare = Pace(0.0), Pace(0.0), Pace(0.0)
    for _ in range(2):
        lone.suspect(0, 0.0)
        lone.resume(1.0)
        twice.suspect(0, 10.0)
    rare.suspect(100, 50.0)
    rare.suspect(0, 0.0)
    for pace in (twice, rare):
        pace.resume(1.0)

    assert (lone.learned, lone.rate, twice.rate, rare.rate) == (None, inf, 0.7 * 9, inf)
    twice.slow_down(2.0, 0.0, is_open=False)
    before, twice.refused = twice.rate, 5
    twice.resume(3.0)
    assert twice.rate == before


def test_an_unused_pace_does_not_rise() -> None:
    pace = Pace(0.0)
    pace.slow_down(1.0, 50.0, is_open=True)
    pace.resume(2.0)

    rates = []
    for step in range(200):
        pace.reserve(2.0 + step / 10)
        pace.grow(2.0 + step / 10)
        rates.append(pace.rate)

    assert rates[100] == rates[-1] == 45.0


def test_a_pace_learned_here_is_not_replaced_by_that_of_another_process() -> None:
    pace, fresh = Pace(0.0), Pace(0.0)
    pace.slow_down(1.0, 50.0, is_open=True)

    pace.take_over(5.0)
    fresh.take_over(5.0)

    assert pace.rate > 30
    assert fresh.rate == 5.0
