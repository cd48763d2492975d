"""A backstop: a process that is stuck is ended, since nobody else would take its place in the pool."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import TracebackType

from billiard import current_process

from worker.log_context import logger_of

logger = logger_of(__name__)

_PATIENCE = 300.0  # seconds without a look of the runner; whatever it waits for, it looks far more often
_LOOK_PAUSE = 5.0  # seconds between two looks at that


def end_process(reason: str) -> None:
    """End a process of a pool; its batches run again elsewhere. A whole worker is not ended: nobody would start it."""
    logger.critical(reason)
    if hasattr(current_process(), "index"):  # billiard's number of a place in a pool of processes
        os.kill(os.getpid(), signal.SIGKILL)


class Watchdog:
    """Watches a runner for as long as its context lasts.

    Celery's time limits cannot: they are of messages, and a message may lead to batches of any job, one after the
    other.
    """

    def __init__(self, end: Callable[[str], None] = end_process, *, patience: float = _PATIENCE) -> None:
        self._end = end
        self._patience = patience
        self._looked = time.monotonic()
        self._over = threading.Event()

    def look(self) -> None:
        """The runner is still there."""
        self._looked = time.monotonic()

    def __enter__(self) -> Watchdog:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def _watch(self) -> None:
        was_late = False  # a process that was frozen and thawed gets a moment
        while not self._over.wait(min(_LOOK_PAUSE, self._patience)):
            is_late = time.monotonic() - self._looked > self._patience
            if is_late and was_late:
                self._end(f"A process of this worker has been stuck for {self._patience:g} s; stopping it.")
                self.look()
            was_late = is_late
