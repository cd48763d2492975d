"""Real Celery workers run batches: with every pool, two at once, asked to stop, given unreadable messages."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from contract.cluster.dispatch import queue_depth
from contract.ledger.ledger import RedisLedger
from contract.ledger.values import NewBatch
from contract.records.batches import BatchEntry, pack_entries, unpack_entries
from contract.records.outcomes import Ending, ErrorClass
from contract.records.policy import Digest
from contract.records.reports import BatchReport
from contract.urls.naming import output_name
from tests.support.bodies import body_bytes
from tests.support.celery_worker import PROJECT, CeleryWorker
from tests.support.cluster import POLICY, Cluster
from tests.support.misbehaving import MisbehavingServer, SeenRequest
from tests.support.object_versions import SIZE
from tests.support.person import ran
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer

CELERY_WORKER = (sys.executable, "-m", "celery", "-A", "worker", "worker")
_HELD = 100_000  # bytes after which a range is held


def a_worker_without_xxhash(cluster: Cluster) -> CeleryWorker:
    lacking = cluster.folder / "lacking"
    lacking.mkdir()
    (lacking / "xxhash.py").write_text("raise ImportError")
    return cluster.worker(PYTHONPATH=str(lacking))


def test_a_report_holds_worker_times_and_concurrency(cluster: Cluster, server: MisbehavingServer) -> None:
    with cluster.worker() as worker:
        cluster.enqueue("job", [server.url(f"/good?seed={seed}") for seed in range(8)])
        (report,) = cluster.reports("job")

    assert report.worker.startswith(worker.name)
    assert report.queued <= report.started <= report.finished
    assert report.elapsed == pytest.approx(report.finished - report.started, abs=1e-3)
    assert report.busy == pytest.approx(sum(outcome.timing.total for outcome in report.outcomes), rel=0.01)
    assert cluster.app.AsyncResult("job.1").get(timeout=60)["summary"] == {"ok": 8}


def test_a_worker_that_lacks_a_package_ends_the_urls_at_once_and_says_why(
    cluster: Cluster, server: MisbehavingServer
) -> None:
    """Guards the ``except`` of ``starts``: the batch was held until its lease expired, five times, and was poison."""
    urls = [server.url(f"/good?seed={seed}") for seed in range(3)]

    with a_worker_without_xxhash(cluster):
        cluster.enqueue("job", urls, policy=replace(POLICY, digest=Digest.XXH3))
        (report,) = cluster.reports("job")

    assert sorted(row.url for row in report.outcomes) == urls
    assert {(row.ending, row.error, row.detail) for row in report.outcomes} == {
        (Ending.FAILED, ErrorClass.UNSUPPORTED, "The digest xxh3 needs a package: pip install 'trawlnet[digests]'.")
    }
    assert not server.log.requests()


def test_a_worker_that_lacks_a_package_leaves_the_job_to_one_that_has_it(
    cluster: Cluster, redis: RedisServer, server: MisbehavingServer
) -> None:
    """Guards what a worker tells the ledger: the one without the package ended 30,000 URLs in two seconds."""
    batches = [[server.url(f"/good?seed={number}")] for number in range(12)]

    with a_worker_without_xxhash(cluster), cluster.worker() as capable:
        with redis.client() as client:
            await_condition(lambda: client.exists("trawl:computes:xxh3"), within=60, what="a capable worker's report")
        cluster.enqueue("job", *batches, policy=replace(POLICY, digest=Digest.XXH3))
        reports = cluster.reports("job")

    assert {str(row.ending) for report in reports for row in report.outcomes} == {"ok"}
    assert all(report.worker.startswith(capable.name) for report in reports)


def test_a_few_slow_urls_keep_no_others_waiting(cluster: Cluster, server: MisbehavingServer) -> None:
    """Guards the close around stragglers: two batches of slow URLs filled what a process may hold."""
    cluster.environment["TRAWL_TRANSFERS"] = "16"
    held = [server.url(f"/held?n={number}") for number in range(6)]
    quick = [[server.url(f"/good?size=10&batch={batch}&n={n}") for n in range(40)] for batch in range(6)]

    with cluster.worker():
        cluster.enqueue("job", *([*urls, slow] for urls, slow in zip(quick, held, strict=True)))
        stored = [cluster.output / output_name(url) for urls in quick for url in urls]
        await_condition(lambda: all(path.exists() for path in stored), within=60, what="all that is quick")
        assert not any((cluster.output / output_name(url)).exists() for url in held)
        await_condition(
            lambda: len(cluster.ledger.closed("job")) >= 2, within=60, what="the report of all but the last batches"
        )
        server.log.let_go.set()
        reports = cluster.reports("job")

    rows = [row for report in reports for row in report.outcomes]
    assert {str(row.ending) for row in rows} == {"ok"}
    assert sorted(row.url for row in rows) == sorted([*(url for urls in quick for url in urls), *held])
    assert len(reports) <= 12, "two closes for each batch"
    assert len([seen for seen in server.log.requests() if seen.path == "/held"]) == 6, "undisturbed"


def test_a_stopped_worker_reports_what_is_done_and_hands_off_the_rest(
    cluster: Cluster, server: MisbehavingServer
) -> None:
    quick = [server.url(f"/good?seed={seed}") for seed in range(5)]
    hanging = [server.url(f"/silence?after=head&n={n}") for n in range(5)]

    with cluster.worker() as worker:
        cluster.enqueue("job", quick + hanging)
        server.log.wait_for_requests(10)
        stored = [cluster.output / output_name(url) for url in quick]
        await_condition(lambda: all(path.exists() for path in stored), within=20, what="what is quick")
        worker.stop()
        assert worker.left_behind == []

    (batch,) = cluster.ledger.closed("job")
    (blob,) = cluster.ledger.reports("job", [batch])
    assert blob is not None
    report = BatchReport.from_result(blob)
    assert sorted(outcome.url for outcome in report.outcomes) == sorted(quick)
    (child,) = report.handed_off
    (payload,) = cluster.ledger.payloads("job", [child])
    assert payload is not None
    assert sorted(entry.url for entry in unpack_entries(payload)) == sorted(hanging)
    assert queue_depth(cluster.app, cluster.queue) == 1  # its message is sent already: no sweep is needed


def test_a_worker_killed_during_a_split_leaves_no_body_with_holes(
    tmp_path: Path, redis: RedisServer, server: MisbehavingServer
) -> None:
    """Guards ``Split.is_whole`` and ``reap``: the body's first and last bytes are there, so its size is right."""
    cluster = Cluster(redis.celery_url(), tmp_path, lease=2.0)
    url = server.url(f"/object?held={_HELD}")
    named = cluster.output / output_name(url)

    with cluster.worker() as first:
        cluster.enqueue("job", [url], policy=replace(POLICY, splits=4, first_byte_timeout=0, slowest=0))
        await_middle(cluster, server, 2)
        assert not named.exists()
        first.kill()
    assert not named.exists()
    torn = len(held(server))
    with cluster.worker() as second:
        await_middle(cluster, server, torn + 2)
        assert not named.exists()
        server.log.let_go.set()
        reports = cluster.reports("job")

    (outcome,) = (outcome for report in reports for outcome in report.outcomes)
    assert (outcome.url, outcome.ending, outcome.notes) == (url, Ending.OK, ("splits=4",))
    assert str(outcome.worker).startswith(second.name)
    assert named.read_bytes() == body_bytes(SIZE)
    assert not list((cluster.output / ".trawl" / "parts").iterdir())


