"""A Redis that comes back slightly older than it was, after a failover or a power cut."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import redis

from contract.cluster.settings import ClusterSettings
from contract.ledger.ledger import RedisLedger
from contract.ledger.values import Child, Claim
from contract.records.batches import BatchEntry, pack_entries
from contract.records.outcomes import Outcome
from contract.records.policy import JobPolicy
from contract.urls.naming import output_name
from producer.api.jobs import Client, Job
from producer.cluster.client import Cluster, Retrying
from producer.job.follower import LostJobError
from producer.job.manifest_sink import following
from producer.job.sender import BatchSender, NewJob
from producer.storage.journal import Journal, KeptBatch
from producer.storage.manifest import Manifest
from tests.support.clocked_ledger import batch_of, claimed, next_of, report_of
from tests.support.commands import Bench, every_url_once
from tests.support.person import ENOUGH
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer
from tests.support.stand_in_worker import StandInWorker

URLS = [f"http://host.test/{number}" for number in range(60)]
JOB = "a-job"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", unix=True) as running:
        yield running


def test_batches_redis_forgot_are_sent_again(bench: Bench) -> None:
    """Guards the comparison of journal and ledger in ``Follower.step``: without it the run waits for ever."""
    run = bench.start("run", bench.write_list(*URLS), "-o", "out", "--batch-size", "10")
    bench.await_batches(6)
    job = bench.job()
    await_condition(lambda: bench.record(job).is_sealed, within=30, what="its end")

    # All at once: the run looks meanwhile, and must not mend half of it.
    with bench.cluster.redis.pipeline(transaction=True) as forgetting:
        for batch in ("2", "3"):
            forgetting.hdel(f"trawl:2:job:{job}:batches", batch)
            forgetting.hdel(f"trawl:2:job:{job}:payloads", batch)
            forgetting.zrem("trawl:2:sent", f"{job}/{batch}")
        forgetting.execute()

    with StandInWorker(bench.settings):
        _, err = run.communicate(timeout=ENOUGH)
    assert run.returncode == 0, err
    assert every_url_once(bench.rows(), URLS)


class Memory:
    """All that a Redis holds, to be put back later: an older snapshot that a replica or a disk still had."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        found = {key: (client.dump(key), client.pttl(key)) for key in cast("list[bytes]", client.keys())}
        # A key whose time is over between two of these calls is none a snapshot would have.
        self._values = {
            key: (value, max(0, left)) for key, (value, left) in found.items() if value is not None and left != -2
        }

    def put_back(self) -> None:
        self._client.flushall()
        for key, (value, milliseconds) in self._values.items():
            self._client.restore(key, milliseconds, value)


def entries_of(urls: Sequence[str]) -> list[BatchEntry]:
    return [BatchEntry(url=url) for url in urls]


def close(
    ledger: RedisLedger, claim: Claim, done: Sequence[str], left: Sequence[str] = (), *, is_parked: bool = False
) -> None:
    """Close a batch as a worker would that fetched some of its URLs and hands off the others, parked or not."""
    report = report_of(claim, done, handed_off=[claim.child(1)] if left else [])
    child = Child(pack_entries(entries_of(left)), len(left))
    if is_parked:
        child = replace(child, after=0.001, hosts={"a.test:80": len(left)})
    assert ledger.close(claim, report, [child] if left else [])


def work(ledger: RedisLedger) -> None:
    """Do all that waits."""
    while claim := ledger.claim_next(holder="worker", waited=0.0):
        close(ledger, claim, [entry.url for entry in claim.entries()])


