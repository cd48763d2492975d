"""URLs that wait for their host: parked by job and host, gathered when they come due, and open all along."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

import pytest
import redis

from contract.ledger.control import cancel, pause, resume, settle
from contract.ledger.values import Child, Claim
from contract.records.batches import BatchEntry, pack_entries
from contract.records.policy import JobPolicy
from tests.support.clocked_ledger import (
    JOB,
    Clocked,
    ClockedLedger,
    batch_of,
    claimed,
    drained,
    next_of,
    record_of,
    report_of,
    stored,
)

SIZE = 10  # URLs of the job's batches


def url(host: str, number: int) -> str:
    return f"http://{host}/{number}"


def piece(urls: Sequence[str], after: float, hosts: Mapping[str, int] | None = None) -> Child:
    found = hosts if hosts is not None else Counter(each.split("/")[2] for each in urls)
    return Child(pack_entries([BatchEntry(url=each) for each in urls]), len(urls), after, found)


def park(ledger: Clocked, batch: str, *pieces: Child, done: Sequence[str] = ()) -> list[str]:
    """Open a batch of the job's size and close it with these pieces; return their names."""
    ledger.open(JOB, [batch_of(batch, *(url("any.test", number) for number in range(SIZE)))])
    claim = claimed(ledger, batch)
    names = [claim.child(number + 1) for number in range(len(pieces))]
    assert ledger.close(claim, report_of(claim, done, handed_off=names), pieces)
    return names


def gathered(ledger: Clocked) -> list[Claim]:
    """Claim all that a sweep puts in line now."""
    ledger.swept()
    claims: list[Claim] = []
    while (claim := ledger.claim_next(holder="worker", waited=0.0)) is not None:
        claims.append(claim)
    return claims


def fetched(ledger: Clocked) -> list[Claim]:
    """Claim all that a sweep puts in line now, and close it with all its URLs done."""
    claims = gathered(ledger)
    for claim in claims:
        assert ledger.close(claim, report_of(claim, urls_in(claim)))
    return claims


def urls_in(claim: Claim) -> list[str]:
    return [entry.url for entry in claim.entries()]


def test_pieces_that_come_due_together_share_batches_of_the_jobs_size(
    client: redis.Redis, ledger: ClockedLedger
) -> None:
    names = [
        name
        for number in range(8)
        for name in park(
            ledger,
            str(number),
            piece([url(f"{number}a.test", n) for n in range(5)], 30.0),
            piece([url("b.test", number)], 30.0),
        )
    ]
    assert gathered(ledger) == []
    ledger.advance(31.0)

    ledger.swept()
    assert ledger.count_waiting() == 5
    claims = gathered(ledger)

    assert sorted(claim.urls for claim in claims) == [8, 10, 10, 10, 10]
    records = cast("list[bytes]", client.hvals(ledger.keys.job(JOB, "batches")))
    assert Counter(json.loads(text)["state"] for text in records) == {"held": 5, "gathered": 11}
    assert not client.exists(*ledger.keys.parts(JOB, "waits", "parcels", "parked", "owners"))
    assert sorted(name for claim in claims for name in (claim.batch, *(p.batch for p in claim.pieces))) == sorted(names)
    assert sorted(each for claim in claims for each in urls_in(claim)) == sorted(
        [url(f"{number}a.test", n) for number in range(8) for n in range(5)] + [url("b.test", n) for n in range(8)]
    )


@pytest.mark.parametrize("hosts", [{"a.test": 4}, {}, {"a.test": 2, "b.test": 2}])
def test_the_next_sweep_is_no_later_than_the_first_due_time(
    client: redis.Redis, ledger: ClockedLedger, hosts: dict[str, int]
) -> None:
    """Guards ``sweeping`` in close.lua: parked and deferred batches would wait for a scheduled sweep."""

    def next_sweep(*afters: float) -> float:
        client.set(ledger.keys.sweeping, "1", ex=4000)
        park(ledger, str(afters), *(piece([url("a.test", n) for n in range(4)], after, hosts) for after in afters))
        return client.pttl(ledger.keys.sweeping) / 1000

    assert next_sweep(9000.0, 8000.0) > 3000
    assert 900 < next_sweep(9000.0, 1000.0) <= 1000 * 1.125
    client.delete(ledger.keys.sweeping)
    park(ledger, "last", piece([url("a.test", 1)], 1000.0, hosts))
    assert not client.exists(ledger.keys.sweeping), "it is anybody's turn"


