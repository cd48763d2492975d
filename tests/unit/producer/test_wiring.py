"""A command is put together once: its settings are read, and its cluster is the run's own, else the configured one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import redis.exceptions

from contract.folders import PRIVATE
from producer.cluster.address import note_address
from producer.cluster.embedded import Embedded
from producer.display.console import Console
from producer.wiring import Producer, Session

CLUSTER = {"TRAWL_BROKER_URL": "redis://broker.test/0"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[str]:
    """A run that works in the folder: its server listens, and its address is noted."""
    path = str(tmp_path / "socket")
    state = tmp_path / PRIVATE
    (state / "redis").mkdir(parents=True)
    note_address(state, path, {"TRAWL_BROKER_URL": f"redis+socket://{path}"})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen()
        yield path


def test_a_runs_own_server_takes_precedence_over_the_configured_cluster(tmp_path: Path, running: str) -> None:
    """Guards the order: answers about a running folder would be those of another job's cluster."""
    found = Producer(CLUSTER).cluster_of(tmp_path)

    assert found is not None
    assert found.broker_url == f"redis+socket://{running}"


def test_without_a_run_the_configured_cluster_or_none_is_used(tmp_path: Path) -> None:
    found = Producer(CLUSTER).cluster_of(tmp_path)

    assert found is not None
    assert found.broker_url == CLUSTER["TRAWL_BROKER_URL"]
    assert Producer({}).cluster_of(tmp_path) is None
    assert Producer({}).configured is None
    assert Producer(CLUSTER).without_cluster().configured is None


def test_a_producer_keeps_the_settings_it_began_with() -> None:
    """Guards that they are read once: a cluster opened later would be another."""
    environment = dict(CLUSTER)
    producer = Producer(environment)

    environment["TRAWL_BROKER_URL"] = "redis://other.test/0"

    assert producer.settings.broker_url == CLUSTER["TRAWL_BROKER_URL"]
    assert producer.settings is producer.settings


def test_celerys_variables_cannot_redirect_a_run_with_its_own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ``_hidden_from_celery``: Celery reads them itself. A script gets them back afterwards."""
    monkeypatch.setenv("CELERY_BROKER_READ_URL", "redis://other.test/0")
    embedded = SimpleNamespace(settings=Producer(CLUSTER).settings, wait_until_ready=lambda: None)

    with Producer({}).cluster(cast("Embedded", embedded)):
        assert "CELERY_BROKER_READ_URL" not in os.environ

    assert os.environ["CELERY_BROKER_READ_URL"] == "redis://other.test/0"


def test_during_an_outage_our_own_server_is_watched_and_interrupts_noticed() -> None:
    class Watched:
        looks = 0

        def watch(self) -> None:
            self.looks += 1

    watched = Watched()

    def attempt() -> None:
        session.interrupts.is_requested = bool(watched.looks)
        raise redis.exceptions.ConnectionError

    with Session(Console(is_quiet=True, stream=StringIO())) as session, pytest.raises(KeyboardInterrupt):
        session.retrying(cast("Embedded", watched)).call(attempt)

    assert watched.looks == 1
