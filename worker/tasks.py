"""The only task: claim the next batch, run it, close it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

from celery import Celery, Task
from celery.exceptions import Ignore
from kombu.exceptions import OperationalError

from contract.cluster.broker import UNREACHABLE
from contract.cluster.dispatch import send_batches
from contract.errors import MessageError, TrawlError
from contract.ledger.values import Claim
from contract.records.credentials import Credentials
from contract.records.messages import BATCH_TASK, BatchMessage
from worker.batch.disk_backoff import DiskBackoff
from worker.batch.orders import Orders
from worker.batch.runner import BatchRunner
from worker.engine.run import Run
from worker.lifecycle import Stopping
from worker.log_context import about, logger_of
from worker.process import Process
from worker.shutdown import InHand

logger = logger_of(__name__)

_FLUSH_TIMEOUT = 1.0  # seconds a stopping process waits until its events are sent


class BatchTask:
    """Runs one batch per message; created before the fork."""

    def __init__(
        self,
        app: Celery,
        here: Callable[[], Process],
        *,
        lease: float,
        disk_backoff: DiskBackoff,
        stopping: Stopping,
        in_hand: InHand,
    ) -> None:
        """``here`` returns the ``Process`` of the calling process."""
        self._app = app
        self._here = here
        self._lease = lease
        self._disk_backoff = disk_backoff
        self._stopping = stopping
        self._in_hand = in_hand

    def attach(self) -> None:
        """Register it as the app's task."""

        # A listener sends the events, per batch.
        @self._app.task(bind=True, name=BATCH_TASK, send_events=False)
        def run_batch(task: Task[..., str], message: object) -> str:
            with self._in_hand.one_more():
                return self.run(message, worker=str(task.request.hostname))

    def run(self, message: object, *, worker: str) -> str:
        """Run the next batch; return a line for the log. The report goes to the result backend."""
        try:
            named = BatchMessage.from_wire(message)
        except MessageError as error:
            logger.error("Message rejected: %s", error)
            raise Ignore from None  # not Reject, which Celery logs with a traceback; the ledger still has the batch
        here = self._here()
        may_start = self._disk_backoff.wait(here.disk_trouble, is_stopping=self._stopping.has_begun)
        if self._stopping.has_begun():
            return self._pass_on(here, named)
        if not may_start:
            return "not started: the disk accepts no files; the message will be sent again"
        try:
            claim = here.ledger.claim_next(holder=worker, waited=0.0, message=named)
        except UNREACHABLE as error:
            logger.warning("No batch claimed: %s.", type(error).__name__)
            return "not claimed: the ledger is unreachable"
        except MessageError as error:
            _log_once(f"No batch claimed: {error}")
            raise Ignore from None
        if claim is None:
            return "skipped: no batch is waiting"
        try:
            return self._runner(here, worker, known=claim.changes).work(claim)
        finally:
            if self._stopping.has_begun():
                here.rows.flush(_FLUSH_TIMEOUT)

    def _pass_on(self, here: Process, named: BatchMessage) -> str:
        """Return a message to the queue for another worker; if that fails, the sweep sends one."""
        self._stopping.await_silence()
        try:
            if here.ledger.job(named.job) is not None:
                send_batches(self._app, [named], about=["(passed on)"])
        except (*UNREACHABLE, OperationalError) as error:
            with about(named.job, named.batch):
                logger.warning("was not passed on (%s); the sweep will send it.", type(error).__name__)
        return "not started: this worker is stopping"

    def _send(self, messages: Sequence[BatchMessage]) -> None:
        self._stopping.await_silence()
        try:
            send_batches(self._app, messages, about=["(handed off)"] * len(messages))
        except OperationalError as error:
            logger.warning("handed-off batches were not sent (%s); the sweep will send them.", type(error).__name__)

    def _runner(self, here: Process, worker: str, *, known: int) -> BatchRunner:
        """``known`` is the number of job changes when its first batch was claimed."""
        downloader = here.downloader()

        def starts(claim: Claim, *, may_publish: Callable[[], bool], wake: Callable[[], None]) -> Run:
            start = partial(
                downloader.start,
                claim.entries(),
                claim.policy,
                queued=claim.queued,
                worker=worker,
                may_publish=may_publish,
                wake=wake,
            )
            try:
                return start(credentials=Credentials.unpack(claim.secrets))
            except TrawlError as error:  # the next attempt, after the lease, would end the same
                logger.error("not started: %s", error)
                return start(unable=str(error))

        return BatchRunner(
            here.ledger,
            worker=worker,
            lease_seconds=self._lease,
            drain=downloader.settings.drain,
            room=downloader.settings.room,
            disk_backoff=self._disk_backoff,
            starts=starts,
            is_stopping=self._stopping.has_begun,
            send=self._send,
            look_at_hosts=here.look_at_hosts,
            halted=Orders(here.ledger.states, here.ledger.changes, known=known).halted,
            listener=here.listener,
        )


@lru_cache(maxsize=100)
def _log_once(line: str) -> None:
    """Log a line once instead of for every message."""
    logger.error(line)
