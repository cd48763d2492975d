"""Which job comes first: one of a higher priority, and none for having been paused; invalid weights are refused."""

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


def test_a_resumed_job_has_saved_no_turns(ledger: Clocked) -> None:
    for job in ("paused", "always"):
        ledger.create(job, JobPolicy())
        ledger.open(job, [batch_of(str(number)) for number in range(60)])
    control.pause(ledger, "paused")
    for _ in range(20):
        assert next_of(ledger).job == "always"

    control.resume(ledger, "paused")

    assert 9 <= [next_of(ledger).job for _ in range(20)].count("paused") <= 11


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 0.0, -1.0, 1001.0])
def test_an_invalid_weight_is_refused(ledger: Clocked, weight: float) -> None:
    with pytest.raises(InputError, match=r"between 0\.001 and 1000"):
        control.weigh(ledger, JOB, weight)


@pytest.mark.parametrize("priority", [-10, 10])
def test_a_priority_beyond_nine_is_refused(ledger: Clocked, priority: int) -> None:
    with pytest.raises(InputError, match="between -9 and 9"):
        control.prioritize(ledger, JOB, priority)
