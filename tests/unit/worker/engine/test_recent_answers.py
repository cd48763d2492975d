"""What is counted of hosts' answers, and for how long."""

from __future__ import annotations

from math import inf

from worker.engine.recent_answers import Tally


def test_few_answers_make_no_pace() -> None:
    tally = Tally()
    for number in range(40):
        counts = tally.counts(number / 20)
        counts["a"] = counts.get("a", 0) + 1
        if number < 19:
            counts["b"] = counts.get("b", 0) + 1

    assert 15 <= tally.pace("a", 2.0) <= 40
    assert tally.pace("b", 2.0) == 0
    assert tally.count("a", inf) == 0
