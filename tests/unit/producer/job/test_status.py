"""A job's state between its first batch and its last row, in a word or two."""

from __future__ import annotations

import pytest

from contract.ledger.values import JobRecord, JobState
from contract.records.policy import JobPolicy
from producer.job.status import state_of

SEALED = {"lines": 1, "duplicates": 0, "urls": 1, "refused": 0}


@pytest.mark.parametrize(
    ("state", "is_sealed", "open_", "running", "undrained", "said"),
    [
        (JobState.RUNNING, False, 0, 0, 0, "sending"),
        (JobState.RUNNING, True, 2, 1, 0, "running"),
        (JobState.RUNNING, True, 2, 0, 0, "waiting"),
        (JobState.RUNNING, True, 0, 0, 3, "to be collected"),
        (JobState.RUNNING, True, 0, 0, 0, "finished"),
        (JobState.PAUSED, True, 2, 0, 0, "paused"),
        (JobState.PAUSED, True, 0, 0, 0, "finished"),
        (JobState.CANCELLED, False, 2, 0, 0, "cancelling"),
        (JobState.CANCELLED, False, 0, 0, 3, "to be collected"),
        (JobState.CANCELLED, False, 0, 0, 0, "finished"),
    ],
)
def test_each_state_of_a_job_has_its_name(
    state: JobState, is_sealed: bool, open_: int, running: int, undrained: int, said: str
) -> None:
    """Guards the order: a cancelled job is not "sending", though its producer has gone without sealing it."""
    record = JobRecord(
        job="job",
        label="",
        policy=JobPolicy(),
        created=0.0,
        totals=SEALED if is_sealed else None,
        counts={},
        open=open_,
        running=running,
        undrained=undrained,
        state=state,
    )

    assert state_of(record) == said
