"""How late this process's threads come to run: what a timeout measured beside them is worth."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType

_PAUSE = 0.02  # seconds between two looks
_SAMPLE_EVERY = 10  # looks


class Lateness:
    """Sleeps and wakes for the time of a with block: `worst` is how many seconds too late it woke at worst.

    `waited` is how many seconds one thread of this process waited for a CPU, all in all, the one that waited longest. A
    machine that is busy with something else takes both from clients and servers of a test alike, and a server that
    was to answer within a second then does not.
    """

    def __init__(self) -> None:
        self.worst = 0.0
        self.waited = 0.0
        self._began = _waits()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lateness", daemon=True)

    def __enter__(self) -> Lateness:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        before, looks = time.monotonic(), 0
        while not self._over.wait(_PAUSE):
            now = time.monotonic()
            self.worst = max(self.worst, now - before - _PAUSE)
            before, looks = now, looks + 1
            if looks % _SAMPLE_EVERY == 0:
                self._sample()

    def _sample(self) -> None:
        """Look at the threads there are: those that end take their numbers with them."""
        for thread, waited in _waits().items():
            self.waited = max(self.waited, waited - self._began.get(thread, 0.0))


def _waits() -> dict[str, float]:
    """Return how many seconds each of our threads waited for a CPU; none where the kernel does not tell.

    Source: Documentation/scheduler/sched-stats.rst, /proc/<pid>/schedstat.
    """
    waits = {}
    for task in Path("/proc/self/task").glob("*/schedstat"):
        try:
            waits[task.parent.name] = int(task.read_text("ascii").split()[1]) / 1e9
        except (OSError, IndexError):
            continue  # it has ended
    return waits
