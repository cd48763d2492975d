"""Passes progress snapshots on to those who follow a job."""

from __future__ import annotations

import threading
from collections.abc import Callable

from contract.cluster.broker import UNREACHABLE
from contract.records.snapshots import ProgressSnapshot
from worker.events import BatchesProgressed, Event


class Snapshots:
    """Publishes on a thread of its own: a Redis that is away must neither delay nor end a batch.

    Of a batch only the last snapshot waits while one is being published.
    """

    def __init__(self, publish: Callable[[str, ProgressSnapshot], None]) -> None:
        """``publish`` takes a job and how far a batch of it is."""
        self._publish = publish
        self._waiting: dict[tuple[str, str], ProgressSnapshot] = {}  # by job and batch
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def notify(self, event: Event) -> None:
        if not isinstance(event, BatchesProgressed):
            return
        with self._lock:
            self._waiting |= {(claim.job, claim.batch): snapshot for claim, snapshot in event.snapshots}
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._publish_all, name="snapshots", daemon=True)
                self._thread.start()

    def _publish_all(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                (job, batch), snapshot = next(iter(self._waiting.items()))
                del self._waiting[job, batch]
            try:
                self._publish(job, snapshot)
            except (*UNREACHABLE, OSError):
                pass  # the next one tells more
