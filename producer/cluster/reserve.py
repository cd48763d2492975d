"""A reserve of disk space for the embedded server: without it, whatever fills the disk ends the job's memory first."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

SIZE = 16 * 1024**2  # bytes; reports of the batches in flight, many times over
SCARCE = 4 * 1024**2  # bytes free below which it is given up
PLENTY = 8 * SIZE  # bytes free from which it is kept

_LOOK_PAUSE = 0.5  # seconds between two looks


class Reserve:
    """A file that keeps space while there is plenty, and goes when it is scarce, so that the server can write on."""

    def __init__(
        self,
        path: Path,
        *,
        free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``free`` tells how many bytes are free where a folder lies."""
        self._path = path
        self._free = free
        self._clock = clock
        self._looked = float("-inf")
        self.look()

    def look(self) -> None:
        """Keep or give up the reserve, if it is time to look. Never raises: there may be no reserve."""
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
