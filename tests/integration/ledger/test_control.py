"""A paused, resumed or cancelled job: what is claimed afterwards, what is kept, and how each URL ends."""

from __future__ import annotations

import pytest
import redis

from contract.errors import CancelledJobError, JobStateError, UnknownJobError
from contract.ledger import control
from contract.ledger.values import Child, JobState
from contract.records.outcomes import Ending, ErrorClass
from contract.records.policy import JobPolicy
from tests.support.clocked_ledger import (
    JOB,
    Clocked,
    ClockedLedger,
    batch_of,
    claimed,
    next_of,
    record_of,
    refused_report,
    report_of,
    stored,
)

TOTALS = {"lines": 1, "duplicates": 0, "refused": 0, "urls": 1}


def overdue(ledger: Clocked, *batches: str) -> None:
    """Have these lost once, so that they go before all others."""
    for batch in batches:
        claimed(ledger, batch)
    ledger.advance(ledger.lease + 1)
    ledger.swept(waiting=100)


def waiting(ledger: Clocked) -> list[str]:
    return [f"{message.job}/{message.batch}" for message in ledger.longest_waiting(100)]


def test_no_batch_of_a_paused_job_is_claimed_but_those_of_others_are(
    client: redis.Redis, ledger: ClockedLedger
) -> None:
    """Guards the states in claim.lua, and control.lua's lines: in turn, overdue, by name."""
    ledger.create("another", JobPolicy())
    ledger.open("another", [batch_of("1")])
    next_of(ledger)
    ledger.open(JOB, [batch_of("1"), batch_of("2"), batch_of("3")])
    overdue(ledger, "1")

    assert control.pause(ledger, JOB)

    assert waiting(ledger) == ["another/1"]
    assert client.zrange("trawl:2:overdue", 0, -1) == [b"another/1"]
    assert ledger.open(JOB, [batch_of("2")]) == [], "it wants no message"
    assert ledger.claim(JOB, "2", holder="late") is None
    assert next_of(ledger).job == "another"
    assert ledger.claim_next(holder="worker", waited=0.0) is None
    assert (record_of(ledger).state, record_of(ledger).open, record_of(ledger).is_paused) == (JobState.PAUSED, 3, True)