class Desk:
    """A producer's side of a job of one batch, driven step by step."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        url = server.celery_url()
        self.cluster = Cluster(ClusterSettings(broker_url=url, result_backend=url))
        self.ledger = self.cluster.ledger
        self.journal = Journal(folder / ".trawl")
        self.manifest = Manifest(folder / "manifest.jsonl", 0)
        retrying = Retrying(lambda _line: None)
        self.journal.begin(JOB)
        self.opening = BatchSender(
            NewJob(id=JOB, label="", policy=JobPolicy()), journal=self.journal, services=self.cluster, retrying=retrying
        )
        self.follower, self.sink = following(
            JOB, journal=self.journal, manifest=self.manifest, services=self.cluster, retrying=retrying
        )

    def open(self, *batches: Sequence[str]) -> None:
        entries = [entries_of(urls) for urls in batches]
        kept = [KeptBatch(str(n), len(each), pack_entries(each)) for n, each in enumerate(entries, 1)]
        self.journal.record_fed(kept, None)
        count = sum(map(len, batches))
        self.opening.open_again({"lines": count, "urls": count, "duplicates": 0, "refused": 0})

    def follow(self) -> None:
        """Drain all there is, opening again what Redis has lost."""
        try:
            while self.follower.step(at_once=True):
                pass
        except LostJobError:
            self.opening.open_again(None)

    def rows(self) -> list[str]:
        return [json.loads(line)["url"] for line in self.manifest.path.read_text("utf-8").splitlines()]

    def close(self) -> None:
        self.follower.finish()
        self.manifest.close()
        self.journal.close()
        self.cluster.close()


@pytest.fixture
def desk(server: RedisServer, tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "out").mkdir()
    sat_at = Desk(server, tmp_path / "out")
    yield sat_at
    sat_at.close()


@pytest.mark.parametrize("is_forgotten", [True, False], ids=["forgotten before", "not forgotten before"])
@pytest.mark.parametrize("is_drained_late", [True, False], ids=["drained at the end", "drained in between"])
def test_a_batch_handed_off_differently_again_gives_every_url_one_row(
    desk: Desk, is_drained_late: bool, is_forgotten: bool
) -> None:
    """Guards the token in a child's name, and the check for strangers in ``ManifestSink._counting``."""
    a, b, c, d = urls = URLS[:4]
    desk.open(urls)
    older = Memory(desk.cluster.redis)
    first = claimed(desk.ledger, "1", holder="first")
    close(desk.ledger, first, [a], [b, c, d])
    assert desk.follower.step(at_once=True) == 1
    if is_forgotten:
        desk.follower.step(at_once=True)

    older.put_back()
    second = claimed(desk.ledger, "1", holder="second")
    close(desk.ledger, second, [a, b], [c, d])
    if not is_drained_late:
        desk.follow()
    strange = next_of(desk.ledger, holder="second")
    assert strange.batch not in (first.child(1), "1")
    close(desk.ledger, strange, [c], [d])
    if not is_drained_late:
        desk.follow()
    for _ in range(5):
        work(desk.ledger)
        desk.follow()

    assert desk.journal.count_uncollected() == 0
    assert sorted(desk.rows()) == sorted(urls)


