"""The executor interface on a cluster: ``submit(url)`` returns a real ``concurrent.futures.Future``."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Collection, Iterable
from concurrent.futures import Future
from types import TracebackType

from contract.errors import InputError, TrawlError, UnknownJobError
from contract.ledger.values import Child, Claim
from contract.records.batches import BatchEntry, pack_entries
from contract.records.messages import BatchMessage
from contract.records.outcomes import Ending, ErrorClass, Outcome
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport
from contract.urls.lines import Entry, intake
from contract.urls.naming import output_name
from producer.api.jobs import Client, Job
from producer.intake.batching import spread
from producer.job.plan import new_job_id
from producer.job.sender import BatchSender, NewJob
from producer.storage.journal import KeptBatch
from producer.storage.memory import Memory

_LINGER = 0.01  # seconds a URL waits for others to share its batch
_TOGETHER, _SLOTS = 8, 4  # most URLs per batch, as their futures complete together; batches for a few URLs
_LOOK_EVERY = 0.02  # seconds
_ALIVE_EVERY = 2.0  # seconds between two checks that Redis still knows the job


class UrlError(TrawlError):
    """A URL was not stored; ``outcome`` has the details."""

    code = "url"

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{outcome.error}: {outcome.detail or 'not stored'}")
        self.outcome = outcome


class UrlFuture(Future[Outcome]):
    """The future of one URL. It is running once a worker holds its batch; until then it can be cancelled.

    ``result()`` is the ``Outcome`` of a stored URL; for any other it raises ``UrlError``.
    """

    def __init__(self, url: str, entry: BatchEntry, submitter: Submitter) -> None:
        super().__init__()
        self.url = url
        self.entry = entry
        self._submitter = submitter

    def cancel(self) -> bool:
        """Withdraw the URL unless a worker has it; True: it will not be fetched."""
        if not self.cancelled() and (self.done() or not self._submitter.withdraw(self)):
            return False
        is_cancelled = super().cancel()
        if is_cancelled and not self._is_notified():
            self.set_running_or_notify_cancel()  # as executors do; otherwise wait() would keep waiting
        return is_cancelled

    def _is_notified(self) -> bool:
        return self._state == "CANCELLED_AND_NOTIFIED"


class Submitter:
    """Submits URLs one by one; a context manager that waits for them on exit, as executors do.

    A URL is *waiting* until it is sent, then *sent* in a batch that no worker holds, then running, then done.
    """

    def __init__(self, client: Client, *, policy: JobPolicy | None = None) -> None:
        self._client = client
        job = NewJob(id=new_job_id(), label="futures", policy=policy or JobPolicy())
        self._job = Job(job.id, client)
        self._sender = BatchSender(job, journal=Memory(), services=client.cluster, retrying=client.retrying)
        self._numbers = itertools.count(1)
        self._futures: dict[str, UrlFuture] = {}  # by md5 name: all that are not done
        self._waiting: dict[str, UrlFuture] = {}
        self._sent: dict[str, dict[str, UrlFuture]] = {}  # by batch
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._is_closing = False
        self._failure: BaseException | None = None
        ledger = client.cluster.ledger
        client.retrying.call(lambda: ledger.create(job.id, job.policy, label=job.label))
        self._thread = threading.Thread(target=self._work, name="trawl-futures", daemon=True)
        self._thread.start()

    def submit(self, url: str) -> UrlFuture:
        """Submit a URL. Submitting a URL that is not done yet returns the same future again."""
        read = intake(url, line=0)
        with self._lock:
            if self._is_closing:
                raise RuntimeError("cannot submit after shutdown")
            if self._failure is not None:
                raise self._failure
            if not isinstance(read, Entry):
                future = UrlFuture(url, BatchEntry(url=url), self)
                future.set_exception(UrlError(_refused(url, read.reason if read else "There is no URL in it.")))
                return future
            if read.name in self._futures:
                return self._futures[read.name]
            future = UrlFuture(read.url, BatchEntry(url=read.url, expected=read.expect), self)
            self._futures[read.name] = self._waiting[read.name] = future
        self._wake.set()
        return future

    def map(self, urls: Iterable[str]) -> list[UrlFuture]:
        """Submit several.

        Raises:
            InputError: ``urls`` is one string.
        """
        if isinstance(urls, str | bytes):
            raise InputError("map() takes a list of URLs, not one string: use submit(url).")
        return [self.submit(url) for url in urls]

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        """Accept no more URLs; wait for those submitted, or cancel those that no worker has yet."""
        with self._lock:
            self._is_closing = True
            futures = list(self._futures.values())
        if cancel_futures:
            for future in futures:
                future.cancel()
        self._wake.set()
        if wait:
            self._thread.join()

    def __enter__(self) -> Submitter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(cancel_futures=error is not None)

    def withdraw(self, future: UrlFuture) -> bool:
        """Withdraw a URL; False if a worker has it.

        If its batch was sent, claim the batch as a worker would, close it with this URL's outcome and hand off the
        others, so that no worker can start it in between.
        """
        name = output_name(future.url)
        with self._lock:
            if self._waiting.pop(name, None) is None:
                batch = next((batch for batch, futures in self._sent.items() if name in futures), None)
                if batch is None or not self._withdraw_from(batch, name):
                    return False
            self._futures.pop(name, None)
            return True

    # ------------------------------------------------------------------ the thread that sends and collects

    def _work(self) -> None:
        looked = time.monotonic()
        try:
            while not self._is_over():
                self._wake.wait(None if self._is_idle() else _LOOK_EVERY)
                if self._wake.is_set():
                    self._wake.clear()
                    time.sleep(_LINGER)
                self._send()
                self._mark_running()
                self._collect()
                if time.monotonic() - looked > _ALIVE_EVERY:
                    looked = time.monotonic()
                    self._check()
            self._client.retrying.call(lambda: self._client.cluster.ledger.remove(self._job.id))
        except BaseException as error:  # those who wait for a future must learn of it
            self._fail(error)

    def _is_idle(self) -> bool:
        with self._lock:
            return not self._futures and not self._is_closing

    def _is_over(self) -> bool:
        with self._lock:
            return self._is_closing and not self._futures

    def _send(self) -> None:
        with self._lock:
            waiting, self._waiting = list(self._waiting.items()), {}
            shares, start = [], 0
            for size in spread(len(waiting), _TOGETHER, _SLOTS):
                shares.append(dict(waiting[start : start + size]))
                start += size
            batches = [self._batch_of(share.values()) for share in shares]
            self._client.retrying.call(lambda: self._sender.open(batches, [f"urls={batch.urls}" for batch in batches]))
            self._sent.update(zip((batch.batch for batch in batches), shares, strict=True))

    def _batch_of(self, futures: Collection[UrlFuture]) -> KeptBatch:
        entries = [future.entry for future in futures]
        return KeptBatch(str(next(self._numbers)), len(entries), pack_entries(entries))

    def _mark_running(self) -> None:
        with self._lock:
            for batch in self._client.retrying.call(
                lambda: self._client.cluster.ledger.held(self._job.id, list(self._sent))
            ):
                for future in self._sent.pop(batch).values():
                    future.set_running_or_notify_cancel()

    def _collect(self) -> None:
        for report in self._job.new_reports():
            with self._lock:
                for future in self._sent.pop(report.batch, {}).values():
                    future.set_running_or_notify_cancel()
                ended = [(self._futures.pop(str(outcome.name), None), outcome) for outcome in report.outcomes]
            # Outside the lock: callbacks may submit more.
            for submitted, outcome in ended:
                if submitted is not None:
                    _end(submitted, outcome)

    def _check(self) -> None:
        record = self._client.retrying.call(lambda: self._client.cluster.ledger.job(self._job.id))
        if record is None:
            raise UnknownJobError(f"Redis no longer knows job {self._job.id}.")

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._failure = error
            futures, self._futures = list(self._futures.values()), {}
            self._waiting.clear()
            self._sent.clear()
        for future in futures:
            if future.running() or future.set_running_or_notify_cancel():
                future.set_exception(error)

    def _withdraw_from(self, batch: str, name: str) -> bool:
        ledger, through = self._client.cluster.ledger, self._client.retrying.call
        claim = through(lambda: ledger.claim(self._job.id, batch, holder="futures"))
        if claim is None:
            return False
        rest = [entry for entry in claim.entries() if output_name(entry.url) != name]
        children = [Child(pack_entries(rest), len(rest))] if rest else []
        report = _withdrawal(claim, has_child=bool(rest))
        if not through(lambda: ledger.close(claim, report, children)):
            return False
        futures = self._sent.pop(batch)
        del futures[name]
        if rest:
            child = claim.child(1)
            self._sent[child] = futures
            through(lambda: self._client.cluster.send([BatchMessage(self._job.id, child)]))
        return True


def _end(future: UrlFuture, outcome: Outcome) -> None:
    if outcome.is_stored:
        future.set_result(outcome)
    else:
        future.set_exception(UrlError(outcome))


def _refused(url: str, reason: str) -> Outcome:
    return Outcome(url=url, name=output_name(url), ending=Ending.REFUSED, error=ErrorClass.REFUSED_URL, detail=reason)


def _withdrawal(claim: Claim, *, has_child: bool) -> BatchReport:
    handed_off = [claim.child(1)] if has_child else []
    return BatchReport.without_work(
        claim.job, claim.batch, worker="futures", at=time.time(), queued=claim.queued, handed_off=handed_off
    )
