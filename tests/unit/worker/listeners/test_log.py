"""What a worker logs about its events."""

from __future__ import annotations

import logging

import pytest

from contract.ledger.sweep import SweepFindings
from contract.ledger.values import Claim
from contract.records.policy import JobPolicy
from tests.support.clocked_ledger import report_of
from worker import events
from worker.events import Event, Listeners
from worker.listeners.log import EventLog

CLAIM = Claim("job", "7", "token", b"", JobPolicy(), 1.0, 1, 5)
REPORT = report_of(CLAIM, [])
FOUND = SweepFindings(again={"a": ["1", "2"]}, split={"b": ["3"]}, poisoned={"c": ["4.x-1", "5"]})


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (events.BatchClaimed(CLAIM), []),
        (events.BatchClosed(CLAIM, REPORT, events.HandedOff(), "5 ok"), ["INFO Job job batch 7: 5 ok"]),
        (events.BatchClosed(CLAIM, REPORT, events.HandedOff(straggling=1), "4 ok", kept="7.t-1"),
         ["INFO Job job batch 7: 4 ok; its stragglers continue as 7.t-1"]),
        (events.LeaseLost(CLAIM, "another worker took it over"), ["INFO Job job batch 7: another worker took it over"]),
        (events.BatchNotStarted(CLAIM, "No such digest."), ["ERROR Job job batch 7: not started: No such digest."]),
        (events.CloseDelayed(CLAIM, "TimeoutError"), ["WARNING Job job batch 7: cannot be closed yet: TimeoutError."]),
        (events.WorkSuspended("The disk is full."), ["ERROR Not taking work: The disk is full."]),
        (events.WorkResumed(), ["WARNING Taking work again."]),
        (events.LedgerSwept(SweepFindings()), []),
        (events.LedgerSwept(FOUND), ["INFO Job a: batches put back in line: 2.",
                               "WARNING Job b: split batches that killed their workers: 3",
                               "ERROR Job c: failed as poison: 4.x-1, 5"]),
    ],
)  # fmt: skip
def test_important_events_are_logged(event: Event, lines: list[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Listeners([EventLog()]).notify(event)

    assert [f"{record.levelname} {record.getMessage()}" for record in caplog.records] == lines
