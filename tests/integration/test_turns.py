"""Exchanges that end at the same moment are finished a few at a time, and their successors started in between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.fetching import OPEN, Bench
from tests.support.gathering import Gathering
from worker.adapters.http import CurlHttp
from worker.adapters.http.exchanges import AT_ONCE
from worker.adapters.http.waiting import Selecting
from worker.engine.exchange import Exchange
from worker.engine.ports import Ended

_GUESTS = 5 * AT_ONCE


def test_exchanges_that_end_together_come_back_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ``AT_ONCE`` and ``_has_more``: the lane must not sleep while ended exchanges wait to be finished."""
    came: list[int] = []
    left: list[bool] = [False]
    slept: list[float] = []
    wait, drive = CurlHttp.wait, Selecting.wait

    def counted(http: CurlHttp[Exchange], seconds: float | None) -> Sequence[tuple[Exchange, Ended]]:
        ended = wait(http, seconds)
        came.append(len(ended))
        left[0] = http._has_more
        return ended

    def watched(driver: Selecting, seconds: float) -> bool:
        if left[0]:
            slept.append(seconds)
        return drive(driver, seconds)

    monkeypatch.setattr(CurlHttp, "wait", counted)
    monkeypatch.setattr(Selecting, "wait", watched)

    with Gathering(_GUESTS) as gathering, Bench(tmp_path, transfers=_GUESTS) as bench:
        run = bench.fetch(gathering.urls(), OPEN)

    assert run.progress.ok == _GUESTS
    assert max(came) <= AT_ONCE
    assert set(slept) <= {0.0}
