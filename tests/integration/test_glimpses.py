"""Glimpses on a real Redis: who follows a job sees them, whoever else is on it, and nothing of them is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from contract.bell import Bell
from contract.glimpses import Glimpse
from contract.policy import JobPolicy
from contract.settings import ClusterSettings
from producer.client import Cluster
from tests.support.clocked_ledger import refused_report
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer

SEEN = Glimpse("1", {"ok": 3, "failed": 1}, 4_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def cluster(server: RedisServer) -> Iterator[Cluster]:
    url = server.celery_url()
    with closing(Cluster(ClusterSettings(broker_url=url, result_backend=url))) as cluster:
        yield cluster


def ringing(bell: Bell) -> bool:
    return bell.rings(0.05)


def test_a_glimpse_is_passed_on_and_rings_nothing(cluster: Cluster) -> None:
    """Guards the other channel of Bell._take: every ring is a round trip of the follower."""
    taken: list[bytes] = []
    with closing(cluster.bell("job", taken.append)) as bell:
        assert bell.hang()
        assert not ringing(bell), "what Redis answers to the second subscription is no ring"
        rings = 0

        cluster.ledger.tell("another", SEEN)
        cluster.ledger.tell("job", SEEN)

        def arrived() -> bool:
            nonlocal rings
            rings += ringing(bell)
            return bool(taken)

        await_condition(arrived, within=20, what="the glimpse")

    assert rings == 0
    assert [Glimpse.from_wire(told) for told in taken] == [SEEN]


def test_a_closing_rings_among_glimpses(cluster: Cluster) -> None:
    taken: list[bytes] = []
    cluster.ledger.create("job", JobPolicy())
    with closing(cluster.bell("job", taken.append)) as bell:
        assert bell.hang()
        cluster.ledger.tell("job", SEEN)
        cluster.ledger.store("job", refused_report("job", "2"))
        cluster.ledger.tell("job", SEEN)

        await_condition(lambda: ringing(bell), within=20, what="the ring")
        await_condition(lambda: ringing(bell) or len(taken) == 2, within=20, what="the second glimpse")

    assert [Glimpse.from_wire(told) for told in taken] == [SEEN, SEEN]


def test_nothing_of_a_glimpse_is_kept(cluster: Cluster) -> None:
    before = set(cluster.redis.keys())

    cluster.ledger.tell("job", SEEN)

    assert set(cluster.redis.keys()) == before
