"""Workers' trouble is reported when it begins and when it is over."""

from __future__ import annotations

import pytest

from contract.ledger.health import Trouble
from producer.job.troubles import Troubles

FULL = Trouble("The disk is full (ENOSPC).")
SHORT = Trouble("The disk has space for smaller bodies.", takes_work=True)


@pytest.fixture
def told() -> list[str]:
    return []


def test_trouble_is_reported_once_and_when_it_is_over(told: list[str]) -> None:
    """Guards the comparison with what is known: a full disk would be reported every two seconds."""
    troubles = Troubles(told.append)

    for found in ({}, {"celery@a": FULL}, {"celery@a": FULL}, {"celery@a": FULL, "celery@b": SHORT}, {}):
        troubles.update(found)

    assert told == [
        "Worker celery@a takes no work: The disk is full (ENOSPC).",
        "Worker celery@b is short of space: The disk has space for smaller bodies.",
        "Worker celery@a takes work again.",
        "Worker celery@b has space again.",
    ]


def test_our_own_worker_needs_no_name(told: list[str]) -> None:
    Troubles(told.append, is_own=True).update({"trawl@embedded": FULL})

    assert told == ["The worker takes no work: The disk is full (ENOSPC)."]


def test_of_many_workers_a_few_are_named(told: list[str]) -> None:
    Troubles(told.append).update({f"celery@{number}": FULL for number in range(10)})

    assert len(told) == 4
    assert told[-1] == "... and 7 more workers."
