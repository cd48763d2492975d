"""One, two and four machines with a network between them: nothing is lost, whatever they store on."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.machines import COUNTS, Load, run_round
from tests.support import netbox
from tests.support.machines import HUB, why_no_machines

FEW = Load(urls=80, wait=50, transfers=8, options=("--batch-size", "10"))


@pytest.mark.parametrize("is_shared", [False, True], ids=["disks of their own", "one shared folder"])
def test_every_line_ends_once_and_every_body_is_where_its_row_says(tmp_path: Path, is_shared: bool) -> None:
    """Guards `worker` of a row: if machines have disks of their own, it says which one has the body."""
    if reason := why_no_machines(shared=is_shared):
        pytest.skip(reason)

    done = netbox.call(run_round, tmp_path / "jobs", FEW, is_shared, addresses=[HUB], timeout=900.0)

    assert [(turn.workers, turn.faults) for turn in done] == [(count, ()) for count in COUNTS]
