"""A batch's row in Flower: Celery's task events under the batch's own id, whichever message led to it.

A message means that a batch waits, not which, and a runner claims more than one for it. So Celery's own events, which
tell of messages, are off (``send_events`` of the task), and these tell of batches.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from queue import Full, Queue
from threading import Lock, Thread
from typing import Protocol

from celery import Celery
from kombu.exceptions import OperationalError

from contract.cluster.broker import AWAY
from contract.ledger.values import Claim
from contract.records.messages import BATCH_TASK, task_id

_MOST_KEPT = 1_000  # events while the broker is away; those that follow are lost

Event = tuple[str, Mapping[str, object]]


class Watcher(Protocol):
    """Told of every batch of a runner."""

    def begin(self, claim: Claim) -> None:
        """A batch was claimed."""

    def close(self, claim: Claim, line: str, *, seconds: float) -> None:
        """It was closed, so many seconds after its claim."""

    def fail(self, claim: Claim, line: str) -> None:
        """It was closed with nothing done, because this worker's disk takes nothing: all of it was handed off."""

    def lose(self, claim: Claim, line: str) -> None:
        """It ended without our report: it runs again, or runs elsewhere."""


class Unwatched:
    """Keeps ``Watcher`` where nobody watches."""

    def begin(self, claim: Claim) -> None:
        """Nothing is told."""

    def close(self, claim: Claim, line: str, *, seconds: float) -> None:
        """Nothing is told."""

    def fail(self, claim: Claim, line: str) -> None:
        """Nothing is told."""

    def lose(self, claim: Claim, line: str) -> None:
        """Nothing is told."""


UNWATCHED = Unwatched()


class BatchEvents:
    """Sends on a thread of its own: a broker that is away must neither delay nor end a batch. One for a process."""

    def __init__(self, app: Celery, worker: str) -> None:
        self._app = app
        self._worker = worker
        self._began: dict[str, float] = {}  # Unix seconds, by task id
        self._queue: Queue[Event] = Queue(_MOST_KEPT)
        self._starting = Lock()
        self._thread: Thread | None = None

    def begin(self, claim: Claim) -> None:
        self._began[task_id(claim.job, claim.batch)] = time.time()
        self._start(claim)

    def tell(self, claim: Claim, line: str) -> None:
        """Show how far a batch is.

        By its start once more: an event of a type of our own would take the row out of those that are started (celery
        5.7 events/state.py, Task.event), and Flower counts receptions and starts as pairs (flower 2.2 events.py).
        """
        self._start(claim, result=line)

    def close(self, claim: Claim, line: str, *, seconds: float) -> None:
        self._end("task-succeeded", claim, result=line, runtime=seconds)

    def fail(self, claim: Claim, line: str) -> None:
        self._end("task-failed", claim, exception=line, result=line, traceback="")  # a search looks at results only

    def lose(self, claim: Claim, line: str) -> None:
        self._end("task-retried", claim, exception=line, result=line, traceback="")  # the same

    def flush(self, within: float) -> None:
        """Wait at most so many seconds until everything is sent: the process ends."""
        with self._queue.all_tasks_done:
            self._queue.all_tasks_done.wait_for(lambda: not self._queue.unfinished_tasks, within)

    def _start(self, claim: Claim, **fields: object) -> None:
        about = f"job={claim.job} batch={claim.batch} urls={claim.urls}"
        began = self._began.get(task_id(claim.job, claim.batch))
        if began is not None:  # else it is over
            described = {"name": BATCH_TASK, "args": about, "kwargs": "", "retries": claim.attempt - 1}
            self._put("task-received", claim, timestamp=began, **described)
            self._put("task-started", claim, timestamp=began, **fields)

    def _end(self, kind: str, claim: Claim, **fields: object) -> None:
        self._began.pop(task_id(claim.job, claim.batch), None)
        self._put(kind, claim, **fields)

    def _put(self, kind: str, claim: Claim, **fields: object) -> None:
        try:
            self._queue.put_nowait((kind, {"uuid": task_id(claim.job, claim.batch), **fields}))
        except Full:
            return
        with self._starting:
            if self._thread is None:
                self._thread = Thread(target=self._send_all, name="events", daemon=True)
                self._thread.start()

    def _send_all(self) -> None:
        while True:
            kind, fields = self._queue.get()
            try:
                with self._app.events.default_dispatcher(hostname=self._worker) as dispatcher:
                    dispatcher.send(kind, retry=False, **fields)
            except (*AWAY, OperationalError, OSError):
                pass  # the next one tells more
            finally:
                self._queue.task_done()
