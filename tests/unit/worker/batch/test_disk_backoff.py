"""The disk back-off is logged once, grows while it does not help, and ends when a later run went well."""

from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path

import pytest

from worker.batch.disk_backoff import FIRST_PAUSE, LONGEST_PAUSE, LONGEST_WAIT, DiskBackoff
from worker.listeners.log import EventLog

FULL = "The disk is full (ENOSPC)."


class Disk:
    """A disk with trouble for a while, and time that passes while it is waited for."""

    def __init__(self, well_at: float = 0.0) -> None:
        self.time = 1000.0
        self.well_at = 1000.0 + well_at
        self.looks = 0
        self.disk_backoff = DiskBackoff(EventLog(), now=lambda: self.time, sleep=self.pass_time)

    def pass_time(self, seconds: float) -> None:
        self.time += seconds

    def trouble(self) -> str | None:
        self.looks += 1
        return FULL if self.time < self.well_at else None

    def wait(self) -> bool:
        return self.disk_backoff.wait(self.trouble, is_stopping=lambda: False)


def test_trouble_is_waited_out_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk(well_at=30.0)

    assert disk.wait()
    assert disk.wait()

    assert 1030.0 <= disk.time < 1032.0
    assert [record.getMessage() for record in caplog.records] == [f"Not taking work: {FULL}"]
    assert caplog.records[0].levelno == logging.ERROR


def test_no_task_waits_longer_than_it_may() -> None:
    disk = Disk(well_at=10 * LONGEST_WAIT)

    assert not disk.wait()
    assert disk.time <= 1000.0 + LONGEST_WAIT + FIRST_PAUSE


def test_a_stopping_worker_does_not_wait() -> None:
    disk = Disk(well_at=10.0)

    assert not disk.disk_backoff.wait(disk.trouble, is_stopping=lambda: True)
    assert disk.looks == 0


def test_after_a_stalled_run_no_work_is_taken_for_a_while_though_the_disk_looks_fine() -> None:
    disk = Disk()

    disk.disk_backoff.note(FULL, began=disk.time)
    assert disk.disk_backoff.lasts
    assert disk.wait()

    assert disk.time >= 1000.0 + FIRST_PAUSE


def test_the_pause_doubles_until_a_run_goes_well() -> None:
    """Guards the doubling: a body too large for the free space would be fetched again every few seconds."""
    disk, pauses = Disk(), []
    for _ in range(6):
        began = disk.time
        disk.disk_backoff.note(FULL, began=began)
        disk.wait()
        pauses.append(disk.time - began)

    disk.disk_backoff.note(None, began=disk.time)
    began = disk.time
    disk.disk_backoff.note(FULL, began=began)
    disk.wait()

    assert pauses == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert disk.time - began == FIRST_PAUSE


def test_runs_that_stall_together_share_one_pause(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk()

    for _ in range(8):
        disk.disk_backoff.note(FULL, began=disk.time)
    disk.wait()

    assert disk.time == 1000.0 + FIRST_PAUSE
    assert len(caplog.records) == 1


def test_it_ends_when_a_run_that_began_later_goes_well(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk()
    disk.disk_backoff.note(FULL, began=990.0)

    disk.disk_backoff.note(None, began=995.0)  # of another task, when all was well
    assert disk.disk_backoff.lasts
    disk.wait()
    disk.disk_backoff.note(None, began=disk.time)
    disk.disk_backoff.note(None, began=disk.time)

    assert [record.getMessage() for record in caplog.records] == [f"Not taking work: {FULL}", "Taking work again."]


def test_a_run_that_began_before_the_trouble_proves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Guards the back-off of a disk below the floor: another process's run may end while we wait."""
    disk = Disk(well_at=1000.0)
    began = disk.time

    assert not disk.wait()
    disk.disk_backoff.note(None, began=began)
    assert not disk.wait()

    assert [record.getMessage() for record in caplog.records] == [f"Not taking work: {FULL}"]


def _no_time_passes() -> float:
    return 1000.0


def _suffer(disk_backoff: DiskBackoff, told: Path) -> None:
    logging.basicConfig(filename=told, format="%(message)s")
    disk_backoff.note(FULL, began=0.0)


def test_all_processes_of_a_worker_back_off_together_and_one_logs_it(tmp_path: Path) -> None:
    """Guards the shared state: each pool process would notice, and log it, by itself."""
    disk_backoff, told = DiskBackoff(EventLog(), now=_no_time_passes), tmp_path / "log"
    # "spawn" hands over what a fork would inherit, and leaves this process's threads alone.
    spawned = multiprocessing.get_context("spawn")
    children = [spawned.Process(target=_suffer, args=(disk_backoff, told)) for _ in range(3)]

    for child in children:
        child.start()
    for child in children:
        child.join(300.0)

    assert [child.exitcode for child in children] == [0, 0, 0]
    assert disk_backoff.lasts
    assert told.read_text().splitlines() == [f"Not taking work: {FULL}"]


def test_why_no_work_is_taken_can_be_read_by_every_process() -> None:
    disk = Disk()
    reasons = [disk.disk_backoff.reason]
    disk.disk_backoff.note(FULL, began=disk.time)
    reasons.append(disk.disk_backoff.reason)
    disk.pass_time(FIRST_PAUSE)
    reasons.append(disk.disk_backoff.reason)

    assert reasons == [None, FULL, None]


def test_a_waiting_body_is_shown_for_a_while_and_suspends_nothing() -> None:
    disk = Disk()
    disk.disk_backoff.note_waiting("A body waits. " + "x" * 1000)

    assert str(disk.disk_backoff.waiting).startswith("A body waits.")
    assert not disk.disk_backoff.lasts
    disk.pass_time(60.0)
    assert disk.disk_backoff.waiting is None


def test_the_disk_is_checked_while_work_is_suspended() -> None:
    """Guards the check before the pause: checking is what reopens a folder that was replaced."""
    disk = Disk()
    disk.disk_backoff.note(FULL, began=disk.time)

    assert disk.wait()
    assert disk.looks > FIRST_PAUSE
