"""A folder's job is on the server of the run that works there, else on the configured cluster."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from producer.cluster.address import cluster_of, configured, note_address

CLUSTER = {"TRAWL_BROKER_URL": "redis://broker.test/0"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[str]:
    """A run that works in the folder: its server listens, and its address is noted."""
    path = str(tmp_path / "socket")
    (tmp_path / "redis").mkdir()
    note_address(tmp_path, path, {"TRAWL_BROKER_URL": f"redis+socket://{path}"})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen()
        yield path


def test_the_server_of_a_run_goes_before_the_configured_cluster(tmp_path: Path, running: str) -> None:
    """Guards the order: what is asked of a running folder would be said of another job's cluster."""
    found = cluster_of(tmp_path, CLUSTER)

    assert found is not None
    assert found.broker_url == f"redis+socket://{running}"


def test_without_a_run_it_is_the_configured_cluster_or_none(tmp_path: Path) -> None:
    found = cluster_of(tmp_path, CLUSTER)

    assert found is not None
    assert found.broker_url == CLUSTER["TRAWL_BROKER_URL"]
    assert cluster_of(tmp_path, {}) is None
    assert configured({}) is None
