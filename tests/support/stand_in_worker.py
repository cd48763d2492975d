"""A worker that fetches nothing: it receives messages like Celery, claims their batches and closes them as scripted."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import redis
from kombu.exceptions import OperationalError

from contract.cluster.broker import build_app, connect
from contract.cluster.dispatch import send_batches
from contract.cluster.settings import ClusterSettings
from contract.ledger.ledger import RedisLedger
from contract.ledger.values import Child, Claim
from contract.records.batches import BatchEntry, pack_entries
from contract.records.messages import BatchMessage
from contract.records.outcomes import Attempt, Ending, ErrorClass, Outcome, Timing
from contract.records.reports import BatchReport
from contract.urls.naming import output_name
from tests.support.processes import PATIENCE

BODY = b"ten bytes."  #: what it says it has stored

Answer = Callable[[BatchEntry], Outcome | None]


def everything_ok(entry: BatchEntry) -> Outcome:
    """End a URL as a worker would that fetched ten bytes in 20 ms, or that found the file an earlier job stored."""
    name = output_name(entry.url)
    if entry.known:
        digest = entry.known.digest.removeprefix("sha256:")
        return Outcome(
            url=entry.url, name=name, ending=Ending.KEPT, path=name, bytes=entry.known.size, sha256=digest,
            worker="stand-in",
        )  # fmt: skip
    return Outcome(
        url=entry.url, name=name, ending=Ending.OK, path=name, http_status=200, bytes=len(BODY),
        sha256=hashlib.sha256(BODY).hexdigest(), content_type="text/html; charset=utf-8", etag='"5f3b-60a2c"',
        last_modified="Tue, 15 Nov 1994 12:45:26 GMT", final_url=entry.url, attempts=(Attempt(None, 200, 0.02),),
        started="2026-11-23T01:02:03.123456+00:00", timing=Timing(0.001, 0.002, 0.003, 0.01, 0.004, 0.02, 0.5),
        remote_ip="192.0.2.1", http_version="1.1", worker="stand-in",
    )  # fmt: skip


def failed(entry: BatchEntry) -> Outcome:
    return Outcome(
        url=entry.url, name=output_name(entry.url), ending=Ending.FAILED, error=ErrorClass.HTTP_4XX, http_status=404,
        worker="stand-in",
    )  # fmt: skip


class StandInWorker:
    """A thread that works until its context ends. An answer of None hands the URL off.

    It closes `limit` batches and then waits until the limit is raised: how a test stops a job at a place it knows,
    however fast or slow the machine is.
    """

    def __init__(self, settings: ClusterSettings, answer: Answer = everything_ok, *, limit: float = math.inf) -> None:
        self._settings = settings
        self._answer = answer
        # kombu keeps messages of one priority in one list (kombu/transport/redis.py, Channel._q_for_pri).
        queue = f"{settings.prefix}{settings.queue}"
        self._queues = [queue, *(f"{queue}\x06\x16{priority}" for priority in range(10))]
        self._app = build_app(settings)
        self._redis: redis.Redis = connect(settings, timeout=PATIENCE * 10.0)
        self._ledger = RedisLedger(self._redis, prefix=settings.prefix, lease=settings.lease, keep=settings.keep)
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self.work, daemon=True)
        self.batches: list[str] = []
        self.limit = limit

    def __enter__(self) -> StandInWorker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopping.set()
        self._thread.join(PATIENCE * 10)
        self._app.close()
        self._redis.close()

    def work(self) -> None:
        while not self._is_stopping.is_set():
            if len(self.batches) >= self.limit:
                self._is_stopping.wait(0.01)
                continue
            try:
                self._work_once()
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OperationalError):
                self._is_stopping.wait(0.05)

    def _work_once(self) -> None:
        taken = cast("Any", self._redis.brpop(self._queues, timeout=0.1))
        if not taken:
            return
        message = BatchMessage.from_wire(json.loads(base64.b64decode(json.loads(taken[1])["body"]))[0][0])
        claim = self._ledger.claim_next(holder="stand-in", waited=0.0, message=message)
        if claim is not None:
            self._close(claim)

    def _close(self, claim: Claim) -> None:
        started = time.time()
        outcomes: list[Outcome] = []
        left: list[BatchEntry] = []
        for entry in claim.entries():
            outcome = self._answer(entry)
            if outcome is None:
                left.append(entry)
            else:
                outcomes.append(outcome)
        children = [Child(pack_entries(left), len(left))] if left else []
        handed_off = [claim.child(1)] if left else []
        report = self._report(claim, started, outcomes, handed_off)
        self.batches.append(claim.batch)
        if self._ledger.close(claim, report, children):
            send_batches(self._app, [BatchMessage(claim.job, child) for child in handed_off])

    def _report(
        self, claim: Claim, started: float, outcomes: Sequence[Outcome], handed_off: Sequence[str]
    ) -> BatchReport:
        finished = time.time()
        return BatchReport(
            job=claim.job, batch=claim.batch, worker="stand-in", pid=1, queued=claim.queued, started=started,
            finished=finished, elapsed=finished - started, busy=0.02 * len(outcomes), outcomes=outcomes,
            handed_off=handed_off,
        )  # fmt: skip
