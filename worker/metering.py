"""Whether and where a worker shows its numbers: nowhere unless TRAWL_METRICS names a place."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from contract.errors import SettingError
from worker.adapters.metrics import MetricsPort
from worker.adapters.processes import Processes
from worker.listeners.metrics import Meter

_PREFIX = "trawl-metrics-"


class Metering:
    """The port and the private folder behind it, from before the fork to the worker's end."""

    def __init__(self, place: tuple[str, int] | None) -> None:
        """``place`` is an address and a port; None: nobody wants to see numbers."""
        self.meter: Meter | None = None  # counts the events of this process
        self._place = place
        self._main = 0  # the pid of the process that made them
        self._folder = Path()
        self._port: MetricsPort | None = None

    def prepare(self) -> None:
        """Bind the port, before the fork.

        Raises:
            SettingError: it cannot be had.
        """
        if self._place is None:
            return
        _reap()
        self._main = os.getpid()
        self._folder = _private_folder()
        address, port = self._place
        try:
            self._port = MetricsPort(self._folder, address, port, beside=[Processes()])
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise SettingError(
                f"TRAWL_METRICS: cannot listen on {address} port {port} ({error.strerror}); "
                "each worker of a machine needs a port of its own."
            ) from None
        self.meter = Meter(self._folder)

    def open(self) -> None:
        """Begin to answer, after the pool was forked."""
        if self._port is not None:
            self._port.open()

    def close(self) -> None:
        """End it, in the main process; the others have nothing to end."""
        if self._port is not None and os.getpid() == self._main:
            self._port.close()
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
