"""Tells how a runner goes, to whoever follows a job and whoever watches its batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from contract.cluster.broker import AWAY
from contract.ledger.ports import Claiming
from contract.ledger.values import Claim
from contract.records.snapshots import ProgressSnapshot
from worker.batch.events import BatchEvents

_EVENT_PAUSE = 5.0  # seconds between two events of a batch: Flower keeps them

Seen = Sequence[tuple[Claim, ProgressSnapshot]]  # of each open batch of a runner


class ProgressReporter:
    """Tells on a thread of its own: a Redis that is away must neither delay nor end the task."""

    def __init__(self, ledger: Claiming, events: BatchEvents, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._events = events
        self._clock = clock
        self._event_due = clock() + _EVENT_PAUSE
        self._thread: threading.Thread | None = None

    def __call__(self, seen: Seen) -> None:
        """Take what is seen of a runner; left out for followers while the last one is still being told."""
        if self._clock() >= self._event_due:
            self._event_due = self._clock() + _EVENT_PAUSE
            for claim, snapshot in seen:
                self._events.tell(claim, _line(claim, snapshot))
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._tell, args=(seen,), name="telling", daemon=True)
            self._thread.start()

    def _tell(self, seen: Seen) -> None:
        try:
            for claim, snapshot in seen:
                self._ledger.tell(claim.job, snapshot)
        except (*AWAY, OSError):
            pass  # the next one tells more


def _line(claim: Claim, snapshot: ProgressSnapshot) -> str:
    return f"{sum(snapshot.counts.values())}/{claim.urls} ok={snapshot.counts.get('ok', 0)}"
