"""Shows batches and the worker's trouble as tasks in Flower.

A message says that some batch waits, not which, and a runner claims several for it. So Celery's own events, which are
about messages, are off (the task's ``send_events``), and these are sent instead, one task id per batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import Full, Queue
from threading import Lock, Thread

from celery import Celery
from kombu.exceptions import OperationalError

from contract.cluster.broker import UNREACHABLE
from contract.ledger.health import Trouble
from contract.ledger.values import Claim
from contract.records.messages import BATCH_TASK, task_id
from contract.records.snapshots import ProgressSnapshot
from worker.events import BatchClaimed, BatchClosed, BatchesProgressed, BatchInterrupted, Event, LeaseLost, TroubleSeen

_MOST_KEPT = 1_000  # events while the broker is unreachable; later ones are dropped
_PROGRESS_PAUSE = 5.0  # seconds between two progress events of a batch; Flower stores them all

CeleryEvent = tuple[str, Mapping[str, object]]


@dataclass(slots=True)
class _Row:
    """A batch that is shown: its start (Unix seconds), and when its next progress is due (the clock's seconds)."""

    began: float
    due: float


class BatchRows:
    """Sends on a thread of its own, so that an unreachable broker neither delays nor fails a batch. One per process."""

    def __init__(self, app: Celery, worker: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._worker = worker
        self._clock = clock
        self._rows: dict[str, _Row] = {}  # by task id
        self._queue: Queue[CeleryEvent] = Queue(_MOST_KEPT)
        self._starting = Lock()
        self._thread: Thread | None = None

    def notify(self, event: Event) -> None:
        match event:
            case BatchClaimed(claim):
                self._rows[task_id(claim.job, claim.batch)] = _Row(time.time(), self._clock() + _PROGRESS_PAUSE)
                self._start(claim)
            case BatchesProgressed(snapshots):
                for claim, snapshot in snapshots:
                    self._progress(claim, snapshot)
            case BatchClosed(claim, stalled=str()) if not event.report.outcomes:
                # Nothing was done because the disk accepts no files; everything was handed off.
                self._end("task-failed", claim, exception=event.line, result=event.line, traceback="")
            case BatchClosed(claim, line=line):
                self._end("task-succeeded", claim, result=line, runtime=event.report.elapsed)
            case LeaseLost(claim, line):
                self._end_unreported(claim, line)
            case BatchInterrupted(claim):
                self._end_unreported(claim, "interrupted")

    def flush(self, within: float) -> None:
        """Wait at most ``within`` seconds until everything is sent, before the process exits."""
        with self._queue.all_tasks_done:
            self._queue.all_tasks_done.wait_for(lambda: not self._queue.unfinished_tasks, within)

    def _progress(self, claim: Claim, snapshot: ProgressSnapshot) -> None:
        """Show a batch's progress, unless that was done less than five seconds ago.

        It repeats the start events: an event of another type would change the task's state from "started" (celery 5.7
        events/state.py, Task.event), and Flower expects receptions and starts in pairs (flower 2.2 events.py).
        """
        row = self._rows.get(task_id(claim.job, claim.batch))
        if row is not None and self._clock() >= row.due:  # else it has ended, or was shown recently
            row.due = self._clock() + _PROGRESS_PAUSE
            ended, ok = sum(snapshot.counts.values()), snapshot.counts.get("ok", 0)
            self._start(claim, result=f"{ended}/{claim.urls} ok={ok}")

    def _start(self, claim: Claim, **fields: object) -> None:
        about = f"job={claim.job} batch={claim.batch} urls={claim.urls}"
        described = {"name": BATCH_TASK, "args": about, "kwargs": "", "retries": claim.attempt - 1}
        began = self._rows[task_id(claim.job, claim.batch)].began
        self._put("task-received", claim, timestamp=began, **described)
        self._put("task-started", claim, timestamp=began, **fields)

    def _end_unreported(self, claim: Claim, line: str) -> None:
        self._end("task-retried", claim, exception=line, result=line, traceback="")  # its search only reads results

    def _end(self, kind: str, claim: Claim, **fields: object) -> None:
        self._rows.pop(task_id(claim.job, claim.batch), None)
        self._put(kind, claim, **fields)

    def _put(self, kind: str, claim: Claim, **fields: object) -> None:
        try:
            self._queue.put_nowait((kind, {"uuid": task_id(claim.job, claim.batch), **fields}))
        except Full:
            return
        with self._starting:
            if self._thread is None:
                self._thread = Thread(target=self._send_all, name="flower", daemon=True)
                self._thread.start()

    def _send_all(self) -> None:
        while True:
            kind, fields = self._queue.get()
            try:
                with self._app.events.default_dispatcher(hostname=self._worker) as dispatcher:
                    dispatcher.send(kind, retry=False, **fields)
            except (*UNREACHABLE, OperationalError, OSError):
                pass  # later events supersede it
            finally:
                self._queue.task_done()


class TroubleRow:
    """Shows the worker's trouble as a task that lasts as long as the trouble."""

    def __init__(self, app: Celery, worker: str) -> None:
        self._app = app
        self._worker = worker
        self._since = 0.0
        self._task = ""  # its id while trouble is shown

    def notify(self, event: Event) -> None:
        if not isinstance(event, TroubleSeen) or (event.trouble is None) == (not self._task):
            return
        try:
            self._show(event.trouble)
        except (*UNREACHABLE, OperationalError, OSError):
            pass  # the next check sends it

    def _show(self, trouble: Trouble | None) -> None:
        with self._app.events.default_dispatcher(hostname=self._worker) as dispatcher:
            if trouble is not None:
                self._since = time.time()
                task = f"trouble-{self._worker}-{self._since:.0f}"
                shown = {"name": "trawl.trouble", "args": f"({str(trouble)!r},)", "kwargs": "{}"}
                dispatcher.send("task-received", uuid=task, retries=0, eta=None, retry=False, **shown)
                dispatcher.send("task-started", uuid=task, retry=False)
                self._task = task
                return
            lasted = time.time() - self._since
            over = {"result": f"over after {lasted:.0f} s", "runtime": lasted}
            dispatcher.send("task-succeeded", uuid=self._task, retry=False, **over)
            self._task = ""
