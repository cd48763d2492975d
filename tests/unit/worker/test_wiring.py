"""A worker is put together once: its settings are those it began with, and each process has what it makes itself."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from worker import wiring
from worker.events import WorkSuspended
from worker.wiring import Worker

BROKER = {"TRAWL_BROKER_URL": "redis://127.0.0.1:1/0"}  # nobody is asked


def test_a_worker_keeps_the_settings_it_began_with(tmp_path: Path) -> None:
    """Guards that they are read once: processes that begin later would work by others."""
    environment = {**BROKER, "TRAWL_OUTPUT": str(tmp_path / "first"), "TRAWL_TRANSFERS": "8"}
    worker = Worker(environment)
    environment |= {"TRAWL_OUTPUT": str(tmp_path / "second"), "TRAWL_TRANSFERS": "9"}
    here = worker.process()

    settings = here.downloader().settings
    here.close()

    assert (settings.output, settings.transfers) == (str(tmp_path / "first"), 8)


def test_what_a_process_works_with_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the process id: a connection that a fork inherits mixes up two processes' answers."""
    worker = Worker(BROKER)
    main = worker.process()
    assert worker.process() is main
    # For this module alone: what other tests left for the collector also asks which process it is in.
    monkeypatch.setattr(wiring, "os", SimpleNamespace(getpid=lambda: os.getpid() + 1))

    child = worker.process()

    assert child is not main
    assert child.ledger is not main.ledger
    assert child.listener is not main.listener


def test_what_was_made_before_the_fork_tells_the_listeners_of_the_process_it_is_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Worker(BROKER).notify(WorkSuspended("The disk is full."))

    assert [record.getMessage() for record in caplog.records] == ["Not taking work: The disk is full."]
