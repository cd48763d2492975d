"""What each method of the ledger promises, and what holds when it is called at the wrong time."""

from __future__ import annotations

from typing import cast

import pytest
import redis

from contract.errors import UnknownJobError
from contract.ledger.values import Child, Claim
from contract.records.batches import BatchEntry, pack_entries, unpack_entries
from contract.records.messages import BatchMessage
from contract.records.policy import JobPolicy
from tests.support.clocked_ledger import (
    JOB,
    Clocked,
    ClockedLedger,
    at_once,
    batch_of,
    claimed,
    next_of,
    record_of,
    refused_report,
    report_of,
    round_trips,
    stored,
    urls_of,
)

SINGLETONS = {b"trawl:2:jobs", b"trawl:2:active", b"trawl:2:taken", b"trawl:2:watched", b"test-clock"}


# ---------------------------------------------------------------------------------------------- a job's life


def test_a_job_is_created_once_and_keeps_what_it_was_created_with(ledger: Clocked) -> None:
    assert not ledger.create(JOB, JobPolicy(timeout=1.0), label="another list", secrets=b"x")

    record = record_of(ledger)
    assert (record.label, record.policy) == ("a list", JobPolicy())
    assert ledger.jobs() == [JOB]
    assert not record.is_sealed


def test_a_job_is_made_in_one_transaction(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Half a job, left by a kill, could neither be used (no record) nor made again (it exists)."""
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


def test_no_more_messages_are_wanted_than_are_missing(client: redis.Redis, ledger: ClockedLedger) -> None:
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


def test_who_claims_without_a_message_takes_one_along(client: redis.Redis, ledger: ClockedLedger) -> None:
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


def test_opening_again_leaves_the_payload_alone(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1", "http://host.test/first")])

    ledger.open(JOB, [batch_of("1", "http://host.test/second")])

    assert urls_of(claimed(ledger, "1")) == ["http://host.test/first"]


def test_many_batches_are_opened_in_slices(client: redis.Redis, ledger: ClockedLedger) -> None:
    batches = [batch_of(str(number)) for number in range(1, 251)]

    commands = round_trips(client, lambda: ledger.open(JOB, batches))

    assert len(commands) <= 4, "100 at a time, and one more where Redis did not have the script"
    assert record_of(ledger).open == 250


def test_nothing_is_opened_for_a_job_nobody_created(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards the first line of open.lua, store.lua, seal.lua and drain.lua: they would make half a job."""
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


def test_refused_lines_are_a_batch_closed_at_birth_once(ledger: Clocked) -> None:
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


def test_removing_a_job_leaves_nothing_of_it(client: redis.Redis, ledger: ClockedLedger) -> None:
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
    """Guards each EXPIRE: the key it keeps from staying for ever is made anew before each check."""
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


# ---------------------------------------------------------------------------------------------- claim, renew, close


def test_a_claim_brings_everything_a_worker_needs(ledger: Clocked) -> None:
    ledger.create("secretive", JobPolicy(timeout=5.0), secrets=b"packed headers")
    opened = ledger.now()
    ledger.open("secretive", [batch_of("7", "http://a.test/", "http://b.test/")])
    ledger.advance(3.0)

    claim = claimed(ledger, "7", job="secretive")

    assert (claim.policy, claim.secrets, claim.urls, claim.attempt) == (JobPolicy(timeout=5.0), b"packed headers", 2, 1)
    assert urls_of(claim) == ["http://a.test/", "http://b.test/"]
    assert claim.queued == pytest.approx(opened, abs=0.001)


def test_of_many_workers_one_gets_the_batch(ledger: Clocked) -> None:
    """Guards the line of claim.lua that refuses what is not queued."""
    ledger.open(JOB, [batch_of("1")])

    claims = at_once(16, lambda number: ledger.claim(JOB, "1", holder=f"worker-{number}"))

    assert len([claim for claim in claims if claim]) == 1
    assert record_of(ledger).running == 1


def test_a_claim_whose_reply_was_lost_is_given_again(ledger: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ``again`` in claim.lua: the client repeats a call whose reply a broken connection swallowed."""
    monkeypatch.setattr("secrets.token_hex", lambda size: "the same token")
    ledger.open(JOB, [batch_of("1")])

    first, again = ledger.claim(JOB, "1", holder="worker"), ledger.claim(JOB, "1", holder="worker")

    assert first is not None
    assert first == again
    assert ledger.renew(first)


def test_a_closed_deferred_or_unknown_batch_cannot_be_claimed(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1")])
    claim = claimed(ledger, "1")
    ledger.close(
        claim, report_of(claim, [], handed_off=[claim.child(1)]), [Child(batch_of("1").payload, 1, after=60.0)]
    )

    assert ledger.claim(JOB, "1", holder="worker") is None
    assert ledger.claim(JOB, claim.child(1), holder="worker") is None
    assert ledger.claim(JOB, "99", holder="worker") is None
    assert ledger.claim("unknown", "1", holder="worker") is None


def test_a_batch_whose_job_is_gone_cannot_be_claimed(client: redis.Redis, ledger: ClockedLedger) -> None:
    ledger.open(JOB, [batch_of("1")])
    client.delete(f"trawl:2:job:{JOB}")

    assert ledger.claim(JOB, "1", holder="worker") is None


def test_a_lease_that_ran_out_can_be_renewed_while_nobody_took_it(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1")])
    claim = claimed(ledger, "1")
    ledger.advance(1000.0)

    assert ledger.claim(JOB, "1", holder="a redelivered copy") is None, "only the sweep ends a lease"
    assert ledger.renew(claim)
    assert ledger.swept()[1] == []
    assert ledger.close(claim, report_of(claim))


def test_a_renewed_lease_is_left_alone_and_a_silent_one_is_not(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1"), batch_of("2")])
    alive = claimed(ledger, "1")
    claimed(ledger, "2")

    ledger.advance(15.0)
    assert ledger.renew(alive)
    assert ledger.swept()[1] == []
    ledger.advance(6.0)

    assert ledger.swept()[1] == [f"{JOB}/2"]
    assert record_of(ledger).running == 1
    assert ledger.swept()[1] == [], "sent once"


def test_who_lost_a_batch_is_fenced_off(ledger: Clocked) -> None:
    """Guards the token comparison in renew.lua and close.lua."""
    ledger.open(JOB, [batch_of("1")])
    frozen = claimed(ledger, "1", holder="frozen")
    ledger.advance(21.0)
    ledger.swept()

    assert not ledger.renew(frozen), "swept: it waits for a worker again"
    assert not ledger.close(frozen, report_of(frozen, worker="frozen"))
    second = claimed(ledger, "1", holder="second")
    assert second.attempt == 2
    assert not ledger.renew(frozen)
    assert not ledger.close(frozen, report_of(frozen, worker="frozen"))

    assert ledger.renew(second)
    assert ledger.close(second, report_of(second, worker="second"))
    assert not ledger.close(frozen, report_of(frozen, worker="frozen"))
    assert stored(ledger, "1").worker == "second"
    assert record_of(ledger).counts["ok"] == 1


def test_a_batch_is_closed_once_whoever_tries(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1")])
    claim = claimed(ledger, "1")

    answers = at_once(8, lambda number: ledger.close(claim, report_of(claim, worker=f"thread-{number}")))

    assert sorted(answers) == [False] * 7 + [True]
    assert stored(ledger, "1").worker == f"thread-{answers.index(True)}"
    assert record_of(ledger).counts["ok"] == 1
    assert ledger.closed(JOB) == ["1"]


def test_a_close_whose_reply_was_lost_is_confirmed(ledger: Clocked) -> None:
    """Guards the comparison of reports in close.lua; without it a worker would think its work was in vain."""
    ledger.open(JOB, [batch_of("1")])
    claim = claimed(ledger, "1")
    report, children = report_of(claim, [], handed_off=[claim.child(1)]), [Child(batch_of("1").payload, 1)]

    assert ledger.close(claim, report, children)
    child = claimed(ledger, claim.child(1))
    assert ledger.close(claim, report, children)

    assert ledger.renew(child), "its children are not opened again"
    assert record_of(ledger).open == 1


def test_closing_stores_the_report_and_opens_the_rest_in_one_step(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1", "http://a.test/", "http://b.test/", "http://c.test/")])
    opened = ledger.now()
    ledger.advance(5.0)
    claim = claimed(ledger, "1")
    children = [
        Child(pack_entries([BatchEntry(url="http://b.test/", spent=2.5)]), 1),
        Child(pack_entries([BatchEntry(url="http://c.test/")]), 1, after=60.0),
    ]

    assert ledger.close(
        claim, report_of(claim, ["http://a.test/"], handed_off=[claim.child(1), claim.child(2)]), children
    )

    record = record_of(ledger)
    assert (record.open, record.running, record.undrained, record.counts["ok"]) == (2, 0, 1, 1)
    assert stored(ledger, "1").handed_off == [claim.child(1), claim.child(2)]
    first = claimed(ledger, claim.child(1))
    assert unpack_entries(first.payload) == [BatchEntry(url="http://b.test/", spent=2.5)]
    assert first.queued == pytest.approx(opened, abs=0.001), "waiting counts from the first opening"
    assert first.attempt == 1
    assert ledger.payloads(JOB, [claim.child(2), "1"]) == [children[1].payload, None]


def closed_around(ledger: Clocked, claim: Claim, *rest: str) -> Claim:
    """Close a batch with the outcomes of its other URLs; return the claim of the one that goes on with the rest."""
    done = [url for url in urls_of(claim) if url not in rest]
    kept = claim.kept(1, pack_entries(BatchEntry(url=url) for url in rest), len(rest))
    assert ledger.close(claim, report_of(claim, done, handed_off=[kept.batch]), kept=kept)
    return kept


def test_what_takes_over_from_a_batch_closed_around_its_stragglers_is_ours_already(ledger: Clocked) -> None:
    """Guards the held child of close.lua: nobody else may take what is in flight here."""
    ledger.open(JOB, [batch_of("1", "http://a.test/", "http://slow.test/")])
    claim = claimed(ledger, "1")
    ledger.advance(19.0)

    kept = closed_around(ledger, claim, "http://slow.test/")

    assert kept.batch != "1"
    assert (record_of(ledger).open, record_of(ledger).running, record_of(ledger).counts["ok"]) == (1, 1, 1)
    assert ledger.count_waiting() == 0
    assert ledger.claim(JOB, kept.batch, holder="another") is None
    ledger.advance(19.0)
    assert ledger.swept()[0].again == {}, "its lease is new"
    assert ledger.renew(kept)
    assert not ledger.renew(claim)
    assert ledger.close(kept, report_of(kept))
    assert record_of(ledger).open == 0


def test_each_that_takes_over_has_a_name_of_its_own_and_is_closed_like_any(ledger: Clocked) -> None:
    """Guards the new token of ``kept``: children of one token would be called like the batch that is closed."""
    urls = [f"http://host.test/{number}" for number in range(4)]
    ledger.open(JOB, [batch_of("1", *urls)])
    claim = claimed(ledger, "1")
    names = ["1"]
    for number in range(1, 4):
        claim = closed_around(ledger, claim, *urls[number:])
        names.append(claim.batch)

    assert ledger.close(claim, report_of(claim))

    assert len(set(names)) == 4
    assert ledger.closed(JOB) == names
    assert record_of(ledger).counts["ok"] == 4


def test_a_batch_does_not_come_to_life_again_by_taking_over(ledger: Clocked) -> None:
    """Guards the attempts of close.lua: a URL that kills its worker would never be found."""
    ledger.open(JOB, [batch_of("1", "http://a.test/", "http://b.test/", "http://kills.test/")])
    claimed(ledger, "1")
    ledger.advance(21.0)
    ledger.swept()
    second = claimed(ledger, "1")
    kept = closed_around(ledger, second, "http://b.test/", "http://kills.test/")
    assert kept.attempt == second.attempt == 2
    for attempt in (3, 4, 5):
        ledger.advance(21.0)
        assert ledger.swept()[0].again == {JOB: [kept.batch]}
        assert claimed(ledger, kept.batch).attempt == attempt

    ledger.advance(21.0)

    assert ledger.swept()[0].split == {JOB: [kept.batch]}


def test_a_close_around_stragglers_whose_reply_was_lost_is_confirmed(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1", "http://a.test/", "http://slow.test/")])
    claim = claimed(ledger, "1")
    kept = claim.kept(1, pack_entries([BatchEntry(url="http://slow.test/")]), 1)
    report = report_of(claim, ["http://a.test/"], handed_off=[kept.batch])

    assert [ledger.close(claim, report, kept=kept) for _ in range(2)] == [True, True]

    assert ledger.renew(kept)
    assert (record_of(ledger).open, record_of(ledger).counts["ok"]) == (1, 1)


def test_whoever_lost_a_batch_cannot_go_on_with_its_stragglers(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1", "http://a.test/", "http://slow.test/")])
    frozen = claimed(ledger, "1")
    ledger.advance(21.0)
    ledger.swept()
    kept = frozen.kept(1, pack_entries([BatchEntry(url="http://slow.test/")]), 1)

    assert not ledger.close(frozen, report_of(frozen, ["http://a.test/"], handed_off=[kept.batch]), kept=kept)

    assert not ledger.renew(kept)
    assert ledger.payloads(JOB, [kept.batch]) == [None]


def test_a_deferred_batch_is_sent_when_it_is_due(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1")])
    claim = claimed(ledger, "1")
    ledger.close(
        claim, report_of(claim, [], handed_off=[claim.child(1)]), [Child(batch_of("1").payload, 1, after=60.0)]
    )
    assert record_of(ledger).running == 0, "waiting is not running"

    ledger.advance(59.0)
    assert ledger.swept()[1] == []
    ledger.advance(2.0)
    assert ledger.swept()[1] == [f"{JOB}/{claim.child(1)}"]
    assert ledger.swept()[1] == [], "sent once"

    assert urls_of(claimed(ledger, claim.child(1))) == ["http://host.test/1"]
