"""Serves a worker's metrics where TRAWL_METRICS says; nowhere if it is unset."""

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
    """The port and the private folder behind it, from before the fork until the worker ends."""

    def __init__(self, address: tuple[str, int] | None) -> None:
        """``address`` is IP address and port; None: metrics are off."""
        self.meter: Meter | None = None  # counts the events of this process
        self._address = address
        self._main = 0  # pid of the process that created them
        self._folder = Path()
        self._port: MetricsPort | None = None

    def prepare(self) -> None:
        """Bind the port, before the fork.

        Raises:
            SettingError: it cannot be bound.
        """
        if self._address is None:
            return
        _reap()
        self._main = os.getpid()
        self._folder = _private_folder()
        address, port = self._address
        try:
            self._port = MetricsPort(self._folder, address, port, beside=[Processes()])
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise SettingError(
                f"TRAWL_METRICS: cannot listen on {address} port {port} ({error.strerror}); "
                "each worker on a machine needs its own port."
            ) from None
        self.meter = Meter(self._folder)

    def open(self) -> None:
        """Start serving, after the pool was forked."""
        if self._port is not None:
            self._port.open()

    def close(self) -> None:
        """Stop serving; only the main process has anything to stop."""
        if self._port is not None and os.getpid() == self._main:
            self._port.close()
            shutil.rmtree(self._folder, ignore_errors=True)


def _private_folder() -> Path:
    """Create a folder with mode 0700, locked as long as this worker or a child of it is alive."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    fcntl.flock(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW), fcntl.LOCK_EX)
    return folder


def _reap() -> None:
    """Remove the folders of workers that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, or locked by a running worker
            file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(file).st_uid == os.geteuid():
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(file)
