"""The ledger on a Redis that was emptied, is full, or forgot the scripts; and how many round trips it costs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from contract.errors import UnknownJobError
from contract.ledger.sweep import SweepFindings
from contract.ledger.values import Child, Claim
from contract.records.policy import JobPolicy
from tests.support.clocked_ledger import (
    JOB,
    Clocked,
    ClockedLedger,
    batch_of,
    claimed,
    drained,
    record_of,
    refused_report,
    report_of,
    round_trips,
)


def test_an_emptied_redis_is_noticed_by_all_callers(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1"), batch_of("2")])
    held = claimed(ledger, "1")
    ledger.empty()
    ledger.advance(100.0)

    assert ledger.job(JOB) is None
    assert ledger.jobs() == []
    assert ledger.claim(JOB, "2", holder="worker") is None
    assert not ledger.renew(held)
    assert not ledger.close(held, report_of(held))
    assert ledger.closed(JOB) == []
    with pytest.raises(UnknownJobError, match="no longer knows"):
        ledger.payloads(JOB, ["1"])
    assert ledger.swept() == (SweepFindings(), [])
    with pytest.raises(UnknownJobError, match="no longer knows"):
        ledger.open(JOB, [batch_of("3")])

    assert ledger.create(JOB, JobPolicy())
    assert ledger.open(JOB, [batch_of("1"), batch_of("2")]) == ["1", "2"]


def test_with_redis_out_of_memory_running_batches_end_and_new_ones_wait(
    client: redis.Redis, ledger: ClockedLedger, full: Callable[[], None]
) -> None:
    """Guards the order of writes in claim.lua, renew.lua and close.lua: only ending work frees memory."""
    ledger.open(JOB, [batch_of("1"), batch_of("2")])
    held = claimed(ledger, "1")

    full()

    with pytest.raises(redis.exceptions.OutOfMemoryError):
        ledger.open(JOB, [batch_of("3")])
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        ledger.store(JOB, refused_report(JOB, "4"))
    assert ledger.renew(held)
    second = claimed(ledger, "2")
    assert ledger.close(held, report_of(held))
    assert ledger.close(second, report_of(second, [], handed_off=["2.1"]), [Child(batch_of("2").payload, 1)])
    assert ledger.closed(JOB) == ["1", "2"]
    ledger.forget(JOB, ["1", "2"])
    assert record_of(ledger).open == 1


def test_scripts_are_loaded_again_after_redis_forgot_them(client: redis.Redis, ledger: ClockedLedger) -> None:
    ledger.open(JOB, [batch_of("1")])
    client.script_flush()

    assert ledger.claim(JOB, "1", holder="worker") is not None


# ---------------------------------------------------------------------------------------------- cost


def test_a_batch_costs_four_round_trips(client: redis.Redis, ledger: ClockedLedger) -> None:
    batches = [batch_of(str(number)) for number in range(1, 51)]
    ledger.open(JOB, [batch_of("99")])  # loads the script
    claimed(ledger, "99")
    ledger.close(claim := claimed_again(ledger, "99"), report_of(claim))
    drained(ledger)
    drained(ledger, forget=["99"])

    safe: list[str] = []

    def whole_job() -> None:
        ledger.open(JOB, batches)
        for each in batches:
            claim = claimed(ledger, each.batch)
            assert ledger.renew(claim)
            assert ledger.close(claim, report_of(claim))
            safe.append(drained(ledger, forget=safe[-1:]).reports[0][0])
        assert drained(ledger, forget=safe[-1:]).reports == []

    commands = round_trips(client, whole_job)

    assert len(commands) / len(batches) < 4.2, f"it was 4.04, a renewal and a drain of its own included: {commands}"


def claimed_again(ledger: Clocked, batch: str) -> Claim:
    ledger.advance(21.0)
    ledger.swept()
    claim = claimed(ledger, batch)
    assert ledger.renew(claim)
    return claim
