"""Snapshots on a real Redis: all followers of a job get them, and nothing of them is stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from contract.cluster.settings import ClusterSettings
from contract.ledger.channel import JobChannel
from contract.records.policy import JobPolicy
from contract.records.snapshots import ProgressSnapshot
from producer.cluster.client import Cluster
from tests.support.clocked_ledger import refused_report
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer

SEEN = ProgressSnapshot("1", {"ok": 3, "failed": 1}, 4_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def cluster(server: RedisServer) -> Iterator[Cluster]:
    url = server.celery_url()
    with closing(Cluster(ClusterSettings(broker_url=url, result_backend=url))) as cluster:
        yield cluster


def ringing(channel: JobChannel) -> int:
    return channel.wait(0.05)


def test_a_snapshot_is_passed_on_and_ends_no_wait(cluster: Cluster) -> None:
    """Guards the other channel of JobChannel._receive: each end of a wait costs the follower a round trip."""
    taken: list[bytes] = []
    with closing(cluster.channel("job", taken.append)) as channel:
        assert channel.subscribe()
        assert not ringing(channel), "what Redis answers to the second subscription is no ring"
        rings = 0

        cluster.ledger.send_snapshot("another", SEEN)
        cluster.ledger.send_snapshot("job", SEEN)

        def arrived() -> bool:
            nonlocal rings
            rings += ringing(channel)
            return bool(taken)

        await_condition(arrived, within=20, what="the glimpse")

    assert rings == 0
    assert [ProgressSnapshot.from_wire(told) for told in taken] == [SEEN]


def test_a_closed_batch_ends_a_wait_among_snapshots(cluster: Cluster) -> None:
    taken: list[bytes] = []
    cluster.ledger.create("job", JobPolicy())
    with closing(cluster.channel("job", taken.append)) as channel:
        assert channel.subscribe()
        cluster.ledger.send_snapshot("job", SEEN)
        cluster.ledger.store("job", refused_report("job", "2"))
        cluster.ledger.send_snapshot("job", SEEN)

        await_condition(lambda: ringing(channel), within=20, what="the ring")
        await_condition(lambda: ringing(channel) or len(taken) == 2, within=20, what="the second glimpse")

    assert [ProgressSnapshot.from_wire(told) for told in taken] == [SEEN, SEEN]


def test_snapshots_are_not_stored(cluster: Cluster) -> None:
    before = set(cluster.redis.keys())

    cluster.ledger.send_snapshot("job", SEEN)

    assert set(cluster.redis.keys()) == before
