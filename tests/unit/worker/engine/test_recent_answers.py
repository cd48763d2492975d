"""What is counted of hosts' answers, and for how long."""

from __future__ import annotations

from math import inf

from worker.engine.recent_answers import Tally


def _tally(key: str, times: list[float]) -> Tally:
    """Count an answer of a host at each of these times."""
    tally = Tally()
    for now in times:
        counts = tally.counts(now)
        counts[key] = counts.get(key, 0) + 1
    return tally


def test_few_answers_make_no_pace() -> None:
    few, many = _tally("a", [number / 20 for number in range(19)]), _tally("a", [number / 20 for number in range(50)])

    assert few.pace("a", 2.0) == 0
    assert 15 <= many.pace("a", 2.5) <= 25
    assert many.pace("a", 0.5) == 50, "those of half a second count as a second's"
    assert many.count("a", inf) == 0


def test_answers_are_counted_for_at_least_two_seconds_and_less_than_four() -> None:
    assert _tally("a", [0.0, 1.0, 2.5]).count("a", 2.5) == 3
    assert _tally("a", [0.0, 2.5, 5.0]).count("a", 5.0) == 2
    assert _tally("a", [0.0, 4.0]).count("a", 4.0) == 1
