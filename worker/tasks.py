"""The one task: claim a batch, run it, close it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from celery import Task, shared_task
from celery.exceptions import Ignore
from kombu.exceptions import OperationalError

from contract.cluster.broker import AWAY
from contract.cluster.dispatch import send_batches
from contract.errors import FolderError, MessageError
from contract.ledger.ledger import Claim
from contract.records.batches import unpack_entries
from contract.records.credentials import Credentials
from contract.records.messages import BATCH_TASK, BatchMessage
from worker import lifecycle, metering, wiring
from worker.batch.disk_backoff import DiskBackoff
from worker.batch.progress import ProgressReporter
from worker.batch.runner import BatchRunner, Prefetched
from worker.engine.run import Run
from worker.station import station

logger = logging.getLogger(__name__)

_disk_backoff = DiskBackoff()  # made before the fork, like this module
_ahead = Prefetched()  # the same: each process has its own


@shared_task(bind=True, name=BATCH_TASK)
def run_batch(self: Task[..., str], message: object) -> str:
    """Run the batch the message names; returns a line for Flower. The report is in the result backend."""
    try:
        named = BatchMessage.from_wire(message)
    except MessageError as error:
        logger.error("Message rejected: %s", error)
        raise Ignore from None  # not Reject, which Celery logs with a traceback; the ledger still has the batch
    may_start = _disk_backoff.wait(_disk_trouble, gives_up=lifecycle.is_stopping)
    if lifecycle.is_stopping():
        return _pass_on(self, named)
    if not may_start:
        return "not started: the disk takes no files; the sweep will send it again"
    if _ahead.take(named):
        return "nothing to do: claimed ahead of this message"
    try:
        claim = station().ledger.claim(named.job, named.batch, holder=str(self.request.hostname))
    except AWAY as error:
        logger.warning("Batch %s of job %s not claimed: %s.", named.batch, named.job, type(error).__name__)
        return "not claimed: the ledger does not answer"
    except MessageError as error:
        logger.error("Batch %s of job %s: %s", named.batch, named.job, error)
        raise Ignore from None
    if claim is None:
        return "nothing to do: closed, or held by another worker"
    return _runner(self).work(claim)


def _pass_on(task: Task[..., str], named: BatchMessage) -> str:
    """Send a message that came too late to another worker; where that fails, the sweep does it."""
    lifecycle.await_silence()
    try:
        record = station().ledger.job(named.job)
        if record is not None:
            send_batches(task.app, [named], record.policy, about="(passed on)", is_overdue=True)
    except (*AWAY, OperationalError) as error:
        logger.warning("Batch %s not passed on (%s): the sweep will.", named.batch, type(error).__name__)
    return "not started: this worker is stopping"


def _runner(task: Task[..., str]) -> BatchRunner:
    here = station()
    downloader = wiring.downloader()
    worker = str(task.request.hostname)

    def starts(claim: Claim, *, may_publish: Callable[[], bool], tell: Callable[[], None]) -> Run:
        return downloader.start(
            unpack_entries(claim.payload),
            claim.policy,
            queued=claim.queued,
            worker=worker,
            may_publish=may_publish,
            credentials=Credentials.unpack(claim.secrets),
            tell=tell,
        )

    def send(claim: Claim, messages: Sequence[BatchMessage]) -> None:
        lifecycle.await_silence()
        try:
            send_batches(task.app, messages, claim.policy, about="(handed off)", is_overdue=True)
        except OperationalError as error:
            logger.warning("Handed-off batches not sent (%s): the sweep will.", type(error).__name__)

    return BatchRunner(
        here.ledger,
        worker=worker,
        lease_seconds=here.cluster.lease,
        drain=downloader.settings.drain,
        room=downloader.settings.room,
        disk_backoff=_disk_backoff,
        starts=starts,
        is_stopping=lifecycle.is_stopping,
        tell=ProgressReporter(task.app, here.ledger, worker, str(task.request.id)),
        send=send,
        ahead=_ahead,
        meter=metering.meter(),
    )


def _disk_trouble() -> str | None:
    try:
        return wiring.downloader().trouble()
    except FolderError as error:  # there is no downloader without it
        return str(error)
