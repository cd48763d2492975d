"""When a job that another command feeds counts as done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from contract.ledger.values import JobRecord, JobState
from contract.records.policy import JobPolicy
from producer.cluster.client import Retrying, Services
from producer.job import ledger_mirror
from producer.job.follower import Follower
from producer.job.ledger_mirror import LedgerMirror
from producer.storage.journal import Journal


@dataclass
class Followed:
    """A follower that has seen all of a job closed."""

    record: JobRecord
    is_finished: bool = True


def mirror(folder: Path, totals: dict[str, int] | None) -> LedgerMirror:
    record = JobRecord(
        job="job", label="", policy=JobPolicy(), created=1.0, totals=totals, counts={}, open=0, running=0, undrained=0,
        state=JobState.CANCELLED,
    )  # fmt: skip
    journal = Journal(folder)
    journal.close()
    follower = cast("Follower", Followed(record))
    return LedgerMirror(
        "job", journal=journal, follower=follower, services=cast("Services", None), retrying=Retrying(print)
    )


def test_a_cancelled_jobs_feeder_gets_a_moment_to_count_unread_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards ``_is_fed``: otherwise the sums were shown before they were known; but the feeder may have been killed."""
    assert mirror(tmp_path, {"lines": 1}).is_done

    unsealed = mirror(tmp_path, None)
    assert not unsealed.is_done
    monkeypatch.setattr(ledger_mirror, "_FEEDER_HAS", -1.0)
    assert unsealed.is_done
