"""The overview: every open batch is counted in one state, and only those a worker could claim are claimable."""

from __future__ import annotations

import pytest
import redis

from contract.ledger.control import pause, resume
from contract.ledger.hosts import exchange
from contract.ledger.overview import look
from contract.ledger.values import Child
from contract.records.hosts import HostState
from contract.records.policy import JobPolicy
from tests.support.clocked_ledger import JOB, ClockedLedger, batch_of, claimed, next_of, report_of, round_trips


def test_an_empty_ledger_has_nothing(client: redis.Redis) -> None:
    seen = look(ClockedLedger(client))

    assert (seen.claimable, seen.held, seen.deferred, seen.paused, seen.undrained) == (0, 0, 0, 0, 0)
    assert (seen.jobs, seen.active_jobs, seen.paused_jobs, seen.paused_hosts) == (0, 0, 0, 0)
    assert (seen.oldest_wait, seen.last_claim) == (0.0, None)


def test_batches_of_all_jobs_are_counted_by_state(ledger: ClockedLedger) -> None:
    ledger.open(JOB, [batch_of(str(number), f"http://a.test/{number}") for number in range(1, 6)])
    ledger.create("another", JobPolicy())
    ledger.advance(7.0)
    ledger.open("another", [batch_of("1", "http://b.test/1")])
    claimed(ledger, "1")
    handed_off = claimed(ledger, "2")
    child = Child(handed_off.payload, 1, after=60.0)
    assert ledger.close(handed_off, report_of(handed_off, handed_off=[handed_off.child(1)]), [child])
    ledger.advance(3.0)

    seen = look(ledger)

    assert (seen.claimable, seen.held, seen.deferred, seen.undrained) == (4, 1, 1, 1)
    assert (seen.jobs, seen.active_jobs, seen.paused_jobs) == (2, 2, 0)
    assert seen.oldest_wait == pytest.approx(10.0)
    assert seen.last_claim == pytest.approx(ledger.now() - 3.0)


def test_parked_batches_are_not_claimable(client: redis.Redis, ledger: ClockedLedger) -> None:
    ledger.open(JOB, [batch_of("1")])
    client.zadd(ledger.keys.job(JOB, "parcels"), {"host.test 2": 0, "host.test 3": 0})

    assert (look(ledger).claimable, look(ledger).parked) == (1, 2)


def test_a_finished_job_that_is_not_collected_has_undrained_batches(ledger: ClockedLedger) -> None:
    ledger.open(JOB, [batch_of("1")])
    claim = next_of(ledger)
    ledger.close(claim, report_of(claim))
    ledger.seal(JOB, {"lines": 1})

    seen = look(ledger)

    assert (seen.claimable, seen.undrained, seen.jobs, seen.active_jobs) == (0, 1, 1, 0)


def test_batches_of_a_paused_job_are_not_claimable_while_still_in_line(
    client: redis.Redis, ledger: ClockedLedger
) -> None:
    """Guards the line of a job paused a moment ago: its batches are set aside in steps."""
    ledger.open(JOB, [batch_of(str(number)) for number in range(1, 6)])
    ledger.create("another", JobPolicy())
    ledger.open("another", [batch_of("1")])
    client.hset(ledger.keys.job(JOB), "state", "paused")

    seen = look(ledger)

    assert (seen.claimable, seen.paused, seen.paused_jobs) == (1, 5, 1)


def test_batches_set_aside_count_as_paused_until_the_job_is_resumed(ledger: ClockedLedger) -> None:
    ledger.open(JOB, [batch_of(str(number)) for number in range(1, 6)])
    pause(ledger, JOB)
    ledger.swept(waiting=0)  # takes a paused job at rest out of the active ones

    seen = look(ledger)
    resume(ledger, JOB)

    assert (seen.claimable, seen.paused, seen.paused_jobs) == (0, 5, 1)
    assert (look(ledger).claimable, look(ledger).paused) == (5, 0)


def test_jobs_of_the_first_edition_count_too(client: redis.Redis, ledger: ClockedLedger) -> None:
    ledger.open(JOB, [batch_of("1")])
    client.zadd(ledger.earlier.jobs, {"old": 1.0})
    client.sadd(ledger.earlier.active, "old")
    client.zadd(ledger.earlier.sent, {"old/1": ledger.now() - 50.0, "old/2": ledger.now()})
    client.zadd(ledger.earlier.job("old", "leases"), {"3": ledger.now()})

    seen = look(ledger)

    assert (seen.claimable, seen.held, seen.jobs, seen.active_jobs) == (3, 1, 2, 2)
    assert seen.oldest_wait == pytest.approx(50.0)


def test_paused_hosts_are_counted(ledger: ClockedLedger) -> None:
    states = [HostState(f"{number}.test:443", 30.0 * number) for number in (1, 2)]
    exchange(ledger, 0, states, [])

    assert look(ledger).paused_hosts == 2
    ledger.advance(31.0)
    assert look(ledger).paused_hosts == 1


def test_the_overview_is_one_call_and_changes_nothing(client: redis.Redis, ledger: ClockedLedger) -> None:
    ledger.open(JOB, [batch_of("1")])
    before = {key: client.dump(key) for key in client.scan_iter()}

    assert round_trips(client, lambda: look(ledger)) == ["EVALSHA"]
    assert {key: client.dump(key) for key in client.scan_iter()} == before
