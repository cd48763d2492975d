"""A job in the ledger: created, opened, sealed, removed and expired, also at the wrong time and more than once."""

from __future__ import annotations

from typing import cast

import pytest
import redis

from contract.errors import UnknownJobError
from contract.ledger.values import Child
from contract.records.messages import BatchMessage
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
    round_trips,
    stored,
)

SINGLETONS = {b"trawl:2:jobs", b"trawl:2:active", b"trawl:2:taken", b"trawl:2:watched", b"test-clock"}


def test_a_job_is_created_once_and_stays_as_created(ledger: Clocked) -> None:
    assert not ledger.create(JOB, JobPolicy(timeout=1.0), label="another list", secrets=b"x")

    record = record_of(ledger)
    assert (record.label, record.policy) == ("a list", JobPolicy())
    assert ledger.jobs() == [JOB]
    assert not record.is_sealed


def test_a_job_is_created_in_one_transaction(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Half a job, left by a kill, could neither be used (no record) nor created again (it exists)."""
    commands = round_trips(client, lambda: ledger.create("another", JobPolicy(), label="x"))

    assert (commands[0], commands[-1]) == ("MULTI", "EXEC")


def test_opening_twice_changes_nothing(ledger: Clocked) -> None:
    batches = [batch_of("1"), batch_of("2"), batch_of("3")]
    assert ledger.open(JOB, batches) == ["1", "2", "3"]
    claimed(ledger, "1")
    done = claimed(ledger, "2")
    ledger.close(done, report_of(done))

    again = ledger.open(JOB, [*batches, batch_of("4")])

    assert again == ["3", "4"], "held and closed batches want no message"
    assert record_of(ledger).open == 3


def test_opening_asks_only_for_missing_messages(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards the count of open.lua: each restart of a producer would send a message for every batch again."""
    counting = ClockedLedger(client, queue=("trawl:trawl", "trawl:another"))
    batches = [batch_of("1"), batch_of("2"), batch_of("3")]
    assert counting.open(JOB, batches) == ["1", "2", "3"]

    client.lpush("trawl:trawl", "somebody's", "message")
    assert counting.open(JOB, batches) == ["1"]
    client.lpush("trawl:another", "of another priority")
    assert counting.open(JOB, batches) == []
    client.lpush("trawl:trawl", "left over", "left over")
    assert counting.open(JOB, [batch_of("4")]) == []
    claimed(counting, "1")
    assert counting.open(JOB, [*batches, batch_of("5"), batch_of("6"), batch_of("7")]) == ["2"]


def test_a_claim_without_a_message_removes_one(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards ``drop_message`` of claim.lua: a job's last messages would all lead to nothing, one round trip each."""
    counting = ClockedLedger(client, queue=("trawl:trawl", "trawl:another"))
    ours = '{"headers": {"task": "trawlnet.batch"}}'
    counting.open(JOB, [batch_of(str(number)) for number in range(1, 7)])
    client.lpush("trawl:trawl", *[ours] * 4, "none of ours")
    client.lpush("trawl:another", ours)

    def left() -> list[int]:
        return [client.llen(key) for key in ("trawl:trawl", "trawl:another")]

    next_of(counting, message=BatchMessage(JOB, "1"))
    assert left() == [5, 1], "it came with one"
    next_of(counting)
    assert left() == [4, 1]
    client.rpush("trawl:trawl", "none of ours, and next")
    client.lrem("trawl:trawl", 1, ours)
    next_of(counting)
    assert left() == [4, 0], "what is not ours stays where it is"
    assert client.lrange("trawl:trawl", -1, -1) == [b"none of ours, and next"]
    client.delete("trawl:trawl")
    client.lpush("trawl:trawl", ours)
    next_of(counting)
    assert left() == [1, 0], "two batches wait, and one message"


def test_many_batches_are_opened_in_slices(client: redis.Redis, ledger: ClockedLedger) -> None:
    batches = [batch_of(str(number)) for number in range(1, 251)]

    commands = round_trips(client, lambda: ledger.open(JOB, batches))

    assert len(commands) <= 4, "100 at a time, and one more where Redis did not have the script"
    assert record_of(ledger).open == 250


def test_nothing_is_opened_for_an_unknown_job(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards the first line of open.lua, store.lua, seal.lua and drain.lua: they would create half a job."""
    before = set(client.keys())

    with pytest.raises(UnknownJobError, match="no longer knows"):
        ledger.open("unknown", [batch_of("1")])
    with pytest.raises(UnknownJobError, match="no longer knows"):
        ledger.seal("unknown", {"lines": 1})
    with pytest.raises(UnknownJobError, match="no longer knows"):
        ledger.store("unknown", refused_report("unknown", "1"))
    assert ledger.drain("unknown", "here") is None

    assert set(client.keys()) == before
    assert ledger.job("unknown") is None


def test_refused_lines_are_stored_once_as_a_closed_batch(ledger: Clocked) -> None:
    report = refused_report(JOB, "1")

    assert ledger.store(JOB, report)
    assert not ledger.store(JOB, report)

    assert ledger.open(JOB, [batch_of("1")]) == []
    record = record_of(ledger)
    assert (record.counts["refused"], record.open, record.undrained) == (1, 0, 1)
    assert stored(ledger, "1") == report


def test_an_open_batch_is_not_closed_by_storing_a_report(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1")])

    assert not ledger.store(JOB, refused_report(JOB, "1"))

    assert record_of(ledger).counts["refused"] == 0


def test_a_sealed_job_is_finished_when_its_last_batch_closes(client: redis.Redis, ledger: ClockedLedger) -> None:
    ledger.open(JOB, [batch_of("1")])
    ledger.seal(JOB, {"lines": 1, "urls": 1})
    assert record_of(ledger).is_sealed
    assert not record_of(ledger).is_finished

    claim = claimed(ledger, "1")
    assert record_of(ledger).running == 1
    ledger.close(claim, report_of(claim))

    record = record_of(ledger)
    assert record.is_finished
    assert client.smembers("trawl:2:active") == set(), "nothing is left to sweep"
    assert record.totals == {"lines": 1, "urls": 1}
    assert dict(record.counts) == {"ok": 1, "kept": 0, "failed": 0, "refused": 0, "bytes": 7}


def test_removing_a_job_leaves_nothing_behind(client: redis.Redis, ledger: ClockedLedger) -> None:
    ledger.open(JOB, [batch_of("1"), batch_of("2"), batch_of("3")])
    done, held = claimed(ledger, "1"), claimed(ledger, "2")
    ledger.close(done, report_of(done, [], handed_off=[done.child(1)]), [Child(batch_of("1").payload, 1, after=5.0)])
    known = {b"test-clock", b"trawl:2:taken", b"trawl:2:priorities"}  # of no job

    ledger.remove(JOB)

    assert set(client.keys()) <= known, "not among what waits, either"
    assert not ledger.renew(held)
    assert not ledger.close(held, report_of(held))
    assert set(client.keys()) <= known, "a late worker brings nothing back"


def test_a_job_that_expired_drops_out_of_the_list(client: redis.Redis, ledger: ClockedLedger) -> None:
    ledger.create("another", JobPolicy())
    client.delete(f"trawl:2:job:{JOB}")

    assert ledger.jobs() == ["another"]
    assert client.zcard("trawl:2:jobs") == 1


def test_every_key_of_a_job_expires(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards each EXPIRE: before each check, the key that it would keep from staying for ever is made again."""
    ledger.open(JOB, [batch_of("2")])
    ledger.advance(1.0)
    ledger.open(JOB, [batch_of("1", "http://a.test/", "http://b.test/")])
    everlasting(client)
    held = next_of(ledger)
    assert client.exists("trawl:2:ahead")
    everlasting(client)
    for key in client.keys("trawl:2:job:*"):
        client.persist(cast("bytes", key))
    assert ledger.renew(held)
    assert client.ttl(f"trawl:2:job:{JOB}:leases") > 0
    ledger.swept()
    everlasting(client)
    claim = claimed(ledger, "1")
    children = [Child(batch_of("1").payload, 1), Child(batch_of("1").payload, 1, after=5.0)]
    ledger.close(claim, report_of(claim, [], handed_off=[claim.child(1), claim.child(2)]), children)
    everlasting(client)
    ledger.create("refusals", JobPolicy())
    ledger.store("refusals", refused_report("refusals", "1"))
    client.persist("trawl:2:job:refusals")
    ledger.seal("refusals", {})
    everlasting(client)


def everlasting(client: redis.Redis) -> None:
    """Fail if any key but the few there is one of in all has no time to live, or a longer one than was asked for."""
    keys = set(cast("list[bytes]", client.keys())) - SINGLETONS
    assert keys
    assert not [key for key in keys if not 0 < client.ttl(key) <= 86_400]
