"""How late this process's threads are scheduled: how far a timeout measured beside them can be trusted."""

from __future__ import annotations

import threading
import time

_PAUSE = 0.02  # seconds between two looks


class Lateness:
    """Sleeps and wakes for the time of a with block: `worst` is how many seconds too late it woke at worst."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lateness", daemon=True)

    def __enter__(self) -> Lateness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._over.wait(_PAUSE):
            now = time.monotonic()
            self.worst = max(self.worst, now - before - _PAUSE)
            before = now
