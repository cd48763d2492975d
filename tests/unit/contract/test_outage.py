"""An outage is reported once, repeatedly while it lasts if wanted, and once when it is over."""

from __future__ import annotations

import math

import pytest

from contract.outage import Outage


@pytest.mark.parametrize(("repeat", "reported"), [(math.inf, [0]), (30.0, [0, 30, 60])])
def test_a_lasting_outage_is_reported_as_often_as_asked(repeat: float, reported: list[int]) -> None:
    times = iter(range(0, 90, 10))
    outage = Outage(repeat=repeat, clock=lambda: next(times))

    assert [second for second in range(0, 90, 10) if outage.begin()] == reported


def test_its_end_is_reported_once_with_its_length_and_the_next_is_separate() -> None:
    now = 5.0
    outage = Outage(clock=lambda: now)
    assert outage.end() is None, "nothing has failed yet"
    assert outage.begin()
    now = 12.0

    assert (outage.begin(), outage.end(), outage.end(), outage.begin()) == (False, 7.0, None, True)