def test_reports_written_one_by_one_give_every_url_one_row(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ``ManifestSink._counting``: a batch drained with its parent comes again, and is a stranger then."""
    a, b, c = urls = URLS[:3]
    desk.open(urls)
    monkeypatch.setattr(desk.sink, "_written_at_once", 1)
    for done, left in (([a], [b, c]), ([b], [c]), ([c], [])):
        claim = next_of(desk.ledger)
        close(desk.ledger, claim, done, left)

    assert desk.follower.step(at_once=True) == 3

    assert desk.rows() == urls
    assert desk.journal.count_uncollected() == 0


def test_a_resumed_follower_remembers_the_files_of_the_killed_one(server: RedisServer, tmp_path: Path) -> None:
    """Guards remember_rest in ManifestSink: later writes would hide that those rows were not remembered."""
    desk = Desk(server, tmp_path)
    desk.journal.begin(JOB, manifest=desk.manifest.path)
    desk.open(URLS[:2])
    claim = next_of(desk.ledger)
    close(desk.ledger, claim, URLS[:1], URLS[1:2])
    assert desk.follower.step(at_once=True) == 1
    offset = desk.manifest.offset
    desk.close()

    again = Cluster(desk.cluster.settings)
    journal, manifest = Journal(tmp_path / ".trawl", rows_in_memory=1), Manifest(desk.manifest.path, offset)
    follower, _ = following(JOB, journal=journal, manifest=manifest, services=again, retrying=Retrying(print))
    work(again.ledger)
    assert follower.step(at_once=True) == 1
    follower.finish()

    journal.begin("another", manifest=tmp_path / "another.jsonl")
    rows = [journal.files.outcome(bytes.fromhex(output_name(url))) for url in URLS[:2]]
    assert [row and row.url for row in rows] == URLS[:2]
    journal.close()
    manifest.close()
    again.close()


def test_a_script_gets_no_outcome_twice_from_a_redis_that_came_back_older(server: RedisServer) -> None:
    """Guards ``_Reports._counts``."""
    url = server.celery_url()
    cluster = Cluster(ClusterSettings(broker_url=url, result_backend=url))
    a, b, c = urls = URLS[:3]
    cluster.ledger.create(JOB, JobPolicy())
    job = Job(JOB, Client(cluster, echo=lambda _line: None))
    cluster.ledger.open(JOB, [batch_of("1", *urls)])
    opened = next_of(cluster.ledger, holder="nobody")
    close(cluster.ledger, opened, [], [a, b, c])
    assert [report.handed_off for report in job.new_reports()] == [[opened.child(1)]]
    older = Memory(cluster.redis)
    outcomes: list[Outcome] = []

    def take() -> None:
        outcomes.extend(outcome for report in job.new_reports() for outcome in report.outcomes)

    for left in ([c], [b, c]):
        again = next_of(cluster.ledger)
        close(cluster.ledger, again, [url for url in urls if url not in left], left)
        take()
        take()  # forgets in Redis what the last one brought
        if left == [c]:
            older.put_back()
    work(cluster.ledger)
    take()
    take()
    cluster.close()

    assert Counter(outcome.url for outcome in outcomes) == Counter([a, b])


def park(ledger: RedisLedger, batch: str) -> None:
    """Close a batch as a worker would that fetched its first URL, and whose others' host asked to wait."""
    claim = ledger.claim(JOB, batch, holder="worker")
    if claim is None:
        return  # not there in an older Redis, or done
    first, *others = [entry.url for entry in claim.entries()]
    close(ledger, claim, [first], others, is_parked=True)


ACTS = ("park 1", "follow", "park 2", "park 3", "gather", "follow", "fetch", "follow", "follow")


@pytest.mark.parametrize("loss", ["emptied", "older"])
@pytest.mark.parametrize("lost_after", range(len(ACTS)), ids=[f"{n}-{act}" for n, act in enumerate(ACTS)])
def test_whenever_redis_loses_parked_batches_each_url_gets_one_row(
    server: RedisServer, tmp_path: Path, lost_after: int, loss: str
) -> None:
    """Guards the entries that stay until reports are forgotten, and that a report is collected for all its batches."""
    for kept_after in range(lost_after + 1) if loss == "older" else [lost_after]:
        (tmp_path / str(kept_after)).mkdir()
        desk = Desk(server, tmp_path / str(kept_after))
        desk.cluster.redis.flushall()
        urls = URLS[:9]
        desk.open(urls[:3], urls[3:6], urls[6:])
        older = Memory(desk.cluster.redis)
        for number, act in enumerate(ACTS):
            match act.split():
                case ["park", batch]:
                    park(desk.ledger, batch)
                case ["gather"]:
                    time.sleep(0.002)
                    desk.ledger.gather(JOB)
                case ["fetch"]:
                    work(desk.ledger)
                case _:
                    desk.follow()
            if number == kept_after:
                older = Memory(desk.cluster.redis)
            if number == lost_after:
                desk.cluster.redis.flushall() if loss == "emptied" else older.put_back()
        for _ in range(8):
            desk.ledger.gather(JOB)
            work(desk.ledger)
            desk.follow()

        assert desk.journal.count_uncollected() == 0
        assert Counter(desk.rows()) == Counter(urls)
        desk.close()