def test_a_host_that_fills_a_batch_has_one_at_a_time(ledger: Clocked) -> None:
    for number in range(5):
        park(ledger, str(number), piece([url("big.test", 10 * number + n) for n in range(5)], 30.0))
    ledger.advance(31.0)

    (first,) = gathered(ledger)
    assert first.urls == SIZE
    park(ledger, "late", piece([url("big.test", 99)], 1.0))
    ledger.advance(5.0)
    assert gathered(ledger) == [], "its owner has not closed it"
    assert first.is_owner
    assert ledger.close(first, report_of(first, urls_in(first)))

    (name,) = ledger.gather(JOB)
    second = next_of(ledger)
    assert (second.batch, second.urls, second.is_owner) == (name, SIZE, True)
    back = piece(urls_in(second), 60.0)
    assert ledger.close(second, report_of(second, [], handed_off=[second.child(1)]), [back])
    assert ledger.gather(JOB) == []
    assert gathered(ledger) == [], "the host asked for more time"
    ledger.advance(61.0)
    assert [claim.urls for claim in gathered(ledger)] == [SIZE]


def test_parked_batches_are_open_until_they_have_their_outcomes(client: redis.Redis, ledger: ClockedLedger) -> None:
    names = park(ledger, "1", *(piece([url(f"{n}.test", n)] * 4, 30.0) for n in range(2)))
    ledger.seal(JOB, {"urls": 8})
    assert record_of(ledger).open == 2
    assert not record_of(ledger).is_finished
    assert client.sismember(ledger.keys.active, JOB)
    ledger.advance(31.0)
    (claim,) = gathered(ledger)
    assert record_of(ledger).open == 2
    assert ledger.close(claim, report_of(claim, urls_in(claim)))

    assert record_of(ledger).is_finished
    assert not client.sismember(ledger.keys.active, JOB)
    assert record_of(ledger).undrained == 3
    reports = drained(ledger).reports
    assert [batch for batch, _ in reports] == ["1", claim.batch], "one report for both"
    assert stored(ledger, claim.batch).gathered == [each.batch for each in claim.pieces]
    assert ledger.open(JOB, [batch_of(name) for name in names]) == [], "closed is closed"
    assert None not in ledger.payloads(JOB, names), "kept for whoever drains the report that names them"
    drained(ledger, forget=["1", *names])
    assert record_of(ledger).undrained == 0
    assert ledger.payloads(JOB, names) == [None, None]


def test_entries_of_batches_opened_again_are_kept(ledger: Clocked) -> None:
    (name,) = park(ledger, "1", piece([url("a.test", 1)] * 4, 30.0))

    drained(ledger, forget=[name])

    assert None not in ledger.payloads(JOB, [name])


def test_a_batch_of_pieces_that_kills_its_workers_is_split(ledger: Clocked) -> None:
    park(ledger, "1", *(piece([url(f"{n}.test", k) for k in range(4)], 30.0) for n in range(2)))
    ledger.advance(31.0)
    (claim,) = gathered(ledger)
    for _ in range(4):
        ledger.advance(21.0)
        gathered(ledger)
    ledger.advance(21.0)

    halves = gathered(ledger)

    assert [half.urls for half in halves] == [4, 4]
    assert sorted(urls_in(halves[0]) + urls_in(halves[1])) == sorted(urls_in(claim))


