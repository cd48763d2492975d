"""The one task: claim the batch whose turn it is, run it, close it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

from celery import Task, current_task, shared_task
from celery.exceptions import Ignore
from kombu.exceptions import OperationalError

from contract.cluster.broker import AWAY
from contract.cluster.dispatch import send_batches
from contract.errors import FolderError, MessageError
from contract.ledger.hosts import exchange
from contract.ledger.values import Claim
from contract.records.credentials import Credentials
from contract.records.messages import BATCH_TASK, BatchMessage
from worker import health, lifecycle, wiring
from worker.batch.disk_backoff import DiskBackoff
from worker.batch.host_news import HostNews
from worker.batch.orders import Orders
from worker.batch.runner import BatchRunner
from worker.engine.run import Run
from worker.events import Event
from worker.log_context import about, logger_of
from worker.station import Hearing, hearing, station

logger = logger_of(__name__)


class _Here:
    """Tells the listeners of whichever process something happens in; made before the fork."""

    def notify(self, event: Event) -> None:
        if current_task:  # type: ignore[truthy-bool]  # a proxy of what may be None
            _hearing(current_task).listeners.notify(event)


_disk_backoff = DiskBackoff(_Here())  # made before the fork, like this module
health.attach(_disk_backoff)
_LAST_WORDS = 1.0  # seconds a stopping process waits for its events to be sent


@shared_task(bind=True, name=BATCH_TASK, send_events=False)  # those of batches are sent by the runner
def run_batch(self: Task[..., str], message: object) -> str:
    """Run the batch whose turn it is; returns a line for the log. The report is in the result backend."""
    with lifecycle.in_hand.one_more():
        return _run(self, message)


def _run(task: Task[..., str], message: object) -> str:
    try:
        named = BatchMessage.from_wire(message)
    except MessageError as error:
        logger.error("Message rejected: %s", error)
        raise Ignore from None  # not Reject, which Celery logs with a traceback; the ledger still has the batch
    may_start = _disk_backoff.wait(_disk_trouble, gives_up=lifecycle.is_stopping)
    if lifecycle.is_stopping():
        return _pass_on(task, named)
    if not may_start:
        return "not started: the disk takes no files; it will be sent again"
    try:
        claim = station().ledger.claim_next(holder=str(task.request.hostname), waited=0.0, message=named)
    except AWAY as error:
        logger.warning("No batch claimed: %s.", type(error).__name__)
        return "not claimed: the ledger does not answer"
    except MessageError as error:
        _tell_once(f"No batch claimed: {error}")
        raise Ignore from None
    if claim is None:
        return "nothing to do: no batch waits"
    try:
        return _runner(task, known=claim.changes).work(claim)
    finally:
        if lifecycle.is_stopping():
            _hearing(task).rows.flush(_LAST_WORDS)


@lru_cache(maxsize=100)
def _tell_once(line: str) -> None:
    """Log what would else be said for every message."""
    logger.error(line)


def _pass_on(task: Task[..., str], named: BatchMessage) -> str:
    """Send a message that came too late to another worker; where that fails, the sweep does it."""
    lifecycle.await_silence()
    try:
        record = station().ledger.job(named.job)
        if record is not None:
            send_batches(task.app, [named], about="(passed on)")
    except (*AWAY, OperationalError) as error:
        with about(named.job, named.batch):
            logger.warning("was not handed off (%s); the sweep will do it.", type(error).__name__)
    return "not started: this worker is stopping"


def _runner(task: Task[..., str], *, known: int) -> BatchRunner:
    """``known`` is how many changes of control there were when its first batch was claimed."""
    here = station()
    downloader = wiring.downloader()
    worker = str(task.request.hostname)

    def starts(claim: Claim, *, may_publish: Callable[[], bool], tell: Callable[[], None]) -> Run:
        return downloader.start(
            claim.entries(),
            claim.policy,
            queued=claim.queued,
            worker=worker,
            may_publish=may_publish,
            credentials=Credentials.unpack(claim.secrets),
            tell=tell,
        )

    def send(messages: Sequence[BatchMessage]) -> None:
        lifecycle.await_silence()
        try:
            send_batches(task.app, messages, about="(handed off)")
        except OperationalError as error:
            logger.warning("handed-off batches were not sent (%s); the sweep will send them.", type(error).__name__)

    return BatchRunner(
        here.ledger,
        worker=worker,
        lease_seconds=here.cluster.lease,
        drain=downloader.settings.drain,
        room=downloader.settings.room,
        disk_backoff=_disk_backoff,
        starts=starts,
        is_stopping=lifecycle.is_stopping,
        send=send,
        look_at_hosts=_host_news(os.getpid()).look,
        halted=Orders(here.ledger.states, here.ledger.changes, known=known).halted,
        listener=_hearing(task).listeners,
    )


def _hearing(task: Task[..., str]) -> Hearing:
    return hearing(os.getpid(), task.app, str(task.request.hostname))


@lru_cache(maxsize=1)
def _host_news(_pid: int) -> HostNews:
    """Return what keeps this process's hosts and those of others the same."""
    return HostNews(wiring.downloader().hosts, partial(exchange, station().ledger), time.monotonic)


def _disk_trouble() -> str | None:
    try:
        return wiring.downloader().trouble()
    except FolderError as error:  # there is no downloader without it
        return str(error)
