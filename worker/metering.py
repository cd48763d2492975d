"""Whether and where a worker shows its numbers: nowhere unless TRAWL_METRICS names a place."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from contract.ledger.reasons import Reason
from contract.records.outcomes import Outcome
from worker.adapters.metrics import Meter, MetricsPort
from worker.adapters.processes import Processes
from worker.settings import WorkerSettings

_PREFIX = "trawl-metrics-"


class Metering(Protocol):
    """Told of every batch this process has in hand."""

    def begin(self, urls: int) -> None:
        """A batch of so many URLs was claimed."""

    def end(self, urls: int) -> None:
        """A batch that had begun is out of our hands."""

    def fly(self, more: int) -> None:
        """So many more transfers than before are in flight; negative: fewer."""

    def count(self, outcomes: Sequence[Outcome], *, seconds: float) -> None:
        """A batch was reported, so many seconds after its claim."""

    def hand_off(self, how: str, urls: int) -> None:
        """So many URLs of a batch reported are another batch's now: at-once, later or straggling."""

    def lose(self) -> None:
        """A batch's lease was lost."""

    def sweep(self, *, sent: int, back: int, split: int, poisoned: int, cancelled: int) -> None:
        """A sweep sent so many messages, put back and split so many batches, and ended so many URLs."""

    def trouble(self, reason: Reason | None) -> None:
        """This is what the worker suffers from now; None: all is well."""


class Uncounted:
    """Keeps ``Metering`` where nobody asked for numbers."""

    def begin(self, urls: int) -> None:
        """Nothing is counted."""

    def end(self, urls: int) -> None:
        """Nothing is counted."""

    def fly(self, more: int) -> None:
        """Nothing is counted."""

    def count(self, outcomes: Sequence[Outcome], *, seconds: float) -> None:
        """Nothing is counted."""

    def hand_off(self, how: str, urls: int) -> None:
        """Nothing is counted."""

    def lose(self) -> None:
        """Nothing is counted."""

    def sweep(self, *, sent: int, back: int, split: int, poisoned: int, cancelled: int) -> None:
        """Nothing is counted."""

    def trouble(self, reason: Reason | None) -> None:
        """Nothing is counted."""


UNCOUNTED = Uncounted()
_meter: Metering = UNCOUNTED


def meter() -> Metering:
    """Return what counts the batches of this process; made in the main process, before the fork."""
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
