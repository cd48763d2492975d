"""A job's open batches, and which worker holds them, as displays query them."""

from __future__ import annotations

import time

import pytest
import redis
from msgspec.structs import replace

from contract.ledger.values import Child, Held
from contract.records.batches import BatchEntry, pack_entries
from contract.records.outcomes import Ending, ErrorClass, Outcome
from contract.records.policy import JobPolicy
from tests.support.clocked_ledger import (
    Clocked,
    ClockedLedger,
    batch_of,
    claimed,
    next_of,
    record_of,
    report_of,
    round_trips,
)


@pytest.fixture(autouse=True)
def jobs(ledger: Clocked) -> None:
    for job in ("one", "other"):
        ledger.create(job, JobPolicy())


def test_held_batches_are_listed_by_worker_and_waiting_ones_counted(ledger: Clocked) -> None:
    """Guards ``elsewhere``: the batches that other jobs hold are why this one's wait."""
    ledger.open("one", [batch_of("1", "http://a/", "http://b/"), batch_of("2"), batch_of("3")])
    ledger.open("other", [batch_of("1")])
    for batch in ("1", "2"):
        claimed(ledger, batch, holder="celery@a", job="one")
    for _ in range(2):
        next_of(ledger, holder="celery@b")

    batches = ledger.open_batches("one")

    assert (batches.open, batches.running, batches.waiting) == (3, 3, 0)
    assert batches.held == {"celery@a": Held(["2", "1"], 3), "celery@b": Held(["3"], 1)}
    assert ledger.open_batches("other").elsewhere == 1 == ledger.open_batches("nowhere").elsewhere - 1


def test_deferred_batches_are_not_waiting_for_a_worker(ledger: Clocked) -> None:
    ledger.set_clock(time.time())  # outside its scripts Redis has its own
    ledger.open("one", [batch_of("1"), batch_of("2")])
    claim = claimed(ledger, "1", job="one")
    child = Child(pack_entries([BatchEntry(url="http://a/")]), 1, after=40.0)
    assert ledger.close(claim, report_of(claim, handed_off=[claim.child(1)]), [child])

    batches = ledger.open_batches("one")

    assert (batches.open, batches.running, batches.deferred, batches.waiting) == (2, 0, 1, 1)
    assert batches.due is not None
    assert 20 < batches.due <= 40


def test_querying_open_batches_takes_two_round_trips(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards the pipelines: displays query this all the time."""
    ledger.open("one", [batch_of(str(number)) for number in range(50)])
    for number in range(40):
        ledger.claim("one", str(number), holder=f"celery@{number}")

    commands = round_trips(client, lambda: ledger.open_batches("one"))

    assert (commands[0], commands[-2:]) == ("MULTI", ["EXEC", "HMGET"])


def test_a_job_counts_its_outcomes_by_error_class(ledger: Clocked) -> None:
    """Guards the counters by class: a job without a follower has no manifest to look into."""
    ledger.open("one", [batch_of("1", "http://a/", "http://b/", "http://c/"), batch_of("2", "http://d/")])
    for batch, errors in (("1", [ErrorClass.DNS, ErrorClass.DNS, None]), ("2", [ErrorClass.TIMEOUT])):
        claim = claimed(ledger, batch, job="one")
        outcomes = [
            Outcome(url=f"http://{at}/", name="0" * 32, ending=Ending.FAILED if error else Ending.OK, error=error)
            for at, error in enumerate(errors)
        ]
        assert ledger.close(claim, replace(report_of(claim), outcomes=outcomes))

    record = record_of(ledger, "one")

    assert record.errors == {"dns": 2, "timeout": 1}
    assert record.counts["failed"] == 3
