"""Which job comes first: by priority, by weight, and by the turns it has had when it is resumed."""

from __future__ import annotations

import pytest

from contract.errors import InputError
from contract.ledger import control
from contract.records.policy import JobPolicy
from tests.support.clocked_ledger import JOB, Clocked, batch_of, next_of, record_of


def test_a_job_of_a_higher_priority_goes_first_from_the_next_claim_on(ledger: Clocked) -> None:
    for job in ("first", "later"):
        ledger.create(job, JobPolicy())
        ledger.open(job, [batch_of(str(number)) for number in range(9)])
    assert [next_of(ledger).job for _ in range(4)].count("later") == 2

    control.prioritize(ledger, "later", 1)

    assert [next_of(ledger).job for _ in range(3)] == ["later"] * 3
    control.prioritize(ledger, "first", 2)
    assert next_of(ledger).job == "first"
    control.prioritize(ledger, "first", -1)
    assert [next_of(ledger).job for _ in range(5)] == ["later"] * 4 + ["first"]
    assert record_of(ledger, "first").priority == -1


def begun(ledger: Clocked, *jobs: str, batches: int = 9, priority: int | None = None) -> None:
    """Begin jobs, with their priority before they have anything in line."""
    for job in jobs:
        ledger.create(job, JobPolicy())
        if priority is not None:
            control.prioritize(ledger, job, priority)
        ledger.open(job, [batch_of(str(number)) for number in range(batches)])


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 0.0, -1.0, 1001.0])
def test_an_invalid_weight_is_refused(ledger: Clocked, weight: float) -> None:
    with pytest.raises(InputError, match=r"between 0\.001 and 1000"):
        control.weigh(ledger, JOB, weight)


@pytest.mark.parametrize("priority", [-10, 10])
def test_a_priority_beyond_nine_is_refused(ledger: Clocked, priority: int) -> None:
    with pytest.raises(InputError, match="between -9 and 9"):
        control.prioritize(ledger, JOB, priority)


def test_a_priority_set_before_any_batch_is_opened_counts(ledger: Clocked) -> None:
    begun(ledger, "first")
    begun(ledger, "higher", priority=3)

    assert [next_of(ledger).job for _ in range(9)] == ["higher"] * 9


def test_jobs_of_one_priority_share_turns_independently_of_others(ledger: Clocked) -> None:
    """Guards the position of each priority: a job that comes later is neither ahead of the others nor far behind."""
    begun(ledger, "low")
    next_of(ledger)
    begun(ledger, "high", batches=30, priority=1)
    begun(ledger, "high, later", batches=0, priority=1)
    for _ in range(20):
        assert next_of(ledger).job == "high"

    ledger.open("high, later", [batch_of(str(number)) for number in range(9)])
    assert 4 <= [next_of(ledger).job for _ in range(10)].count("high, later") <= 6
    begun(ledger, "low, later")
    while next_of(ledger).job.startswith("high"):
        pass
    assert 2 <= [next_of(ledger).job for _ in range(6)].count("low, later") <= 4


def test_a_resumed_job_returns_at_the_others_position_or_later(ledger: Clocked) -> None:
    begun(ledger, "more", batches=60)
    control.weigh(ledger, "more", 0.01)
    next_of(ledger)
    control.pause(ledger, "more")
    begun(ledger, "less", batches=60)
    control.pause(ledger, "less")
    begun(ledger, "always", batches=60)
    for _ in range(20):
        assert next_of(ledger).job == "always"

    control.resume(ledger, "less")
    control.resume(ledger, "more")

    claimed = [next_of(ledger).job for _ in range(20)]
    assert 9 <= claimed.count("less") <= 11, "it has saved up no turns"
    assert claimed.count("more") == 0, "and what it has had counts"


def test_a_resumed_job_keeps_its_priority(ledger: Clocked) -> None:
    begun(ledger, "low")
    ledger.advance(1.0)
    begun(ledger, "high", priority=1)
    control.pause(ledger, "high")
    next_of(ledger)

    control.resume(ledger, "high")

    assert [next_of(ledger).job for _ in range(9)] == ["high"] * 9


def test_turns_at_another_priority_do_not_count(ledger: Clocked) -> None:
    begun(ledger, "one", batches=60)
    for _ in range(50):
        next_of(ledger)
    begun(ledger, "two", batches=60, priority=1)
    for _ in range(20):
        next_of(ledger)

    control.prioritize(ledger, "one", 1)
    assert 3 <= [next_of(ledger).job for _ in range(8)].count("one") <= 5, "it is neither behind nor ahead"


def test_turns_at_another_priority_do_not_count_without_batches_in_line(ledger: Clocked) -> None:
    begun(ledger, "one", batches=50)
    for _ in range(50):
        next_of(ledger)
    begun(ledger, "two", batches=60, priority=1)

    control.prioritize(ledger, "one", 1)
    ledger.open("one", [batch_of(str(number)) for number in range(100, 120)])

    assert 3 <= [next_of(ledger).job for _ in range(8)].count("one") <= 5


def test_jobs_take_turns_once_nothing_of_a_higher_priority_waits(ledger: Clocked) -> None:
    begun(ledger, "high", batches=1, priority=1)
    begun(ledger, "large", batches=50)
    ledger.advance(1.0)
    begun(ledger, "small", batches=2)

    assert next_of(ledger).job == "high"

    assert "small" in {next_of(ledger).job for _ in range(2)}
