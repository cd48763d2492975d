"""What the ledger's sweep finds: lost messages, expired leases, URLs that kill their workers."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from contract.ledger.sweep import Sweeper
from contract.ledger.values import Child
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
    report_of,
    round_trips,
)

# ---------------------------------------------------------------------------------------------- lost messages


def test_a_waiting_batch_without_a_message_gets_one(ledger: Clocked) -> None:
    """Guards the count of the sweep: as many messages as batches wait, whichever was lost."""
    ledger.open(JOB, [batch_of("1"), batch_of("2"), batch_of("3")])
    ledger.advance(4.0)
    assert ledger.swept()[1] == [], "their messages may be on their way"

    ledger.advance(2.0)
    assert ledger.swept()[1] == [f"{JOB}/1", f"{JOB}/2", f"{JOB}/3"]

    assert ledger.swept(waiting=3)[1] == []
    assert ledger.swept(waiting=2)[1] == [f"{JOB}/1"], "one was lost: any will do"
    assert ledger.swept(waiting=17)[1] == [], "of messages that are left over each leads to a batch"


def test_a_message_just_delivered_does_not_count_as_missing(ledger: Clocked) -> None:
    """Guards what the sweep counts: a message between queue and claim is in neither."""
    ledger.open(JOB, [batch_of("1")])
    ledger.advance(6.0)
    ledger.open(JOB, [batch_of("2"), batch_of("3")])

    assert ledger.swept(waiting=0)[1] == [f"{JOB}/1"]


def test_a_batch_put_back_gets_a_message_at_once_unless_there_are_spare_ones(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1"), batch_of("2")])
    for batch in ("1", "2"):
        claimed(ledger, batch)
    ledger.advance(21.0)

    findings, sent = ledger.swept(waiting=1)

    assert findings.again == {JOB: ["1", "2"]}
    assert (findings.sent, sent) == (1, [f"{JOB}/1"])


def test_a_prefetching_claim_is_repeated_if_its_reply_was_lost(
    client: redis.Redis, ledger: ClockedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards ``ahead`` in claim.lua: another batch would be held in vain until its lease ends."""
    monkeypatch.setattr("secrets.token_hex", lambda size: "the same token")
    ledger.open(JOB, [batch_of("1"), batch_of("2")])

    first, again = next_of(ledger), next_of(ledger)

    assert first == again
    assert record_of(ledger).running == 1
    ledger.close(first, report_of(first))
    assert not client.exists("trawl:2:ahead")
    assert next_of(ledger).batch == "2"
    ledger.advance(21.0)
    ledger.swept()
    assert not client.exists("trawl:2:ahead"), "nobody holds anything"


