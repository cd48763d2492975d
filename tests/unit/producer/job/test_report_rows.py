"""A report read as text gives the very rows that reading it as JSON gives."""

import json
from typing import Any

import pytest
from celery.backends.base import compress_payload  # type: ignore[attr-defined]  # new in 5.7
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import MessageError
from contract.records.outcomes import Attempt, Ending, ErrorClass, Outcome, Timing
from contract.records.reports import BatchReport
from producer.job.report_rows import read_report

NASTY = ['},{"url":', '"outcomes":[', ']},"traceback":', '\\"},{"url":', "\\", '"', "\n", "\u2028", "ä", "\ud800"]
texts = st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=5)), max_size=5).map("".join)
outcomes = st.builds(
    Outcome,
    url=texts,
    name=st.just("0" * 32),
    ending=st.sampled_from(Ending),
    detail=st.none() | texts,
    etag=st.none() | texts,
    worker=texts,
    timing=st.just(Timing(dns=0.125, total=2.5)),  # left out, hypothesis makes some that are not a number
    attempts=st.lists(st.just(Attempt(ErrorClass.DNS, None, 0.5)), max_size=3).map(tuple),
    notes=st.lists(texts, max_size=2).map(tuple),
)


def report(rows: list[dict[str, Any]], worker: str = "w") -> BatchReport:
    return BatchReport(
        job="j", batch="1", worker=worker, pid=1, queued=1.0, started=2.0, finished=3.0, elapsed=1.0, busy=2.0,
        outcomes=rows, handed_off=["1.1"],
    )  # fmt: skip


@given(st.lists(outcomes, max_size=5), texts)
def test_rows_are_the_same_whatever_their_strings_hold(given_outcomes: list[Outcome], worker: str) -> None:
    rows = [outcome.to_row() for outcome in given_outcomes]

    drained = read_report(report(rows, worker).to_result())

    assert [json.loads(row) for row in drained.rows] == rows
    assert not any("\n" in row for row in drained.rows)
    assert (drained.head.worker, drained.batch, drained.head.handed_off) == (worker, "1", ["1.1"])


def test_rows_in_another_shape_are_read_the_long_way() -> None:
    rows = [{"outcome": "ok", "url": "http://a/"}, {"url": "http://b/", "outcome": "ok"}]

    drained = read_report(report(rows).to_result())

    assert [json.loads(row) for row in drained.rows] == rows


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"status":"FAILURE","result":{}}', '{"status":"SUCCESS","result":{"version":99}}', "\x00"]
)
def test_what_is_no_report_is_said_to_be_none(text: str) -> None:
    with pytest.raises(MessageError):
        read_report(compress_payload(text.encode(), "zstd"))


def test_damage_is_not_a_traceback() -> None:
    with pytest.raises(MessageError):
        read_report(report([]).to_result()[:-9])
