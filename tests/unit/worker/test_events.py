"""Every listener gets every event, whatever happens to the others; log lines name the batch they are about."""

from __future__ import annotations

import logging

import pytest

from contract.ledger.values import Claim
from contract.records.policy import JobPolicy
from worker.events import BatchClaimed, Event, Listeners, TransfersInFlight, WorkResumed
from worker.log_context import about, logger_of

CLAIMED = BatchClaimed(Claim("job", "7", "token", b"", JobPolicy(), 1.0, 1, 5))


class Remembering:
    def __init__(self) -> None:
        self.told: list[Event] = []

    def notify(self, event: Event) -> None:
        self.told.append(event)


class Failing:
    def notify(self, event: Event) -> None:
        raise ValueError("http://site.test/secret")


class Logging:
    def notify(self, event: Event) -> None:
        logger_of("tests").warning("%s", type(event).__name__)


def test_a_failing_listener_is_logged_once_and_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """Guards the ``except``, without which a batch would end with its listener, and that there is no second line."""
    before, after = Remembering(), Remembering()
    listeners = Listeners([before, Failing(), after])

    for event in (CLAIMED, TransfersInFlight(1), TransfersInFlight(2)):
        listeners.notify(event)

    assert before.told == after.told == [CLAIMED, TransfersInFlight(1), TransfersInFlight(2)]
    assert [record.getMessage() for record in caplog.records] == [
        "Job job batch 7: Listener Failing fails on BatchClaimed events (ValueError); this is logged once.",
        "Listener Failing fails on TransfersInFlight events (ValueError); this is logged once.",
    ]


def test_exceptions_that_end_the_process_are_not_caught() -> None:
    class Ending:
        def notify(self, event: Event) -> None:
            raise SystemExit

    with pytest.raises(SystemExit):
        Listeners([Ending()]).notify(WorkResumed())


def test_a_line_is_about_its_events_batch_or_else_the_current_one(caplog: pytest.LogCaptureFixture) -> None:
    """Guards the subject of an event: trouble of the worker comes up while some batch or other is ending."""
    listeners = Listeners([Logging()])

    with about("50%other", "1"):
        listeners.notify(CLAIMED)
        listeners.notify(WorkResumed())
        logger_of("tests").warning("in %d pieces", 2)
    logger_of("tests").warning("100 %")

    said = [(record.getMessage(), record.__dict__["job"], record.__dict__["batch"]) for record in caplog.records]
    assert said == [
        ("Job job batch 7: BatchClaimed", "job", "7"),
        ("WorkResumed", "", ""),
        ("Job 50%other batch 1: in 2 pieces", "50%other", "1"),
        ("100 %", "", ""),
    ]
    assert {record.filename for record in caplog.records} == {"test_events.py"}, "whoever logged them"


def test_a_record_with_its_own_fields_keeps_them(caplog: pytest.LogCaptureFixture) -> None:
    with about("job", "7"):
        logger_of("tests").log(logging.WARNING, "said", extra={"seconds": 3})

    assert (caplog.records[0].__dict__["seconds"], caplog.records[0].__dict__["job"]) == (3, "job")
