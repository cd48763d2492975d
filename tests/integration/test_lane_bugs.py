"""A bug of ours costs its own URL, never its batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from contract.records.batches import BatchEntry
from contract.records.outcomes import Ending, ErrorClass
from contract.records.policy import JobPolicy
from tests.support.misbehaving import MisbehavingServer
from worker.adapters.http import CurlHttp
from worker.downloader import Downloader
from worker.engine.exchange import Exchange
from worker.engine.ports import Request
from worker.settings import WorkerSettings


def test_an_exchange_that_cannot_begin_ends_its_url_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = CurlHttp.begin

    def begin_or_break(http: CurlHttp[Exchange], request: Request, exchange: Exchange) -> Sequence[bytes]:
        if "broken" in request.place.target:
            raise RuntimeError("a bug")
        return begin(http, request, exchange)

    monkeypatch.setattr(CurlHttp, "begin", begin_or_break)
    downloader = Downloader(WorkerSettings(output=str(tmp_path / "out")))

    with MisbehavingServer() as server:
        urls = [server.url(f"/good?seed={seed}") for seed in range(20)]
        entries = [BatchEntry(url=url) for url in [*urls, server.url("/good?broken")]]
        run = downloader.start(entries, JobPolicy(allow_nets=("127.0.0.0/8",)), queued=time.time(), worker="test")
        # Protects the try around Http.begin in Lane._ask: without it the URL never ends.
        assert run.wait(200.0)
    downloader.close()

    endings = {outcome.url: (outcome.ending, outcome.error) for outcome in run.outcomes}
    assert endings.pop(server.url("/good?broken")) == (Ending.FAILED, ErrorClass.INTERNAL)
    assert set(endings.values()) == {(Ending.OK, None)}
    assert len(endings) == 20