def test_a_pause_learned_since_moves_the_due_time(ledger: Clocked) -> None:
    """The added wait is due to the host too: the URLs' patience bounds it."""
    park(ledger, "1", piece([url("a.test", 1)] * 4, 30.0), piece([url("b.test", 1), url("c.test", 1)], 30.0))
    ledger.advance(25.0)
    for host in ("a.test", "b.test", "c.test"):
        ledger.learn_pause(host, 100.0)
    ledger.advance(10.0)
    assert gathered(ledger) == []
    ledger.advance(85.0)
    assert gathered(ledger) == []
    ledger.advance(6.0)

    (claim,) = gathered(ledger)

    assert claim.urls == 6
    assert {round(entry.waited, -1) for entry in claim.entries()} == {100.0}


def test_no_due_time_is_moved_beyond_the_urls_patience(ledger: Clocked) -> None:
    ledger.remove(JOB)
    ledger.create(JOB, JobPolicy(host_patience=50.0))
    park(ledger, "1", piece([url("a.test", 1)] * 4, 30.0))
    ledger.learn_pause("a.test", 500.0)
    ledger.advance(31.0)

    assert [claim.urls for claim in gathered(ledger)] == [4], "the worker ends them"


def test_a_piece_of_several_hosts_is_due_when_one_may_be_asked(ledger: Clocked) -> None:
    park(ledger, "1", piece([url("a.test", 1), url("b.test", 1)], 30.0))
    ledger.learn_pause("a.test", 500.0)
    ledger.advance(33.0)

    assert [claim.urls for claim in gathered(ledger)] == [2]


def test_due_times_of_pieces_with_several_hosts_are_rounded(ledger: Clocked) -> None:
    """100,000 hosts with one URL each make few batches more than as many URLs of one host."""
    for number in range(12):
        wait = 64.0 + number
        park(ledger, str(number), piece([url(f"{number}.test", 1), url(f"{number}-too.test", 1)], wait))
    made: list[int] = []
    for _ in range(100):
        ledger.advance(1.0)
        made += [claim.urls for claim in fetched(ledger)]

    assert sum(made) == 24
    assert len(made) <= 4, made


def test_parked_batches_expire_and_are_removed_with_their_job(client: redis.Redis, ledger: ClockedLedger) -> None:
    for number in range(3):
        park(ledger, str(number), piece([url("a.test", 10 * number + n) for n in range(5)], 30.0))
    keys = cast("list[bytes]", client.keys(f"{ledger.keys.job(JOB)}*"))
    assert all(client.ttl(key) > 0 for key in keys), "from the close on"
    ledger.advance(31.0)
    gathered(ledger)
    keys = cast("list[bytes]", client.keys(f"{ledger.keys.job(JOB)}*"))
    assert {key.rpartition(b":")[2] for key in keys} >= {b"parcels", b"parked", b"owners"}
    assert all(client.ttl(key) > 0 for key in keys)
    ledger.swept()
    assert all(client.ttl(key) > 0 for key in keys)

    ledger.remove(JOB)

    assert client.keys(f"{ledger.keys.job(JOB)}*") == []


def test_a_piece_whose_record_was_lost_blocks_no_other(client: redis.Redis, ledger: ClockedLedger) -> None:
    first, second = park(ledger, "1", *(piece([url(f"{n}.test", n)] * 4, 30.0) for n in range(2)))
    client.hdel(ledger.keys.job(JOB, "batches"), first)
    ledger.advance(31.0)

    assert [claim.batch for claim in gathered(ledger)] == [second]


def test_a_paused_job_keeps_its_parked_batches(client: redis.Redis, ledger: ClockedLedger) -> None:
    park(ledger, "1", piece([url("a.test", n) for n in range(4)], 30.0))
    pause(ledger, JOB)
    assert {client.ttl(key) for key in client.keys(f"{ledger.keys.job(JOB)}*")} == {-1}
    ledger.advance(31.0)
    assert gathered(ledger) == []
    assert ledger.gather(JOB) == []
    keys = cast("list[bytes]", client.keys(f"{ledger.keys.job(JOB)}*"))
    assert [client.ttl(key) for key in keys] == [-1] * len(keys)

    resume(ledger, JOB)

    assert [claim.urls for claim in gathered(ledger)] == [4]


