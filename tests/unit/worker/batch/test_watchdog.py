"""A stuck process is ended; one that still checks in, or has finished, is not."""

from __future__ import annotations

import threading

import pytest

from tests.support.processes import PATIENCE
from worker.batch.watchdog import Watchdog, end_process


def test_a_runner_that_no_longer_checks_in_is_ended_with_a_log_line() -> None:
    told: list[str] = []
    ended = threading.Event()

    def end(reason: str) -> None:
        told.append(reason)
        ended.set()

    with Watchdog(end, patience=0.02):
        assert ended.wait(PATIENCE)

    assert told[0] == "A process of this worker has been stuck for 0.02 s; stopping it."


def test_a_finished_runner_is_left_alone() -> None:
    told: list[str] = []
    before = set(threading.enumerate())
    with Watchdog(told.append, patience=PATIENCE):
        (watching,) = set(threading.enumerate()) - before

    watching.join(PATIENCE * 10)
    assert (watching.is_alive(), told) == (False, [])


def test_only_a_process_of_a_pool_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ``index``: with the pools ``solo`` and ``threads`` it would be the whole worker."""
    killed: list[int] = []
    monkeypatch.setattr("os.kill", lambda pid, _signal: killed.append(pid))

    end_process("stuck")

    assert killed == []
