"""A batch that kills its workers is split until the poison is alone; what a worker cannot read is left to others."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
import redis

from contract.errors import MessageError
from contract.ledger import ledger as production
from contract.ledger.changing import MOST_ATTEMPTS
from contract.ledger.health import BELIEVED_FOR, WorkerHealth
from contract.ledger.values import Child, NewBatch
from contract.records.policy import Digest, JobPolicy
from tests.support.clocked_ledger import (
    JOB,
    Clocked,
    ClockedLedger,
    at_once,
    batch_of,
    claimed,
    next_of,
    record_of,
    report_of,
    stored,
    urls_of,
)

# What sweep.lua is handed.
SWEPT = ("active", "sweeping", "watched", "sent", "overdue", "ahead", "turns", "priorities")


def test_a_batch_that_keeps_killing_workers_is_split_until_the_poison_is_alone(ledger: Clocked) -> None:
    urls = [f"http://host.test/{number}" for number in range(8)]
    poison = urls[5]
    ledger.open(JOB, [batch_of("1", *urls)])
    ledger.seal(JOB, {"lines": 8})
    attempts: dict[str, int] = {}

    waiting, poisoned = ["1"], {}
    while record_of(ledger).open:
        for batch in waiting:
            claim = ledger.claim(JOB, batch, holder="worker")
            if claim is None:
                continue
            attempts[batch] = attempts.get(batch, 0) + 1
            if poison not in urls_of(claim):
                assert ledger.close(claim, report_of(claim))
        ledger.advance(21.0)
        findings, sent = ledger.swept(lost_after=0.0)
        poisoned.update(findings.poisoned)
        waiting = [message.partition("/")[2] for message in sent]

    families = {batch: stored(ledger, batch).handed_off for batch in ledger.closed(JOB)}
    first, second = families["1"]
    third, fifth = families[second]
    fourth, last = families[third]
    assert poisoned == {JOB: [last]}
    assert [attempts[batch] for batch in ("1", second, third, last)] == [5, 2, 2, 2]
    assert [attempts[batch] for batch in (first, fifth, fourth)] == [1] * 3
    outcomes = [outcome for batch in ledger.closed(JOB) for outcome in stored(ledger, batch).outcomes]
    assert sorted(outcome.url for outcome in outcomes) == urls
    assert [(each.url, each.error) for each in outcomes if each.ending == "failed"] == [(poison, "poison")]
    assert dict(record_of(ledger).counts) == {"ok": 7, "kept": 0, "failed": 1, "refused": 0, "bytes": 49}


def test_a_worn_batch_is_given_to_no_worker(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards the lines of claim.lua that leave worn batches to the sweep, and later batches to the workers."""
    ledger.open(JOB, [batch_of("1", "http://a.test/", "http://b.test/")])
    for _ in range(MOST_ATTEMPTS):
        claimed(ledger, "1")
        ledger.advance(21.0)
        ledger.swept(after_silence=True)
        client.delete("trawl:2:sweeping")
        others = [ledger.earlier.active, ledger.earlier.sent]
        keys = [*(getattr(ledger.keys, name) for name in SWEPT), *others]
        ledger.call("sweep", keys, [ledger.keys.of_jobs, 1, 1, 1, 99, 200, 60, 5])
    ledger.open(JOB, [batch_of("2")])

    assert ledger.claim(JOB, "1", holder="worker") is None
    assert next_of(ledger).batch == "2"
    assert ledger.claim_next(holder="worker", waited=0.0) is None

    ledger.advance(1.0)
    assert ledger.swept()[0].split == {JOB: ["1"]}


def test_an_unreadable_worn_batch_does_not_stop_the_sweep(ledger: Clocked) -> None:
    """Guards the ``except MessageError`` of ``_split_or_end``."""
    ledger.open(JOB, [NewBatch("1", b"of another version", 1), batch_of("2")])
    for _ in range(MOST_ATTEMPTS):
        claimed(ledger, "1")
        ledger.advance(21.0)
        findings, sent = ledger.swept(lost_after=0.0)

    assert (findings.split, findings.poisoned) == ({}, {})
    assert sent == [f"{JOB}/2"]
    assert record_of(ledger).open == 2


