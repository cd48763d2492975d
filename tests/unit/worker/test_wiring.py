"""A worker is put together once: its settings stay, and each process makes its own connections."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from worker import wiring
from worker.events import WorkSuspended
from worker.wiring import Worker

BROKER = {"TRAWL_BROKER_URL": "redis://127.0.0.1:1/0"}  # not contacted


def test_a_worker_keeps_its_initial_settings(tmp_path: Path) -> None:
    """Guards that they are read once: processes that start later would have others."""
    environment = {**BROKER, "TRAWL_OUTPUT": str(tmp_path / "first"), "TRAWL_TRANSFERS": "8"}
    worker = Worker(environment)
    environment |= {"TRAWL_OUTPUT": str(tmp_path / "second"), "TRAWL_TRANSFERS": "9"}
    here = worker.process()

    settings = here.downloader().settings
    here.close()

    assert (settings.output, settings.transfers) == (str(tmp_path / "first"), 8)


def test_each_process_has_its_own_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the process id: an inherited connection mixes up the replies of two processes."""
    worker = Worker(BROKER)
    main = worker.process()
    assert worker.process() is main
    # For this module alone: what other tests left for the collector also asks which process it is in.
    monkeypatch.setattr(wiring, "os", SimpleNamespace(getpid=lambda: os.getpid() + 1))

    child = worker.process()

    assert child is not main
    assert child.ledger is not main.ledger
    assert child.listener is not main.listener


def test_objects_from_before_the_fork_notify_their_own_processs_listeners(caplog: pytest.LogCaptureFixture) -> None:
    Worker(BROKER).notify(WorkSuspended("The disk is full."))

    assert [record.getMessage() for record in caplog.records] == ["Not taking work: The disk is full."]
