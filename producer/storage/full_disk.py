"""When the producer's own disk is full: says so once, and waits for space."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from contract.errors import FolderError
from contract.outage import Outage

FULL = (errno.ENOSPC, errno.EDQUOT)  #: the disk, or its quota, is full

_PAUSE = 1.0  # seconds between two tries

Answer = TypeVar("Answer")
Write = TypeVar("Write", bound=Callable[..., Any])


class FullDiskError(FolderError):
    """The disk of a folder, or its quota, is full."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(f"The disk of {folder} is full: free some space and run the same command again.")


class SpaceWait:
    """Repeats writes that failed on a full disk.

    ``echo`` prints one line; ``stop`` is called between two tries and may raise to give up.
    """

    def __init__(
        self,
        echo: Callable[[str], None],
        *,
        stop: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._echo = echo
        self._stop = stop
        self._clock = clock
        self._sleep = sleep

    def call(self, write: Callable[[], Answer]) -> Answer:
        """Call ``write`` until it succeeds, and return its result; it must be safe to repeat."""
        outage = Outage(clock=self._clock)
        while True:
            try:
                answer = write()
            except FullDiskError as error:
                if outage.begin():
                    self._echo(f"The disk of {error.folder} is full: waiting for space. Nothing is lost.")
                self._stop()
                self._sleep(_PAUSE)
            else:
                if (lasted := outage.end()) is not None:
                    self._echo(f"The disk has space again after {lasted:.0f} s.")
                return answer


def waits_for_space(write: Write) -> Write:
    """Repeat a method after FullDiskError, by ``_space`` of its object; it must change nothing when it raises."""

    @wraps(write)
    def waiting(self: Any, *given: Any, **named: Any) -> Any:
        space: SpaceWait | None = self._space
        return write(self, *given, **named) if space is None else space.call(lambda: write(self, *given, **named))

    return cast("Write", waiting)
