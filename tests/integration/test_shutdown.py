"""A worker asked to stop exits in time while Redis is silent, and a killed one leaves no process behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from tests.support.celery_worker import PROJECT, CeleryWorker
from tests.support.cluster import Cluster
from tests.support.late_pool import WAITING
from tests.support.misbehaving import MisbehavingServer
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer
from tests.support.relay import Relay

POOLS = ("prefork", "threads", "solo")
GRACE = 30.0  # seconds a container gets by default; without a departure it took 45 to 103


@pytest.fixture
def relay(redis: RedisServer) -> Iterator[Relay]:
    with Relay(("127.0.0.1", redis.port)) as relay:
        yield relay


@pytest.fixture
def workers(tmp_path: Path, relay: Relay) -> Iterator[dict[str, CeleryWorker]]:
    """A worker of each pool, each in the middle of a batch that never ends by itself, when Redis falls silent."""
    cluster = Cluster(f"redis://127.0.0.1:{relay.port}/0", tmp_path)
    with MisbehavingServer() as server, ExitStack() as stack:
        begun = {pool: cluster.worker(pool=pool).start(wait=False) for pool in POOLS}
        for worker in begun.values():
            stack.enter_context(worker).wait_until_ready()
        holders: set[str] = set()
        for number in count(1):  # a worker may claim a second batch before another has claimed any
            cluster.enqueue(f"job-{number}", [server.url(f"/silence?after=head&n={number}")])
            server.log.wait_for_requests(number)
            holders.update(cluster.ledger.open_batches(f"job-{number}").held)
            if len(holders) == len(POOLS):
                break
        relay.freeze()
        yield begun
        relay.thaw()


def test_a_stopped_worker_of_any_pool_exits_within_a_containers_grace(workers: dict[str, CeleryWorker]) -> None:
    for worker in workers.values():
        worker.send_signal(signal.SIGTERM)

    codes = {pool: worker.wait(within=GRACE) for pool, worker in workers.items()}

    assert codes == dict.fromkeys(POOLS, 1), "it could not take leave"
    for worker in workers.values():
        worker.stop()
        assert worker.left_behind == []
        assert "exiting now. Unfinished batches are retried when their leases expire." in worker.log()


def is_idle(worker: CeleryWorker) -> bool:
    said = worker.log()
    return said.count("] received\n") == said.count("] succeeded in ") > 0


def test_an_idle_worker_exits_soon_and_with_success(tmp_path: Path, relay: Relay) -> None:
    """Guards ``_exit_when_idle``: it waited for answers that could no longer come, and exited as if it had failed."""
    cluster = Cluster(f"redis://127.0.0.1:{relay.port}/0", tmp_path)
    with MisbehavingServer() as server, cluster.worker(concurrency=2) as worker:
        cluster.enqueue("job", *([server.url(f"/good?n={number}")] for number in range(4)))
        assert [report.counts() for report in cluster.reports("job")] == [{"ok": 1}] * 4
        # One task may have run all batches: the message that is left over is in hand for a moment, too.
        await_condition(lambda: is_idle(worker), within=30, what="no task in hand")
        relay.freeze()

        worker.send_signal(signal.SIGTERM)

        assert worker.wait(within=GRACE) == 0
        assert "No batch is running; exiting." in worker.log()
        relay.thaw()


def test_a_second_signal_or_sigquit_ends_a_worker_at_once(workers: dict[str, CeleryWorker]) -> None:
    for pool, sent in (("prefork", signal.SIGTERM), ("threads", signal.SIGINT)):
        workers[pool].send_signal(sent)
        workers[pool].wait_for_log("Warm shutdown")
        workers[pool].send_signal(sent)
    workers["solo"].send_signal(signal.SIGQUIT)

    for worker in workers.values():
        assert worker.wait(within=GRACE) == 1
        worker.stop()
        assert worker.left_behind == []
        assert "Exiting now" in worker.log()
        assert "ending now" not in worker.log()


def test_a_worker_killed_while_starting_leaves_no_pool_process_behind(tmp_path: Path, cluster: Cluster) -> None:
    program = PROJECT / "tests/support/late_pool.py"
    with CeleryWorker(tmp_path, env=cluster.environment, concurrency=2, program=program).start(wait=False) as worker:
        await_condition(lambda: worker.log().count(WAITING) == 2, within=40, what="both pool processes")

        worker.kill(children_too=False)

        await_condition(lambda: not worker.survivors(), within=20, what="the pool's end")
