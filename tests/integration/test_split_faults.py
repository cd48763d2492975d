"""A body fetched in several ranges while our own disk fails: whole or absent, and the URL is handed back unblamed."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from contract.records.outcomes import Ending
from contract.urls.naming import output_name
from tests.support.bodies import body_bytes
from tests.support.faulty_calls import FaultyCalls
from tests.support.fetching import OPEN, Bench
from tests.support.misbehaving import MisbehavingServer
from tests.support.object_versions import SIZE
from worker.engine.run import Run

_TRIES = 30  # calls that fail, spread over all there are
_POLICY = replace(OPEN, splits=4)


def _fetch(out: Path, url: str, calls: FaultyCalls) -> Run | None:
    bench = Bench(out)
    with calls:
        try:
            run = bench.fetch([url], _POLICY)
            assert bench.temporary_files() == []
        finally:
            bench.close()
    return run


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
def test_if_a_disk_call_fails_a_split_body_is_whole_or_absent(
    tmp_path: Path, server: MisbehavingServer, lasting: bool
) -> None:
    """Guards cancelling the split: helpers write into the main exchange's file until they are dropped."""
    url = f"{server.origin}/object?rate=20000000"
    sound = FaultyCalls()
    _fetch(tmp_path / "sound", url, sound)
    writes = [at for at, call in enumerate(sound.made, 1) if call.name in ("pwrite", "rename", "fsync", "open")]
    step = max(1, len(writes) // _TRIES)

    for at in writes[::step]:
        out = tmp_path / str(at)
        run = _fetch(out, url, FaultyCalls(at=at, code=errno.ENOSPC, lasting=lasting))

        assert run is not None
        assert {outcome.ending for outcome in run.outcomes} <= {Ending.OK}
        assert len(run.outcomes) + len(run.leftovers) == 1
        file = out / output_name(url)
        if file.exists():  # without an outcome, too, where syncing its name failed
            assert file.read_bytes() == body_bytes(SIZE)
        if run.outcomes:
            assert file.exists()
        else:
            assert run.leftovers[0].entry.attempts == ()
            assert run.stalled is not None
