"""``trawl follow`` alone, on a job that another machine enqueued: what it can do when Redis is emptied."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest

from contract.errors import FolderError, UnknownJobError
from contract.ledger.values import NewBatch
from contract.records.batches import BatchEntry, pack_entries
from contract.records.messages import BatchMessage
from contract.records.outcomes import Outcome
from contract.records.policy import JobPolicy
from contract.records.snapshots import ProgressSnapshot
from producer.api.jobs import Client
from producer.cluster.client import Retrying
from producer.job.ledger_mirror import LedgerMirror
from producer.job.manifest_sink import following
from producer.storage.journal import Journal
from producer.storage.manifest import Manifest
from tests.support.clocked_ledger import claimed
from tests.support.commands import Bench, urls
from tests.support.person import ENOUGH, lines_until
from tests.support.processes import await_condition
from tests.support.stand_in_worker import StandInWorker, everything_ok

URLS = urls(300)


def await_copies(bench: Bench) -> None:
    await_condition(lambda: bench.facts().get("copied", 0) >= 30, within=60, what="copies of all batches")


def test_a_follower_sends_again_what_an_emptied_redis_lost(bench: Bench) -> None:
    """Guards ``LedgerMirror``: the copies, and what it opens from them, hand-offs included."""
    handed_off: set[str] = set()

    def answer(entry: BatchEntry) -> Outcome | None:
        if entry.url.endswith("7") and entry.url not in handed_off:
            handed_off.add(entry.url)
            return None
        return everything_ok(entry)

    job = bench.enqueue(len(URLS))
    with StandInWorker(bench.settings, answer, limit=0) as worker:
        follow = bench.start("follow", job, "-o", "out", "--json")
        await_copies(bench)
        for limit, rows in ((8, 40), (25, 100)):
            worker.limit = limit
            bench.await_rows(rows)
            bench.cluster.redis.flushall()
        worker.limit = math.inf
        out, err = follow.communicate(timeout=ENOUGH)

    assert follow.returncode == 0, err
    assert b"Redis lost this job; sending again" in err
    assert b"Traceback" not in err
    assert Counter(row["url"] for row in bench.rows()) == Counter(URLS)
    assert json.loads(out)["ok"] == 300


def test_all_open_batches_are_copied_before_anything_is_drained(bench: Bench) -> None:
    """Guards ``LedgerMirror.begin``: Redis may be emptied right after the first outcomes came."""
    ledger, retrying = bench.cluster.ledger, Retrying(lambda _line: None)
    ledger.create("job", JobPolicy(timeout=7.0), label="a list")
    batches = [
        NewBatch(str(number), pack_entries([BatchEntry(url=f"http://h/{number}")]), 1) for number in range(1, 251)
    ]
    ledger.open("job", batches)
    journal, manifest = Journal(bench.folder / "state"), Manifest(bench.folder / "manifest.jsonl", 0)
    journal.begin("job")
    follower, _ = following("job", journal=journal, manifest=manifest, services=bench.cluster, retrying=retrying)
    mirror = LedgerMirror("job", journal=journal, follower=follower, services=bench.cluster, retrying=retrying)

    mirror.begin()

    assert journal.count_uncollected() == 250
    ledger.open("job", [NewBatch("251", batches[0].payload, 1)])
    follower.step(at_once=True)
    record = follower.record
    bench.cluster.redis.flushall()
    with pytest.raises(UnknownJobError):
        mirror.step()
    assert (journal.fact("copied"), journal.count_uncollected()) == (250, 250)
    mirror.recover()
    again = ledger.job("job")
    assert record is not None
    assert again is not None
    assert (again.open, again.policy, again.label) == (250, record.policy, "a list")
    claim = claimed(ledger, "250", job="job")
    assert claim.urls == 1
    follower.finish()
    journal.close()
    manifest.close()


def test_open_batches_count_by_their_snapshots_and_closed_ones_by_their_rows(bench: Bench) -> None:
    """Guards LiveProgress.end in ManifestSink._write, which a late snapshot must not undo."""
    ledger = bench.cluster.ledger
    ledger.create("job", JobPolicy())
    ledger.open("job", [NewBatch("1", pack_entries([BatchEntry(url=URLS[0])]), 1)])
    journal, manifest = Journal(bench.folder / "state"), Manifest(bench.folder / "manifest.jsonl", 0)
    journal.begin("job")
    follower, sink = following(
        "job", journal=journal, manifest=manifest, services=bench.cluster, retrying=Retrying(print)
    )
    follower.step()
    before = sink.live.rows

    def counted(rows: int) -> bool:
        follower.step()
        follower.wait(0.05)
        return sink.live.rows == rows

    ledger.send_snapshot("job", ProgressSnapshot("1", {"ok": 1}, 500))
    await_condition(lambda: counted(1), within=20, what="the glimpse")
    with StandInWorker(bench.settings):
        bench.cluster.send([BatchMessage("job", "1")])
        await_condition(follower.step, within=60, what="the row")
    after = sink.live.rows
    ledger.send_snapshot("job", ProgressSnapshot("1", {"ok": 1}, 500))
    ledger.send_snapshot("job", ProgressSnapshot("2", {"ok": 5}, 500))
    await_condition(lambda: counted(6), within=20, what="the snapshot of another batch")

    assert (before, after) == (0, 1)
    follower.finish()
    journal.close()
    manifest.close()


def test_a_job_with_credentials_is_not_opened_again_without_them(bench: Bench) -> None:
    """Guards the check of ``is_secretive``: URLs that need a password would end as 401, one by one."""
    job = bench.enqueue(len(URLS), "--header", "h0.example Authorization: Bearer very-secret-indeed")
    follow = bench.start("follow", job, "-o", "out")
    await_copies(bench)
    bench.cluster.redis.flushall()
    # Either it gives up, or the job is there again: then it would wait for ever, because there is no worker.
    await_condition(lambda: follow.poll() is not None or bench.cluster.ledger.jobs(), within=60, what="an answer")
    assert bench.cluster.ledger.jobs() == []
    out, err = follow.communicate(timeout=ENOUGH)

    assert (follow.returncode, out) == (2, b"")
    assert f"Redis lost job {job}, and its per-host headers" in err.decode().splitlines()[-1]
    assert b"Traceback" not in err
    kept = b"".join(path.read_bytes() for path in (bench.folder / "out").rglob("*") if path.is_file())
    assert b"very-secret" not in kept


def test_a_redis_that_rejects_writes_is_reported(bench: Bench) -> None:
    """Guards ``Follower.held_up``: only the sweep writes, and it reported nothing."""
    job = bench.enqueue(20)
    bench.cluster.ledger.lease = 600.0
    assert bench.cluster.ledger.claim_next(holder="one that never ends", waited=0.0)
    follow = bench.start("follow", job, "-o", "out")
    await_condition(lambda: bench.drains(job), within=60, what="the follower")

    bench.cluster.redis.config_set("maxmemory", 1)

    lines_until(follow, b"| Redis is out of memory.\n")


def test_a_script_and_a_follower_do_not_share_a_job(bench: Bench) -> None:
    """Guards the place where a script's job is collected: each would get some of the outcomes."""
    client = Client(bench.cluster, echo=lambda _line: None)
    with StandInWorker(bench.settings):
        job = client.enqueue(URLS[:5])
        outcomes = list(job.outcomes())
        follow = bench.start("follow", job.id, "-o", "out")
        out, err = follow.communicate(timeout=ENOUGH)

        followed = bench.enqueue(len(URLS))
        first = bench.start("follow", followed, "-o", "other")
        assert first.wait(ENOUGH) == 0
        other = client.enqueue(URLS[:5])
        other.id = followed
        with pytest.raises(FolderError, match=r"is already collected in \S*/other/manifest\.jsonl"):
            next(other.outcomes())
    first.communicate()

    assert sorted(outcome.url for outcome in outcomes) == sorted(URLS[:5])
    assert (follow.returncode, out) == (2, b"")
    assert (b"is already collected in script@" in err, err.count(b"\n")) == (True, 1)
