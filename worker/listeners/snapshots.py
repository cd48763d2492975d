"""Sends progress snapshots to the followers of a job."""

from __future__ import annotations

import threading
from collections.abc import Callable

from contract.cluster.broker import UNREACHABLE
from contract.records.snapshots import ProgressSnapshot
from worker.events import BatchesProgressed, Event


class Snapshots:
    """Sends on a thread of its own, so that an unreachable Redis neither delays nor fails a batch.

    While one is being sent, only the last snapshot of each batch is kept.
    """

    def __init__(self, send: Callable[[str, ProgressSnapshot], None]) -> None:
        """``send`` is called with a job and a snapshot of one of its batches."""
        self._send = send
        self._waiting: dict[tuple[str, str], ProgressSnapshot] = {}  # by job and batch
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def notify(self, event: Event) -> None:
        if not isinstance(event, BatchesProgressed):
            return
        with self._lock:
            self._waiting |= {(claim.job, claim.batch): snapshot for claim, snapshot in event.snapshots}
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._send_all, name="snapshots", daemon=True)
                self._thread.start()

    def _send_all(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                (job, batch), snapshot = next(iter(self._waiting.items()))
                del self._waiting[job, batch]
            try:
                self._send(job, snapshot)
            except (*UNREACHABLE, OSError):
                pass  # the next one replaces it