def test_parked_batches_of_a_cancelled_job_end_as_cancelled(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Parked, gathered and in line, or held and handed back: none is fetched, and each URL has its row."""
    for number in range(3):
        park(ledger, str(number), piece([url("a.test", 10 * number + n) for n in range(4)], 30.0))
    ledger.advance(31.0)
    held = gathered(ledger)[0]
    park(ledger, "3", *(piece([url(f"{n}.test", n)] * 4, 5.0) for n in range(2)))
    ledger.advance(6.0)
    ledger.swept()
    park(ledger, "4", piece([url("b.test", n) for n in range(4)], 300.0))
    ledger.seal(JOB, {"urls": 20})
    cancel(ledger, JOB)
    back = piece(urls_in(held), 60.0)
    assert ledger.close(held, report_of(held, [], handed_off=[held.child(1)]), [back])

    while settle(ledger, JOB, holder="sweeper"):
        pass

    assert record_of(ledger).is_finished
    reports = [stored(ledger, batch) for batch, _ in drained(ledger).reports]
    ended = [outcome for report in reports for outcome in report.outcomes]
    assert {outcome.error for outcome in ended} == {"cancelled"}
    assert len(ended) == 12 + 8 + 4
    keys = cast("list[bytes]", client.keys(f"{ledger.keys.job(JOB)}:*"))
    assert {key.rpartition(b":")[2] for key in keys} <= {b"closed", b"payloads"}


def test_batches_opened_again_after_a_loss_are_gathered_without_a_known_size(ledger: Clocked) -> None:
    """Guards the least size: empty batches would be made for ever."""
    ledger.open(JOB, [batch_of("7.3f-1", url("a.test", 1), url("a.test", 2), url("b.test", 1))])
    claim = claimed(ledger, "7.3f-1")
    pieces = [piece([url("a.test", n) for n in (1, 2)], 30.0), piece([url("b.test", 1)], 30.0)]
    assert ledger.close(claim, report_of(claim, [], handed_off=[claim.child(1), claim.child(2)]), pieces)
    ledger.advance(31.0)

    assert [made.urls for made in fetched(ledger)] == [3]
    assert record_of(ledger).open == 0


def test_stragglers_of_a_batch_of_pieces_continue_alone(ledger: Clocked) -> None:
    park(ledger, "1", *(piece([url(f"{n}.test", k) for k in range(4)], 30.0) for n in range(2)))
    ledger.advance(31.0)
    (claim,) = gathered(ledger)
    done, rest = urls_in(claim)[:5], urls_in(claim)[5:]
    kept = claim.kept(1, pack_entries([BatchEntry(url=each) for each in rest]), 3)
    assert ledger.close(claim, report_of(claim, done, handed_off=[kept.batch]), kept=kept)

    assert urls_in(kept) == rest
    assert ledger.close(kept, report_of(kept, rest))
    assert not stored(ledger, kept.batch).gathered
    assert record_of(ledger).open == 0


def test_after_stragglers_the_hosts_next_batch_is_gathered(ledger: ClockedLedger) -> None:
    park(ledger, "1", piece([url("big.test", n) for n in range(10)], 30.0))
    park(ledger, "2", piece([url("big.test", n) for n in range(10, 14)], 30.0))
    ledger.advance(31.0)
    (claim,) = gathered(ledger)
    assert claim.is_owner
    kept = claim.kept(1, pack_entries([BatchEntry(url=url("big.test", 0))]), 1)
    assert ledger.close(claim, report_of(claim, urls_in(claim)[1:], handed_off=[kept.batch]), kept=kept)

    assert not kept.is_owner
    assert [claim.urls for claim in gathered(ledger)] == [4]