def test_a_worn_batch_is_split_by_one_sweeper(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1", "http://a.test/", "http://b.test/")])
    for _ in range(MOST_ATTEMPTS - 1):
        claimed(ledger, "1")
        ledger.advance(21.0)
        ledger.swept()
    last = claimed(ledger, "1")
    assert ledger.claim(JOB, "1", holder="sweeper", even_worn=True) is None, "its fifth holder may be alive"
    ledger.advance(21.0)

    claims = at_once(8, lambda number: ledger.claim(JOB, "1", holder=f"sweeper-{number}", even_worn=True))

    assert len([claim for claim in claims if claim]) == 1
    assert not ledger.renew(last)


def test_a_worn_batchs_claim_is_forgotten(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards the HDEL of claim.lua: entries of claims that no one holds would stay for ever."""
    ledger.open(JOB, [batch_of("1", "http://a.test/", "http://b.test/")])
    for _ in range(MOST_ATTEMPTS):
        next_of(ledger)
        ledger.advance(21.0)
        ledger.swept()

    assert not client.exists("trawl:2:ahead")


# ---------------------------------------------------------------------------------------------- other versions


def later_policy(client: redis.Redis, job: str, **more: Any) -> None:
    """Have a job's policy say what only a later version can read."""
    policy = json.loads(cast("bytes", client.hget(f"trawl:2:job:{job}", "policy")))
    client.hset(f"trawl:2:job:{job}", "policy", json.dumps(policy | more))


@pytest.mark.parametrize("more", [{"bytes_per_second": 10}, {"version": 2}])
def test_a_policy_with_unknown_fields_is_left_to_workers_that_know_them(
    client: redis.Redis, ledger: ClockedLedger, more: dict[str, Any]
) -> None:
    """Guards ``is_suitable`` of claim.lua: a limit was ignored, or good URLs ended as poison after five attempts."""
    ledger.create("ours", JobPolicy())
    ledger.open(JOB, [batch_of("1"), batch_of("2")])
    handing_off = claimed(ledger, "1")
    child = Child(batch_of("1").payload, 1)
    ledger.close(handing_off, report_of(handing_off, [], handed_off=[handing_off.child(1)]), [child])
    ledger.advance(1.0)
    ledger.open("ours", [batch_of("7")])
    ledger.create("next", JobPolicy())
    ledger.advance(1.0)
    ledger.open("next", [batch_of("8")])
    client.zadd("trawl:2:turns", {"ours": 99.0, "next": 50.0})
    later_policy(client, JOB, **more)

    assert next_of(ledger).job == "next", "behind what is overdue, has waited longer, or has had less"
    assert next_of(ledger).job == "ours"
    for _ in range(7):
        with pytest.raises(MessageError, match=f"Job {JOB} was sent by a newer version"):
            ledger.claim_next(holder="worker", waited=0.0)
        with pytest.raises(MessageError, match=f"Job {JOB} was sent by a newer version"):
            ledger.claim(JOB, "2", holder="worker")
    assert client.zcard("trawl:2:sent") == 2
    client.hset(f"trawl:2:job:{JOB}", "policy", json.dumps(JobPolicy().to_wire()))
    assert [next_of(ledger).attempt for _ in range(2)] == [1, 1]


def test_entries_of_a_later_version_are_left_to_workers_that_can_read_them(
    client: redis.Redis, ledger: ClockedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(production, "PAYLOAD_VERSION", 2)
    ledger.open(JOB, [batch_of("1", "http://a.test/1", "http://a.test/2")])
    later = claimed(ledger, "1")
    children = [Child(batch_of("1").payload, 1)]
    ledger.close(later, report_of(later, ["http://a.test/1"], handed_off=[later.child(1)]), children)
    ledger.open(JOB, [batch_of("2")])
    monkeypatch.setattr(production, "PAYLOAD_VERSION", 1)
    ledger.open(JOB, [batch_of("3")])

    assert next_of(ledger).batch == "3"

    with pytest.raises(MessageError, match="run the same Trawlnet"):
        ledger.claim_next(holder="worker", waited=0.0)
    monkeypatch.setattr(production, "PAYLOAD_VERSION", 2)
    assert [next_of(ledger).batch for _ in range(2)] == [later.child(1), "2"]


def test_a_digest_is_left_to_workers_that_can_compute_it_while_one_is_alive(
    client: redis.Redis, ledger: ClockedLedger
) -> None:
    """Guards ``is_suitable`` of claim.lua: a worker without the package ended the whole job as unsupported."""
    lacking, capable = ClockedLedger(client, lacks=["blake3", "xxh3"]), WorkerHealth(client, prefix="trawl:")
    for job in ("one", "two"):
        ledger.create(job, JobPolicy(digest=Digest.XXH3))
        ledger.open(job, [batch_of("1"), batch_of("2")])
        again = claimed(ledger, "1", job=job)
        ledger.close(again, report_of(again, [], handed_off=[again.child(1)]), [Child(batch_of("1").payload, 1)])
    capable.beat("celery@capable", computes=["xxh3"])

    with pytest.raises(MessageError, match=r"Job (one|two) wants the digest xxh3: it is left to the workers"):
        next_of(lacking)
    ledger.open(JOB, [batch_of("7")])
    assert next_of(lacking).job == JOB, "behind two jobs that are left to others, of which batches are overdue"
    assert next_of(ledger).job == "one"
    assert 0 < client.ttl("trawl:computes:xxh3") <= BELIEVED_FOR
    client.delete("trawl:computes:xxh3")
    assert next_of(lacking).job == "two"


def test_a_policy_that_is_not_json_blocks_no_other_job(client: redis.Redis, ledger: ClockedLedger) -> None:
    ledger.create("ours", JobPolicy())
    ledger.open(JOB, [batch_of("1")])
    ledger.open("ours", [batch_of("1")])
    client.hset(f"trawl:2:job:{JOB}", "policy", "{not json")

    assert next_of(ledger).job == "ours"


def test_a_worn_batch_of_a_later_version_does_not_stop_the_sweep(client: redis.Redis, ledger: ClockedLedger) -> None:
    ledger.open(JOB, [batch_of("1"), batch_of("2")])
    for _ in range(MOST_ATTEMPTS):
        claimed(ledger, "1")
        ledger.advance(21.0)
        ledger.swept() if ledger.now() < 1_700_000_100.0 else None
    later_policy(client, JOB, more=1)

    findings, sent = ledger.swept()

    assert not findings.split
    assert sent == [f"{JOB}/2"]
