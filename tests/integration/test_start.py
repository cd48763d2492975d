"""A command that starts while Redis is in trouble: temporary trouble is waited for, any other is one sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.cluster.settings import ClusterSettings
from contract.errors import ServiceError
from producer.cluster.client import Cluster
from tests.support.person import ran
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer
from tests.support.relay import Relay


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    with RedisServer(tmp_path / "redis", aof=False) as server, Relay(("127.0.0.1", server.port)) as between:
        yield between


def cluster_on(relay: Relay) -> Cluster:
    url = f"redis://127.0.0.1:{relay.port}/0"
    return Cluster(ClusterSettings(broker_url=url, result_backend=url))


def test_connections_reset_at_the_start_are_retried(relay: Relay) -> None:
    """Guards the loop of ``Cluster.check``: a command started during a failover ended at once."""
    relay.set(cut_after=1)
    cluster = cluster_on(relay)
    with ThreadPoolExecutor(1) as threads:
        checked = threads.submit(cluster.check, within=300.0)
        await_condition(lambda: relay.accepted >= 3 or checked.done(), within=60, what="three tries")
        assert not checked.done()
        relay.set(cut_after=0)
        checked.result()
    cluster.close()


def test_a_redis_that_keeps_resetting_is_reported_after_a_while(relay: Relay) -> None:
    relay.set(cut_after=1)
    cluster = cluster_on(relay)

    with pytest.raises(ServiceError, match="cannot be reached"):
        cluster.check(within=3.0)
    assert relay.accepted >= 2
    cluster.close()


def test_an_address_without_a_listener_is_reported_at_once(relay: Relay) -> None:
    relay.refuse()
    cluster = cluster_on(relay)
    with ThreadPoolExecutor(1) as threads:
        checked = threads.submit(cluster.check, within=100_000.0)  # a wait would not end

        with pytest.raises(ServiceError, match="is it running"):
            checked.result(timeout=300)
    cluster.close()


@pytest.mark.parametrize("option", ["error", "e", "ignore,error"])
@pytest.mark.parametrize(
    "begin", ["import worker.celery", "from producer.cli import main; main(['--version'])"], ids=["worker", "command"]
)
def test_warnings_never_end_a_command_whatever_the_environment(begin: str, option: str) -> None:
    """Guards ``print_warnings``: Celery warns when a worker runs as root, and the worker exited."""
    lines = f"import warnings\ntry: {begin}\nexcept SystemExit: pass\nwarnings.warn('a hint of a library')"

    environment = {"PATH": os.environ["PATH"], "TRAWL_BROKER_URL": "redis://localhost/0", "PYTHONWARNINGS": option}

    ended = ran(sys.executable, "-c", lines, env=environment)

    assert ended.returncode == 0, ended.stderr
    assert "a hint of a library" in ended.stderr
