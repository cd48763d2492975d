"""A Redis, a cluster that workers join, and a user whose commands use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.commands import Bench
from tests.support.redis_server import RedisServer


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def cluster(tmp_path: Path, redis: RedisServer) -> Cluster:
    return Cluster(redis.celery_url(), tmp_path)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with RedisServer(tmp_path / "redis", unix=True) as redis:
        made = Bench(redis, tmp_path)
        yield made
        made.cluster.close()
