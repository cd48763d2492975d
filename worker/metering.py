"""Whether and where a worker shows its numbers: nowhere unless TRAWL_METRICS names a place."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from worker.adapters.metrics import MetricsPort
from worker.adapters.processes import Processes
from worker.listeners.metrics import Meter
from worker.settings import WorkerSettings

_PREFIX = "trawl-metrics-"


_meter: Meter | None = None


def meter() -> Meter | None:
    """Return what counts the events of this process, made in the main process before the fork; None: nobody asked."""
    return _meter


def attach(settings: WorkerSettings) -> None:
    """Have a worker that starts in this process count, and show the numbers where its settings say.

    Raises:
        SettingError: the place is not written as it must be.
    """
    place = settings.metrics_place()
    if place is not None:
        from celery import signals

        # Celery keeps only weak references to receivers unless told otherwise.
        signals.worker_init.connect(_Show(*place).prepare, weak=False)


class _Show:
    """The port and the private folder behind it, from before the fork to the worker's end."""

    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port
        self._main = 0  # the pid of the process that made them
        self._folder = Path()
        self._shown: MetricsPort | None = None

    def prepare(self, **_: Any) -> None:
        global _meter
        _reap()
        self._main = os.getpid()
        self._folder = _private_folder()
        try:
            self._shown = MetricsPort(self._folder, self._address, self._port, beside=[Processes()])
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            sys.stderr.write(
                f"TRAWL_METRICS: cannot listen on {self._address} port {self._port} ({error.strerror}); "
                "each worker of a machine needs a port of its own.\n"
            )
            sys.exit(2)  # not an exception, which Celery would log and forget
        _meter = Meter(self._folder)
        from celery import signals

        signals.worker_ready.connect(self._open, weak=False)
        signals.worker_shutdown.connect(self._close, weak=False)

    def _open(self, **_: Any) -> None:
        if self._shown is not None:
            self._shown.open()

    def _close(self, **_: Any) -> None:
        if self._shown is not None and os.getpid() == self._main:
            self._shown.close()
            shutil.rmtree(self._folder, ignore_errors=True)


def _private_folder() -> Path:
    """Make a folder nobody else may read, and hold it as long as this worker or a child of it lives."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    fcntl.flock(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW), fcntl.LOCK_EX)
    return folder


def _reap() -> None:
    """Remove the folders of workers that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, or held by a worker that lives
            file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(file).st_uid == os.geteuid():
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(file)
