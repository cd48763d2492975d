"""An empty ledger, and in it a job, on a clock that the test sets.

A test that takes a ``Clocked`` ledger is about what any ledger promises: it runs on Redis and in memory. One that takes
a ``ClockedLedger`` is about Redis itself: its keys, its round trips, what is lost with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import signature

import pytest
import redis

from contract.records.policy import JobPolicy
from tests.support.clocked_ledger import JOB, Clocked, ClockedLedger
from tests.support.memory_ledger import MemoryLedger
from tests.support.redis_server import RedisServer


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    asked = signature(metafunc.function).parameters
    if "ledger" in asked and asked["ledger"].annotation == "Clocked":
        metafunc.parametrize("ledger", ["redis", "memory"], indirect=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), unix=True, aof=False) as running:
        yield running


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as connected:
        connected.flushall()
        yield connected


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Clocked:
    is_memory = getattr(request, "param", "redis") == "memory"
    made = MemoryLedger() if is_memory else ClockedLedger(request.getfixturevalue("client"))
    made.create(JOB, JobPolicy(), label="a list")
    return made


@pytest.fixture
def full(client: redis.Redis) -> Iterator[Callable[[], None]]:
    def fill() -> None:
        client.config_set("maxmemory", 1)

    yield fill
    client.config_set("maxmemory", 0)