def held(server: MisbehavingServer) -> list[SeenRequest]:
    """Return the requests for ranges that are being answered and have got some of their bytes."""
    return [seen for seen in server.log.requests() if seen.header("range") and seen.sent > _HELD and not seen.is_over]


def await_middle(cluster: Cluster, server: MisbehavingServer, count: int) -> None:
    """Wait until so many ranges are held, and a file, whatever its name, has the size the body will have."""
    server.log.wait_until(lambda: len(held(server)) >= count, 40.0, what=f"{count} ranges that are held")
    await_condition(
        lambda: any(path.stat().st_size == SIZE for path in cluster.output.rglob("*")), within=40, what="a whole size"
    )


def test_a_pool_that_cannot_run_batches_ends_the_worker_at_once(cluster: Cluster) -> None:
    options = ("-P", "threads", "--autoscale", "3,1")

    ended = ran(*CELERY_WORKER, *options, env={"PATH": "/usr/bin:/bin", **cluster.environment})

    assert ended.returncode == 2, ended.stderr
    assert "leave --autoscale out" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_worker_without_poll_reports_it_whatever_its_log_is(tmp_path: Path, cluster: Cluster) -> None:
    """Guards where ``patch_trouble`` is called: eventlet's select waits for ever for a log that is a file."""
    lines = (
        "import select; del select.poll, select.epoll; select.select = lambda *_: print('waited'); import worker.celery"
    )

    with (tmp_path / "log").open("w") as log:
        ended = subprocess.run(
            [sys.executable, "-c", lines], cwd=PROJECT, env={"PATH": "/usr/bin:/bin", **cluster.environment},
            stdout=log, stderr=log, timeout=300, check=False,
        )  # fmt: skip

    assert ended.returncode == 2
    assert (tmp_path / "log").read_text().count("The pool eventlet cannot run Trawlnet") == 1


def test_a_worker_names_variables_that_have_no_effect(cluster: Cluster) -> None:
    with cluster.worker(TRAWL_LANE="4", http_proxy="http://user:s3cret@proxy:3128") as worker:
        worker.wait_for_log("did you mean TRAWL_LANES")
        worker.wait_for_log("http_proxy is set and ignored")

    assert "s3cret" not in worker.log()


def test_a_dead_workers_batch_does_not_wait_for_another_jobs_batch(cluster: Cluster, server: MisbehavingServer) -> None:
    """Guards prefetching over all jobs: the only slot would stay with the long job for minutes."""
    long_job = [[server.url(f"/thinks?ms=250&n={number}")] for number in range(400)]
    cluster.environment["TRAWL_TRANSFERS"] = "2"
    cluster.environment["TRAWL_DRAIN"] = "0"

    with cluster.worker():
        cluster.enqueue("long", *long_job)
        server.log.wait_for_requests(3)
        cluster.ledger.create("other", POLICY)
        cluster.ledger.open("other", [NewBatch("1", pack_entries([BatchEntry(url=server.url("/good"))]), 1)])
        dead = RedisLedger(cluster.ledger._redis, lease=0.1).claim("other", "1", holder="dead")
        assert dead is not None
        cluster.ledger.seal("other", {"urls": 1})

        (report,) = cluster.reports("other")
        left = cluster.ledger.job("long")

    assert report.counts() == {"ok": 1}
    assert left is not None
    assert left.open > 0, "the long job is not over"
