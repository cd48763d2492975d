"""The summary at the end of a job, and that it adds up."""

from dataclasses import replace

import pytest

from contract.errors import AccountingError
from contract.records import wire
from contract.records.outcomes import Ending, ErrorClass, Outcome, Timing
from producer.display.summary import Summary
from producer.job.tally import Tally


def row(ending: Ending, error: ErrorClass | None = None, detail: str | None = None) -> bytes:
    outcome = Outcome(
        url="http://h.example/secret?secret=1", name="0" * 32, ending=ending, error=error, detail=detail, bytes=1000,
        timing=Timing(ttfb=0.1, total=0.4),
    )  # fmt: skip
    return wire.to_json_bytes(outcome)


def summary(*, lines: int = 5, is_finished: bool = True) -> Summary:
    tally = Tally()
    tally.add_batch(started=100.0, finished=101.0, busy=4.0, worker="w", urls=4)
    tally.add_rows([row(Ending.OK), row(Ending.OK), row(Ending.KEPT), row(Ending.FAILED, ErrorClass.TIMEOUT)])
    totals = {"lines": lines, "duplicates": 1, "refused": 0, "urls": 4}
    return Summary(job="job-1", tally=tally, totals=totals, is_finished=is_finished, places={"files": "out"})


def test_the_sums_are_shown_and_nothing_unmeasured_is_claimed() -> None:
    text = summary().to_text()

    assert "5 lines = 2 ok + 1 kept + 1 failed + 0 refused + 1 duplicate" in text
    assert "timeout 1" in text
    assert "tried:      3 URLs in 1.00 s, 3 URLs/s; 2.0 KB stored, 2.0 KB/s" in text
    assert "p99 0.40 s of the 2 that ended ok" in text
    assert "as fast as" not in text
    assert "h.example 0.40 s (1 failed)" in text
    assert "secret" not in text


def test_a_job_that_stored_nothing_claims_no_bytes() -> None:
    tally = Tally()
    tally.add_batch(started=100.0, finished=100.5, busy=0.5, worker="w", urls=1)
    tally.add_rows([row(Ending.FAILED, ErrorClass.TIMEOUT)])

    assert "tried:      1 URL in 0.50 s, 2 URLs/s\n" in replace(summary(), tally=tally).to_text()


def test_each_error_class_has_an_example_with_what_to_do() -> None:
    """Guards Tally.examples: what to do was in the manifest only. A path may be a secret."""
    told = summary()
    told.tally.add_rows(
        [
            row(Ending.REFUSED, ErrorClass.REFUSED_URL, "line 3: This looks like CSV."),
            row(Ending.REFUSED, ErrorClass.REFUSED_URL, "line 4: This looks like JSON."),
            row(Ending.REFUSED, ErrorClass.REFUSED_ADDRESS, "10.0.0.1: --allow-net\x1b 10.0.0.0/8 opens it"),
        ]
    )

    tally = Tally.from_record(told.tally.to_record(), told.tally.times_record())
    again = replace(told, tally=tally).to_text()

    assert "\n            refused-url: line 3: This looks like CSV.\n" in again
    assert (
        f"refused-address: h.example ({'0' * 32}): 10.0.0.1: --allow-net\N{REPLACEMENT CHARACTER} 10.0.0.0/8 opens it\n"
        in again
    )
    assert "line 4" not in again
    assert told.to_record()["error_examples"]["refused-url"] == "line 3: This looks like CSV."
    assert "secret" not in again


def test_programs_get_the_same_numbers() -> None:
    record = summary().to_record()

    assert (record["ok"], record["kept"], record["failed"], record["bytes"], record["speed_up"]) == (
        2, 1, 1, 2000, None,
    )  # fmt: skip
    assert record["total"]["p50"] == pytest.approx(0.4, rel=0.02)
    assert record["errors"] == {"timeout": 1}


def test_an_unfinished_job_claims_no_sum() -> None:
    text = summary(lines=50, is_finished=False).to_text()

    assert "4 outcomes of 50 lines read" in text
    assert " = " not in text


@pytest.mark.parametrize(("lines", "rows"), [(6, 4), (4, 4), (5, 3), (5, 5)])
def test_a_line_without_outcome_or_an_extra_row_is_an_error(lines: int, rows: int) -> None:
    summary().check(4)

    with pytest.raises(AccountingError):
        summary(lines=lines).check(rows)


def cancelled(not_read: int) -> Summary:
    """A job of which all that was read was there already."""
    tally = Tally()
    tally.add_rows([row(Ending.KEPT), row(Ending.KEPT)])
    totals = {"lines": 2, "duplicates": 0, "refused": 0, "urls": 2, "not_read": not_read}
    return Summary(job="job-1", tally=tally, totals=totals, is_finished=True, is_cancelled=True, places={})


def test_a_cancelled_jobs_sums_include_unread_lines() -> None:
    told = cancelled(3)

    told.check(2)

    assert "5 lines = 0 ok + 2 kept + 0 failed + 0 refused + 0 duplicates + 3 not read" in told.to_text()
    assert "job-1 (cancelled)" in told.to_text()
    assert {key: told.to_record()[key] for key in ("cancelled", "lines", "not_read")} == {
        "cancelled": True, "lines": 5, "not_read": 3
    }  # fmt: skip
    assert told.exit_code == 1, "not all of it is stored"


def test_a_summary_ends_with_what_running_again_would_do() -> None:
    assert replace(cancelled(3), next="it fetches the rest").to_text().endswith("\nnext:       it fetches the rest")
    assert "next:" not in cancelled(3).to_text()


def test_an_unknown_number_of_unread_lines_is_stated() -> None:
    told = cancelled(-1)

    said = "2 lines = 0 ok + 2 kept + 0 failed + 0 refused + 0 duplicates; more of the list was not read"
    assert told.identity == said
    assert (told.to_record()["lines"], told.to_record()["not_read"]) == (2, None)
