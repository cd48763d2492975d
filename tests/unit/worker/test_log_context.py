"""Log lines about a batch begin with it, whatever its job is called."""

from __future__ import annotations

import pytest

from worker.log_context import about, logger_of


def test_a_job_whose_id_holds_a_percent_sign_is_named_and_the_callers_line_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Guards the arguments of ``SubjectLogger.log``: text and id are formatted only if they are meant to be."""
    logger = logger_of("trawl.test")

    with about("50%done", "7"):
        logger.warning("Redis answered after %.1f s.", 2.0)
        logger.warning("100 % of it is lost.")
    logger.warning("A line about no batch.")

    assert [record.getMessage() for record in caplog.records] == [
        "Job 50%done batch 7: Redis answered after 2.0 s.",
        "Job 50%done batch 7: 100 % of it is lost.",
        "A line about no batch.",
    ]
    assert {record.filename for record in caplog.records} == {"test_log_context.py"}
