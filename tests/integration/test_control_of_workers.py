"""Real workers and a job that is paused, resumed or cancelled: which requests they send, and when they stop."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from contract.ledger import control
from contract.records.outcomes import Ending, ErrorClass
from tests.support.cluster import Cluster
from tests.support.misbehaving import MisbehavingServer
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer

_LEASE = 3.0  # seconds


@pytest.fixture
def cluster(tmp_path: Path, redis: RedisServer) -> Cluster:
    made = Cluster(redis.celery_url(), tmp_path, lease=_LEASE)
    made.environment["TRAWL_TRANSFERS"] = "8"
    return made


def batches(server: MisbehavingServer, count: int, size: int = 25) -> list[list[str]]:
    return [[server.url(f"/thinks?ms=50&batch={batch}&n={n}") for n in range(size)] for batch in range(count)]


def is_let_alone(cluster: Cluster) -> bool:
    """Does no worker hold anything of the job, nor could take it?"""
    record = cluster.ledger.job("job")
    return record is not None and (record.running, cluster.ledger.count_waiting()) == (0, 0)


def test_no_request_starts_while_a_job_is_paused_even_if_workers_die_and_start(
    cluster: Cluster, server: MisbehavingServer
) -> None:
    lists = batches(server, 40)
    with ExitStack() as stack:
        workers = [stack.enter_context(cluster.worker()) for _ in "1234"]
        cluster.enqueue("job", *lists)
        server.log.wait_for_requests(60)

        control.pause(cluster.ledger, "job")
        for worker in workers[:2]:
            worker.kill()
        await_condition(lambda: is_let_alone(cluster), within=60, what="the end of what is held")
        before = len(server.log.requests())
        assert before < 1000
        stack.enter_context(cluster.worker())
        assert server.log.await_quiet(_LEASE + 3) == before, "not by those that come later, nor when a lease is over"
        assert is_let_alone(cluster)

        control.resume(cluster.ledger, "job")
        reports = cluster.reports("job")

    outcomes = [outcome for report in reports for outcome in report.outcomes]
    assert {outcome.ending for outcome in outcomes} == {Ending.OK}
    assert sorted(outcome.url for outcome in outcomes) == sorted(url for urls in lists for url in urls)


def test_urls_of_a_cancelled_job_end_as_cancelled_unless_they_are_in_flight(
    cluster: Cluster, server: MisbehavingServer
) -> None:
    cluster.environment["TRAWL_DRAIN"] = "60"
    lists = [[server.url(f"/held?batch={batch}&n={n}") for n in range(25)] for batch in range(4)]
    with cluster.worker():
        cluster.enqueue("job", *lists)
        server.log.wait_for_requests(8)

        control.cancel(cluster.ledger, "job")
        await_condition(lambda: waits_aside(cluster), within=60, what="what waits to be ended")
        server.log.let_go.set()
        reports = cluster.reports("job")

    outcomes = [outcome for report in reports for outcome in report.outcomes]
    asked = {seen.target for seen in server.log.requests()}
    fetched = [outcome for outcome in outcomes if outcome.ending is Ending.OK]
    assert {outcome.error for outcome in outcomes if outcome.ending is not Ending.OK} == {ErrorClass.CANCELLED}
    assert len(outcomes) == 100
    assert len(fetched) == len(asked) < 40, "nothing began after it was cancelled"


def waits_aside(cluster: Cluster) -> bool:
    """Is all ended that no worker held?"""
    record = cluster.ledger.job("job")
    return record is not None and record.open == record.running and record.counts["failed"] > 0


def test_celerys_revoke_neither_loses_nor_cancels_anything(cluster: Cluster, server: MisbehavingServer) -> None:
    """A message means that a batch waits, not which one: `trawl cancel` is what ends a job."""
    lists = batches(server, 6)
    with cluster.worker():
        cluster.app.control.revoke([f"job.{number}" for number in range(3, 7)])
        cluster.enqueue("job", *lists)
        server.log.wait_for_requests(10)
        cluster.app.control.revoke([f"job.{number}" for number in range(1, 7)], terminate=True, signal="SIGKILL")
        reports = cluster.reports("job")

    outcomes = [outcome for report in reports for outcome in report.outcomes]
    assert {outcome.ending for outcome in outcomes} == {Ending.OK}
    assert sorted(outcome.url for outcome in outcomes) == sorted(url for urls in lists for url in urls)