def test_prefetching_skips_entries_of_vanished_jobs(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards the ZREM of claim.lua: keys expire one by one, and remains of a job must not hide the others."""
    for job in ("gone", "half-gone"):
        ledger.create(job, JobPolicy())
        ledger.open(job, [batch_of("1"), batch_of("2")])
    client.delete("trawl:2:job:gone:batches", "trawl:2:job:half-gone")
    ledger.advance(1.0)
    ledger.open(JOB, [batch_of("1")])

    assert next_of(ledger).job == JOB
    assert ledger.claim_next(holder="worker", waited=0.0) is None
    assert client.zcard("trawl:2:sent") == 0


def test_if_the_broker_cannot_count_silence_means_loss(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1"), batch_of("2")])
    ledger.advance(10.0)
    claimed(ledger, "1")
    ledger.advance(25.0)
    assert ledger.swept(waiting=None)[1] == [f"{JOB}/1"], "only the lease that ran out: something was taken lately"
    claimed(ledger, "1")

    ledger.advance(19.0)
    assert ledger.swept(waiting=None)[1] == []
    ledger.advance(12.0)

    assert sorted(ledger.swept(waiting=None)[1]) == [f"{JOB}/1", f"{JOB}/2"]
    assert ledger.swept(waiting=None)[1] == [], "sent a moment ago"
    ledger.advance(31.0)
    assert len(ledger.swept(waiting=None)[1]) == 2


def test_one_sweep_at_a_time(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1")])
    ledger.advance(60.0)
    ledger.swept()
    ledger.advance(60.0)
    looks: list[int] = []

    def look(number: int) -> int:
        looks.append(number)
        return 3

    def sweep(number: int) -> None:
        sweeper = Sweeper(ledger, holder="h", queue_depth=lambda: look(number), send=lambda _: None, pause=30.0)
        sweeper.sweep()

    ledger.let_sweep(after_silence=False)
    at_once(8, sweep)

    assert len(looks) == 1


def test_after_a_silence_holders_may_renew_before_leases_end(ledger: Clocked) -> None:
    """Guards ``was_watched``: while Redis is unreachable no holder can renew, and that must not wear out a batch."""
    ledger.open(JOB, [batch_of("1"), batch_of("2")])
    alive = claimed(ledger, "1")
    claimed(ledger, "2")
    ledger.advance(600.0)

    assert ledger.swept(after_silence=True)[1] == []
    assert ledger.renew(alive)

    assert ledger.swept()[1] == [f"{JOB}/2"]


def test_the_sweep_recognises_silence_by_itself(client: redis.Redis, ledger: ClockedLedger) -> None:
    ledger.open(JOB, [batch_of("1")])
    claimed(ledger, "1")
    ledger.advance(600.0)
    sent: list[Any] = []

    for expected in (0, 1):
        client.delete("trawl:2:sweeping")
        Sweeper(ledger, holder="sweeper", queue_depth=lambda: 0, send=sent.extend).sweep()
        assert len(sent) == expected
    assert 5000 < client.pttl("trawl:2:watched") <= 10_000, "half a lease of silence"


def test_sweeps_are_rare_while_nothing_can_become_overdue(ledger: Clocked) -> None:
    """Guards ``rest`` in sweep.lua: until a lease ends or a batch comes due, but 0.5 to 5 s."""

    def pause(seconds: float, *, after_silence: bool = False) -> float:
        ledger.advance(seconds)
        ledger.let_sweep(after_silence=after_silence)
        rests = [ledger.sweep(pause=2.0, longest=5.0, silence=10.0, lost_after=5.0).rest for _ in range(2)]
        assert rests[1] == pytest.approx(rests[0], abs=0.4), "for every process, not just the one that swept"
        return round(rests[0], 2)

    ledger.open(JOB, [batch_of("1"), batch_of("2")])
    claim = claimed(ledger, "1")
    assert pause(0.0) == 5.0
    assert pause(10.0) == 5.0
    assert pause(7.0) == 3.0, "its lease ends then"
    assert ledger.renew(claim)
    assert pause(3.0) == 5.0
    child = Child(batch_of("1").payload, 1, after=3.0)
    ledger.close(claim, report_of(claim, [], handed_off=[claim.child(1)]), [child])
    assert pause(0.0) == 3.0, "it is due then"
    assert pause(2.2) == 0.8
    assert pause(0.7) == 0.5, "what comes due within a moment shares a sweep"
    claimed(ledger, "2")
    assert pause(30.0, after_silence=True) == 2.0, "nothing was ended yet"


def test_a_process_that_knows_no_sweep_is_due_does_not_ask(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards ``_from``: every worker would ask several times a second, however little there is to do."""
    ledger.open(JOB, [batch_of("1")])
    client.set("trawl:2:watched", b"1")
    now = 100.0
    sweepers = [
        Sweeper(ledger, holder="h", queue_depth=lambda: 3, send=lambda _: None, clock=lambda: now) for _ in range(2)
    ]
    for sweeper in sweepers:
        sweeper.sweep()

    assert round_trips(client, lambda: [sweeper.sweep() for sweeper in sweepers]) == []
    now = 101.9
    client.delete("trawl:2:sweeping")
    assert round_trips(client, lambda: [sweeper.sweep() for sweeper in sweepers]) == []
    now = 102.0
    assert len(round_trips(client, lambda: [sweeper.sweep() for sweeper in sweepers])) == 2
    now = 103.9
    assert round_trips(client, lambda: [sweeper.sweep() for sweeper in sweepers]) == [], "5 s to go, but asked by 104.0"
    now = 104.0
    assert len(round_trips(client, lambda: [sweeper.sweep() for sweeper in sweepers])) == 2


def test_the_queue_is_counted_only_if_a_message_may_be_lost(ledger: Clocked) -> None:
    ledger.open(JOB, [batch_of("1")])
    asked: list[int] = []

    def waiting() -> int:
        asked.append(1)
        return 3

    def sweep() -> None:
        ledger.let_sweep(after_silence=False)
        Sweeper(ledger, holder="h", queue_depth=waiting, send=lambda _: None).sweep()

    ledger.advance(4.0)
    sweep()
    assert asked == []
    ledger.advance(2.0)
    sweep()
    assert asked == [1]


def test_a_sweep_skips_entries_without_a_batch(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards the ZREM of sweep.lua: keys expire one by one, and half a job must not stop the sweep of the others."""
    ledger.open(JOB, [batch_of("1")])
    for key in ("leases", "due"):
        client.zadd(f"trawl:2:job:{JOB}:{key}", {"gone": 1.0})
    for key in ("sent", "overdue"):
        client.zadd(f"trawl:2:{key}", {"gone/1": 1.0})
    ledger.advance(10.0)

    assert ledger.swept()[1][-1] == f"{JOB}/1"

    assert [client.zscore(f"trawl:2:job:{JOB}:{key}", "gone") for key in ("leases", "due")] == [None] * 2
    assert next_of(ledger).batch == "1"
    assert [client.zscore(f"trawl:2:{key}", "gone/1") for key in ("sent", "overdue")] == [None] * 2


def test_a_job_that_expired_is_not_swept_for_ever(client: redis.Redis, ledger: ClockedLedger) -> None:
    ledger.open(JOB, [batch_of("1")])
    client.delete(*(f"trawl:2:job:{JOB}{part}" for part in ("", ":batches", ":payloads")))

    ledger.swept()

    assert client.smembers("trawl:2:active") == set()