def test_a_paused_jobs_batch_outside_its_line_blocks_no_other(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards the state check of batches in no job's line, which all batches of the first edition are."""
    ledger.create("another", JobPolicy())
    for job in (JOB, "another"):
        ledger.open(job, [batch_of("1")])
        client.delete(f"trawl:2:job:{job}:line")
    client.delete("trawl:2:turns")
    control.pause(ledger, JOB)

    assert next_of(ledger).job == "another"
    assert ledger.claim_next(holder="worker", waited=0.0) is None


def test_a_resumed_job_keeps_its_order(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1"), batch_of("2"), batch_of("3")])
    overdue(ledger, "2")
    control.pause(ledger, JOB)
    ledger.open(JOB, [batch_of("4")])
    assert waiting(ledger) == []
    assert control.settle(ledger, JOB, holder="somebody") == 0, "that ends what is cancelled"

    assert control.resume(ledger, JOB)

    assert [next_of(ledger).batch for _ in range(4)] == ["2", "1", "3", "4"]
    assert record_of(ledger).state is JobState.RUNNING


def test_batches_handed_back_of_a_paused_job_are_put_aside(ledger: Clocked) -> None:
    """Guards the state in close.lua."""
    ledger.open(JOB, [batch_of("1", "http://h.test/1", "http://h.test/2")])
    claim = next_of(ledger)
    control.pause(ledger, JOB)

    child = Child(batch_of("x", "http://h.test/2").payload, 1)
    assert ledger.close(claim, report_of(claim, ["http://h.test/1"], handed_off=[claim.child(1)]), [child])

    assert ledger.claim_next(holder="worker", waited=0.0) is None
    assert not waiting(ledger)
    control.resume(ledger, JOB)
    assert next_of(ledger).batch == claim.child(1)


def test_batches_lost_while_their_job_is_paused_are_neither_sent_nor_split(ledger: Clocked) -> None:
    """Guards the states in sweep.lua."""
    ledger.open(JOB, [batch_of("1", "http://h.test/1", "http://h.test/2"), batch_of("2")])
    for _ in range(4):
        overdue(ledger, "1")
    claimed(ledger, "1")
    control.pause(ledger, JOB)
    ledger.advance(3600.0)

    findings, sent = ledger.swept(waiting=0)

    assert (findings.again, findings.split, sent, waiting(ledger)) == ({}, {}, [], [])
    assert record_of(ledger).running == 0
    control.resume(ledger, JOB)
    assert next_of(ledger).batch == "2", "the other is worn: the sweep splits it"
    assert ledger.swept(waiting=100)[0].split == {JOB: ["1"]}


def test_a_paused_job_does_not_expire(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards PERSIST: at once, and whatever happens to the job while it is paused."""
    ledger.open(JOB, [batch_of(str(number), "http://h.test/1", "http://h.test/2") for number in range(1, 5)])
    first, second, third = (next_of(ledger) for _ in range(3))
    ledger.close(first, report_of(first))

    control.pause(ledger, JOB)

    ledger.open(JOB, [batch_of("5")])
    ledger.store(JOB, refused_report(JOB, "6"))
    children = [Child(batch_of("x").payload, 1), Child(batch_of("y").payload, 1, after=9.0)]
    ledger.close(second, report_of(second, [], handed_off=[second.child(1), second.child(2)]), children)
    ledger.seal(JOB, TOTALS)
    reports = list(client.keys("celery-task-meta-*"))
    kept = [*client.keys(f"trawl:2:job:{JOB}*"), *reports]
    assert len(reports) == 3
    assert len(kept) == 10, "nothing of it is missing here"
    assert {client.ttl(key) for key in kept} == {-1}
    ledger.renew(third)
    ledger.swept()
    assert {client.ttl(key) for key in kept} == {-1}, "a lease that is renewed is kept by the sweep"

    control.resume(ledger, JOB)

    assert all(client.ttl(key) > 0 for key in [*client.keys(f"trawl:2:job:{JOB}*"), *reports])


def test_a_paused_job_without_held_batches_needs_no_worker(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards what autoscalers count: claimable batches, and jobs that need a worker to sweep them."""
    ledger.open(JOB, [batch_of("1"), batch_of("2"), batch_of("3")])
    claim, lost = next_of(ledger), next_of(ledger)
    control.pause(ledger, JOB)
    ledger.swept()
    assert client.smembers("trawl:2:active") == {JOB.encode()}, "a lease is to be ended"

    ledger.close(claim, report_of(claim, [], handed_off=[claim.child(1)]), [Child(claim.payload, 1, after=60.0)])
    ledger.advance(ledger.lease + 1)
    ledger.swept()
    ledger.swept()

    assert (client.smembers("trawl:2:active"), ledger.count_waiting()) == (set(), 0)
    control.resume(ledger, JOB)
    ledger.advance(60.0)
    ledger.swept()
    assert {next_of(ledger).batch for _ in range(3)} == {lost.batch, "3", claim.child(1)}


def test_claims_and_closes_return_the_number_of_changes(ledger: ClockedLedger) -> None:
    """Guards the numbers that claim.lua and close.lua return: workers query nothing else."""
    ledger.open(JOB, [batch_of("1"), batch_of("2")])
    first, second = next_of(ledger), next_of(ledger)
    assert ledger.changes.number == 0
    other = ClockedLedger(ledger._redis)
    other.create("another", JobPolicy())
    other.open("another", [batch_of("1")])

    control.pause(other, "another")
    ledger.close(first, report_of(first))
    assert ledger.changes.number == 1
    control.resume(other, "another")
    claim = next_of(ledger)
    assert (claim.job, claim.changes, ledger.changes.number) == ("another", 2, 2)
    control.cancel(other, "another")
    assert ledger.claim_next(holder="worker", waited=0.0) is None
    assert ledger.changes.number == 3
    assert not ledger.close(first, report_of(first, worker="late"))
    assert ledger.close(second, report_of(second))
    assert ledger.states(["another"]) == {"another": JobState.CANCELLED}
    assert ledger.changes.number == 3


def test_expired_batches_aside_are_skipped_when_the_job_is_resumed(client: redis.Redis, ledger: ClockedLedger) -> None:
    ledger.open(JOB, [batch_of("1"), batch_of("2")])
    control.pause(ledger, JOB)
    client.hdel(f"trawl:2:job:{JOB}:batches", "1")

    control.resume(ledger, JOB)

    assert (ledger.count_waiting(), next_of(ledger).batch) == (1, "2")


def test_many_batches_are_moved_in_steps_and_the_sweep_moves_the_rest(
    client: redis.Redis, ledger: ClockedLedger
) -> None:
    """Guards the sweep's check for batches that a killed command had not moved yet."""
    ledger.open(JOB, [batch_of(str(number)) for number in range(1, 1203)])
    keys = ledger.keys
    shared = [keys.sent, keys.overdue, keys.turns, keys.taken, keys.priorities, keys.active]

    for wanted, first_step, expected in (("paused", 702, 0), ("running", 500, 1202)):
        mine = keys.parts(JOB, "", "batches", "line", "aside")
        ledger.call("control", [*mine, *shared], [JOB, wanted, "", 500, ledger.keep])
        assert ledger.count_waiting() == first_step
        if wanted == "paused":
            assert ledger.claim(JOB, "1202", holder="early") is None
            ledger.create("another", JobPolicy())
            ledger.open("another", [batch_of("0")])
            other = next_of(ledger)
            assert other.job == "another", "nothing of the one keeps the others waiting"
            assert ledger.close(other, report_of(other))
            assert ledger.claim_next(holder="early", waited=0.0) is None

        ledger.advance(10.0)
        ledger.swept(waiting=10_000)

        assert ledger.count_waiting() == expected
    assert client.zcard(f"trawl:2:job:{JOB}:line") == 1202
    assert control.pause(ledger, JOB)
    assert ledger.count_waiting() == 0


def test_a_cancelled_job_ends_without_a_worker_and_opens_no_more_batches(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1", "http://h.test/1", "http://h.test/2"), batch_of("2")])

    assert control.cancel(ledger, JOB)

    with pytest.raises(CancelledJobError, match="is cancelled"):
        ledger.open(JOB, [batch_of("3")])
    assert ledger.claim_next(holder="worker", waited=0.0) is None
    assert control.settle(ledger, JOB, holder="somebody") == 3
    outcomes = [*stored(ledger, "1").outcomes, *stored(ledger, "2").outcomes]
    assert {(each.ending, each.error) for each in outcomes} == {(Ending.FAILED, ErrorClass.CANCELLED)}
    record = record_of(ledger)
    assert (record.counts["failed"], record.open, record.is_finished, record.is_sealed) == (3, 0, True, False)
    ledger.seal(JOB, TOTALS)
    assert not control.cancel(ledger, JOB), "it was before"
    for change in (control.pause, control.resume):
        with pytest.raises(JobStateError, match="cancelled"):
            change(ledger, JOB)


def test_a_process_that_ends_cancelled_batches_may_die(ledger: Clocked) -> None:
    """Guards the lease of withdraw.lua: batches that were claimed to be ended, and were not, are claimed again."""
    ledger.open(JOB, [batch_of("1")])
    control.cancel(ledger, JOB)
    assert ledger.withdraw(JOB, holder="killed", most=20)
    assert control.settle(ledger, JOB, holder="somebody") == 0

    ledger.advance(ledger.lease + 1)

    assert ledger.swept()[0].cancelled == 1


def test_overdue_batches_are_set_aside_too(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards the count of moved batches: overdue ones are moved in addition to a full step of the others."""
    ledger.open(JOB, [batch_of(str(number)) for number in range(1, 604)])
    overdue(ledger, "1", "2", "3")

    control.pause(ledger, JOB)

    assert (client.zcard(ledger.keys.job(JOB, "line")), client.zcard(ledger.keys.job(JOB, "aside"))) == (0, 603)


def test_changing_an_unknown_or_finished_job_is_an_error(ledger: Clocked) -> None:
    for change in (control.pause, control.resume, control.cancel):
        with pytest.raises(UnknownJobError):
            change(ledger, "unheard-of")
    with pytest.raises(UnknownJobError):
        control.prioritize(ledger, "unheard-of", 1)
    with pytest.raises(UnknownJobError):
        control.weigh(ledger, "unheard-of", 2.0)
    ledger.seal(JOB, TOTALS)
    for change in (control.pause, control.cancel):
        with pytest.raises(JobStateError, match="finished"):
            change(ledger, JOB)
    assert control.settle(ledger, "unheard-of", holder="somebody") == 0
    assert ledger.states([JOB, "unheard-of"]) == dict.fromkeys([JOB, "unheard-of"], JobState.RUNNING)
