"""A thousand transfers open at once, and descriptors beyond what select() can see."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fetching import OPEN, Bench
from tests.support.gathering import Gathering
from worker.adapters.http import CurlHttp
from worker.adapters.http.waiting import Polling
from worker.engine.exchange import Exchange
from worker.engine.ports import Request

_MANY = 1050
_UNHURRIED = replace(
    OPEN, timeout=150.0, connect_timeout=150.0, first_byte_timeout=0
)  # the last one makes the first wait


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * _MANY
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_transfers_are_open_at_once(tmp_path: Path) -> None:
    """The server answers only when all of them are connected."""
    with Gathering(_MANY) as gathering, Bench(tmp_path, transfers=_MANY) as bench:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run = bench.fetch(gathering.urls(), _UNHURRIED)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

    assert run.progress.ok == _MANY
    assert gathering.most == _MANY
    assert grown < 200, f"{grown:.0f} MiB for {_MANY} transfers"


def test_descriptors_beyond_select_are_polled(tmp_path: Path) -> None:
    """Guards the change of drivers: libcurl's sockets from 1,024 on are invisible to select()."""
    taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(860)]
    with Gathering(200) as gathering, Bench(tmp_path, transfers=200) as bench:
        run = bench.fetch(gathering.urls(), _UNHURRIED)
        (lane,) = next(iter(bench.downloader._lanes.values()))
        driver = lane._http._driver  # type: ignore[attr-defined]  # the port does not show how it waits

    for descriptor in taken:
        os.close(descriptor)
    assert run.progress.ok == 200
    assert isinstance(driver, Polling)


def test_transfers_without_a_connection_survive_the_change_of_drivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards ``suppress``: libcurl cannot pause a transfer without a connection, and the lane gave up all it had."""
    begin = CurlHttp.begin

    def crowd(http: CurlHttp[Exchange], request: Request, exchange: Exchange) -> Sequence[bytes]:
        http._is_crowded = True
        return begin(http, request, exchange)

    monkeypatch.setattr(CurlHttp, "begin", crowd)
    with Gathering(20) as gathering, Bench(tmp_path, transfers=20) as bench:
        run = bench.fetch(gathering.urls(), _UNHURRIED)

    assert run.progress.ok == 20
