"""A batch held by a worker: claimed, renewed, closed and handed off, whatever others do and whatever is lost."""

from __future__ import annotations

import pytest
import redis

from contract.ledger.values import Child, Claim
from contract.records.batches import BatchEntry, pack_entries, unpack_entries
from contract.records.policy import JobPolicy
from tests.support.clocked_ledger import (
    JOB,
    Clocked,
    ClockedLedger,
    at_once,
    batch_of,
    claimed,
    record_of,
    report_of,
    stored,
    urls_of,
)


def test_a_claim_brings_everything_a_worker_needs(ledger: Clocked) -> None:
    ledger.create("secretive", JobPolicy(timeout=5.0), secrets=b"packed headers")
    opened = ledger.now()
    ledger.open("secretive", [batch_of("7", "http://a.test/", "http://b.test/")])
    ledger.advance(3.0)

    claim = claimed(ledger, "7", job="secretive")

    assert (claim.policy, claim.secrets, claim.urls, claim.attempt) == (JobPolicy(timeout=5.0), b"packed headers", 2, 1)
    assert urls_of(claim) == ["http://a.test/", "http://b.test/"]
    assert claim.queued == pytest.approx(opened, abs=0.001)


def test_only_one_of_many_workers_gets_the_batch(ledger: Clocked) -> None:
    """Guards the line of claim.lua that refuses batches that do not wait."""
    ledger.open(JOB, [batch_of("1")])

    claims = at_once(16, lambda number: ledger.claim(JOB, "1", holder=f"worker-{number}"))

    assert len([claim for claim in claims if claim]) == 1
    assert record_of(ledger).running == 1


def test_a_claim_is_repeated_if_its_reply_was_lost(ledger: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ``again`` in claim.lua: the client repeats a call if a broken connection swallowed the reply."""
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


def test_a_holder_that_lost_its_batch_is_fenced_off(ledger: Clocked) -> None:
    """Guards the token comparison in renew.lua and close.lua."""
    ledger.open(JOB, [batch_of("1")])
    frozen = claimed(ledger, "1", holder="frozen")
    ledger.advance(21.0)
    assert ledger.claim(JOB, "1", holder="a redelivered copy") is None, "only the sweep ends a lease"
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


def test_a_close_whose_reply_was_lost_is_confirmed(ledger: Clocked) -> None:
    """Guards the comparison of reports in close.lua: a worker would think that its work was in vain."""
    ledger.open(JOB, [batch_of("1")])
    claim = claimed(ledger, "1")
    report, children = report_of(claim, [], handed_off=[claim.child(1)]), [Child(batch_of("1").payload, 1)]

    assert ledger.close(claim, report, children)
    child = claimed(ledger, claim.child(1))
    assert ledger.close(claim, report, children)

    assert ledger.renew(child), "its children are not opened again"
    assert record_of(ledger).open == 1


def test_closing_stores_the_report_and_opens_the_leftovers_in_one_step(ledger: Clocked) -> None:
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
    """Close a batch with the outcomes of its other URLs; return the claim of the one that continues with the rest."""
    done = [url for url in urls_of(claim) if url not in rest]
    kept = claim.kept(1, pack_entries(BatchEntry(url=url) for url in rest), len(rest))
    assert ledger.close(claim, report_of(claim, done, handed_off=[kept.batch]), kept=kept)
    return kept


def test_the_batch_of_the_stragglers_is_held_by_the_same_worker(ledger: Clocked) -> None:
    """Guards the held child of close.lua: no other worker may claim URLs that are in flight here."""
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


def test_each_successor_has_its_own_name_and_is_closed_like_any_batch(ledger: Clocked) -> None:
    """Guards the new token of ``kept``: otherwise its children would be named like the closed batch."""
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


def test_a_successor_keeps_the_number_of_attempts(ledger: Clocked) -> None:
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
