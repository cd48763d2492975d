"""An empty Redis, and in it a job on a clock that the test sets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from contract.records.policy import JobPolicy
from tests.support.clocked_ledger import JOB, ClockedLedger
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), unix=True, aof=False) as running:
        yield running


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url()) as connected:
        connected.flushall()
        yield connected


@pytest.fixture
def ledger(client: redis.Redis) -> ClockedLedger:
    made = ClockedLedger(client)
    made.create(JOB, JobPolicy(), label="a list")
    return made
