"""Jobs of the first edition: finished under their own keys, in turn with ours, and at no cost once there are none."""

from __future__ import annotations

import json
from typing import cast

import pytest
import redis

from contract.errors import JobStateError, MessageError
from contract.ledger import control
from contract.ledger.values import Child
from contract.records.policy import JobPolicy
from tests.support.clocked_ledger import (
    JOB,
    ClockedLedger,
    batch_of,
    drained,
    next_of,
    record_of,
    report_of,
    round_trips,
)

OLD = "an-old-job"


class FirstLedger(ClockedLedger):
    """A ledger of the first edition; ``claim_by_name`` is what its workers did, who knew no lines of jobs."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client)
        self.keys, self.earlier = self.earlier, self.keys

    def claim_by_name(self, batch: str) -> None:
        key = self.keys.job(OLD, "batches")
        record = json.loads(cast("bytes", self._redis.hget(key, batch)))
        self._redis.hset(key, batch, json.dumps(record | {"state": "held", "token": "old", "attempts": 1}))
        self._redis.zadd(self.keys.job(OLD, "leases"), {batch: self.now() + self.lease})
        self._redis.zrem(self.keys.sent, f"{OLD}/{batch}")


@pytest.fixture
def first(client: redis.Redis, ledger: ClockedLedger) -> FirstLedger:
    """An old job with six batches, as its producer left it."""
    made = FirstLedger(client)
    made.create(OLD, JobPolicy(), label="an old list")
    policy = {name: value for name, value in JobPolicy().to_wire().items() if name != "host_patience"}
    client.hset(made.keys.job(OLD), "policy", json.dumps(policy | {"longest_retry_after": 120.0}))
    made.open(OLD, [batch_of(str(number)) for number in range(1, 7)])
    client.delete(made.keys.job(OLD, "line"), made.keys.turns)
    return made


def test_a_job_of_an_earlier_version_can_be_neither_paused_nor_cancelled(
    ledger: ClockedLedger, first: FirstLedger
) -> None:
    """Guards the refusal: its waiting batches are in no line a pause could move, and its workers know no states."""
    assert first.job(OLD) is not None
    for change in (control.pause, control.resume, control.cancel):
        with pytest.raises(JobStateError, match="started by an earlier version"):
            change(ledger, OLD)


def test_old_and_new_jobs_take_turns(ledger: ClockedLedger, first: FirstLedger) -> None:
    ledger.open(JOB, [batch_of(str(number)) for number in range(1, 7)])

    claims = [next_of(ledger) for _ in range(12)]

    assert [claim.job for claim in claims] == [JOB, OLD] * 6
    assert [claim.batch for claim in claims if claim.job == OLD] == [str(number) for number in range(1, 7)]
    assert ledger.claim_next(holder="worker", waited=0.0) is None


def test_held_batches_of_an_old_job_stay_under_its_keys(
    client: redis.Redis, ledger: ClockedLedger, first: FirstLedger
) -> None:
    claim = next_of(ledger)
    assert ledger.renew(claim)
    later = claim.kept(2, batch_of("1").payload, 1)
    names = [claim.child(1), later.batch]
    children = [Child(batch_of("1").payload, 1)]
    assert ledger.close(claim, report_of(claim, [], handed_off=names), children, kept=later)

    assert record_of(first, OLD).open == 7
    assert first.held(OLD, names) == {later.batch}
    assert ledger.close(later, report_of(later))
    assert [batch for batch, _ in drained(first, job=OLD).reports] == [claim.batch, later.batch]
    assert not client.exists(ledger.keys.job(OLD))


def test_queries_need_not_know_a_jobs_edition(client: redis.Redis, ledger: ClockedLedger, first: FirstLedger) -> None:
    assert ledger.jobs() == [OLD, JOB]
    assert record_of(ledger, OLD).label == "an old list"
    assert ledger.open(OLD, [batch_of("7")]) == ["7"]
    ledger.seal(OLD, {"urls": 7})
    assert record_of(first, OLD).is_sealed
    assert drained(ledger, job=OLD).place == "here"
    ledger.remove(OLD)

    assert first.jobs() == [JOB]
    assert not client.keys("trawl:job:*")
    assert ledger.job(OLD) is None
    ledger.create(OLD, JobPolicy())
    assert client.exists(ledger.keys.job(OLD)), "what is begun again is ours"
    assert record_of(ledger, OLD).open == 0


def test_the_sweep_includes_old_jobs_while_there_are_any(
    client: redis.Redis, ledger: ClockedLedger, first: FirstLedger
) -> None:
    first.claim_by_name("1")
    ledger.advance(21.0)
    client.set(first.keys.watched, b"1")

    findings, sent = ledger.swept()

    assert findings.again == {OLD: ["1"]}
    assert sorted(sent) == [f"{OLD}/{number}" for number in range(1, 7)]
    assert round_trips(client, ledger.swept).count("EVALSHA") == 2
    first.remove(OLD)
    assert round_trips(client, ledger.swept).count("EVALSHA") == 1


def test_a_worn_old_batch_is_split_under_its_own_keys(
    client: redis.Redis, ledger: ClockedLedger, first: FirstLedger
) -> None:
    first.remove(OLD)
    first.create(OLD, JobPolicy())
    first.open(OLD, [batch_of("1", "http://a.test/", "http://b.test/")])
    for _ in range(5):
        next_of(ledger)
        ledger.advance(21.0)
        client.delete(first.keys.sweeping)
        client.set(first.keys.watched, b"1")
        findings, _ = ledger.swept()

    assert findings.split == {OLD: ["1"]}
    assert record_of(first, OLD).open == 2


def test_messages_count_for_both_editions(client: redis.Redis, first: FirstLedger) -> None:
    ledger = ClockedLedger(client, queue=["trawl:trawl"])
    ours = b'{"headers": {"task": "trawlnet.batch"}}'
    client.lpush("trawl:trawl", *[ours] * 6)

    assert ledger.open(JOB, [batch_of("1"), batch_of("2")]) == ["1", "2"], "six are the old job's"

    client.lpush("trawl:trawl", ours)
    next_of(ledger)
    assert client.llen("trawl:trawl") == 7
    assert ledger.count_waiting() == 7
    _, sent = ledger.swept(waiting=7, lost_after=0.0)
    assert sent == [], "none is missing"
    client.delete(ledger.earlier.sweeping)
    _, sent = ledger.swept(waiting=4, lost_after=0.0)
    assert len(sent) == 4, "one that waits of ours, and three of the six others"


def test_a_batch_an_old_worker_claimed_blocks_no_other(ledger: ClockedLedger, first: FirstLedger) -> None:
    """Guards the state that ``is_claimable`` checks: an old worker removes nothing from a job's line."""
    ledger.open(OLD, [batch_of("8"), batch_of("9")])
    first.claim_by_name("8")

    claims = [next_of(ledger) for _ in range(7)]

    assert sorted(claim.batch for claim in claims) == ["1", "2", "3", "4", "5", "6", "9"]
    assert ledger.claim_next(holder="worker", waited=0.0) is None


def test_old_jobs_continue_if_ours_cannot_be_read(
    client: redis.Redis, ledger: ClockedLedger, first: FirstLedger
) -> None:
    ledger.open(JOB, [batch_of("1")])
    client.hset(ledger.keys.job(JOB), "policy", b'{"version": 99}')

    assert [next_of(ledger).job for _ in range(6)] == [OLD] * 6

    with pytest.raises(MessageError, match="run the same Trawlnet"):
        ledger.claim_next(holder="worker", waited=0.0)


def test_once_there_are_no_old_jobs_a_claim_is_one_round_trip(
    client: redis.Redis, ledger: ClockedLedger, first: FirstLedger
) -> None:
    first.remove(OLD)
    ledger.open(JOB, [batch_of("1"), batch_of("2")])

    assert round_trips(client, lambda: next_of(ledger)) == ["EVALSHA"]
    claim = next_of(ledger)
    assert round_trips(client, lambda: ledger.renew(claim)) == ["EVALSHA"]
    assert round_trips(client, lambda: ledger.claim_next(holder="worker", waited=0.0)) == ["EVALSHA"]
