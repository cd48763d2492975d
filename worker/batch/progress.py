"""Tells how a runner goes, to whoever follows the job and whoever watches the task."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from celery import Celery
from kombu.exceptions import OperationalError

from contract.cluster.broker import AWAY
from contract.ledger.ledger import Ledger
from contract.records.snapshots import ProgressSnapshot

_EVENT_PAUSE = 5.0  # seconds between two events of a task: Flower keeps them

Seen = Sequence[tuple[str, ProgressSnapshot]]  # of each open batch of a runner, with its job


class ProgressReporter:
    """Tells on a thread of its own: a broker or a Redis that is away must neither delay nor end the task."""

    def __init__(
        self, app: Celery, ledger: Ledger, worker: str, task_id: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._ledger = ledger
        self._worker = worker
        self._task_id = task_id
        self._clock = clock
        self._event_due = clock() + _EVENT_PAUSE
        self._thread: threading.Thread | None = None

    def __call__(self, seen: Seen, urls: int) -> None:
        """Take what is seen of a runner that has so many URLs; left out while the last one is still being told."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._tell, args=(seen, urls), name="telling", daemon=True)
            self._thread.start()

    def _tell(self, seen: Seen, urls: int) -> None:
        try:
            for job, snapshot in seen:
                self._ledger.tell(job, snapshot)
            if self._clock() >= self._event_due:
                self._event_due = self._clock() + _EVENT_PAUSE
                self._send_event(_line([snapshot for _, snapshot in seen], urls))
        except (*AWAY, OperationalError, OSError):
            pass  # the next one tells more

    def _send_event(self, line: str) -> None:
        with self._app.events.default_dispatcher(hostname=self._worker) as dispatcher:
            dispatcher.send("task-progress", uuid=self._task_id, result=line, retry=False)


def _line(seen: Sequence[ProgressSnapshot], urls: int) -> str:
    done = sum(sum(snapshot.counts.values()) for snapshot in seen)
    return f"{done}/{urls} ok={sum(snapshot.counts.get('ok', 0) for snapshot in seen)}"
