"""A reserve of disk space for the embedded server, so that it can still write when the disk fills up."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

SIZE = 16 * 1024**2  # bytes: many times what the reports of open batches take
SCARCE = 4 * 1024**2  # free bytes below which it is released
PLENTY = 8 * SIZE  # free bytes from which it is made

_LOOK_PAUSE = 0.5  # seconds between two looks


class Reserve:
    """A file that takes up space while there is plenty, and is deleted when space is scarce."""

    def __init__(
        self,
        path: Path,
        *,
        free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``free`` returns the free bytes of the disk that a folder is on."""
        self._path = path
        self._free = free
        self._clock = clock
        self._looked = float("-inf")
        self.look()

    def look(self) -> None:
        """Make or delete the file if it is time to check. Never raises: a run works without a reserve."""
        now = self._clock()
        if now - self._looked < _LOOK_PAUSE:
            return
        self._looked = now
        try:
            free = self._free(self._path.parent)
            if free < SCARCE:
                self._path.unlink(missing_ok=True)
            elif free >= PLENTY and not self._path.exists():
                _keep(self._path)
        except OSError:
            pass


def _keep(path: Path) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, SIZE)
        else:
            os.write(file, bytes(SIZE))
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
