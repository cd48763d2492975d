"""The outcomes of one batch with its timing, stored in the result backend under the batch's task id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from contract.errors import MessageError
from contract.records import wire
from contract.records.messages import task_id
from contract.records.outcomes import Outcome, read_row
from contract.records.sums import Sums

REPORT_VERSION: Literal[1] = 1


class Head(Struct, frozen=True, kw_only=True):
    """A closed batch, without its outcomes.

    ``gathered`` names parked batches whose URLs were fetched with this one and that were closed with it.

    ``queued``, ``started`` and ``finished`` are UTC Unix seconds; ``elapsed`` is ``finished - started``;
    ``busy`` is the sum of the URLs' own times in seconds. ``handed_off`` names the batches opened in the same step for
    the URLs that have no outcome yet.
    """

    job: str
    batch: str
    worker: str
    pid: int
    queued: float
    started: float
    finished: float
    elapsed: float
    busy: float
    handed_off: Sequence[str] = ()
    gathered: Sequence[str] = ()


class BatchReport(Head, frozen=True, kw_only=True, dict=True):
    """One closed batch. ``concurrency`` is ``busy / elapsed``."""

    outcomes: Sequence[Outcome]

    @classmethod
    def without_work(
        cls,
        job: str,
        batch: str,
        *,
        worker: str,
        at: float,
        outcomes: Sequence[Outcome] = (),
        queued: float | None = None,
        handed_off: Sequence[str] = (),
        pid: int = 0,
    ) -> BatchReport:
        """Return the report of a batch that was not run, closed ``at`` that time (Unix seconds)."""
        return cls(
            job=job, batch=batch, worker=worker, pid=pid, queued=at if queued is None else queued, started=at,
            finished=at, elapsed=0.0, busy=0.0, outcomes=outcomes, handed_off=handed_off,
        )  # fmt: skip

    @property
    def concurrency(self) -> float:
        return self.busy / self.elapsed if self.elapsed > 0 else 1.0

    @cached_property
    def sums(self) -> Sums:
        """What the outcomes add up to."""
        return Sums.of(self.outcomes)

    def counts(self) -> Counter[str]:
        """Count the outcomes by ending."""
        return Counter(self.sums.counts)

    def to_result(self) -> bytes:
        """Return the bytes Celery's result backend keeps for a finished task.

        Source: celery 5.7 ``backends/base.py``, ``Backend._get_result_meta`` and ``compress_payload``: the
        payload names its own compression, so any Celery client reads it with ``AsyncResult(task_id).get()``.
        """
        meta: dict[str, Any] = {
            "task_id": task_id(self.job, self.batch),
            "status": "SUCCESS",
            "result": {
                "version": REPORT_VERSION,
                "summary": self.sums.counts,
                "job": self.job,
                "batch": self.batch,
                "worker": self.worker,
                "pid": self.pid,
                "queued": self.queued,
                "started": self.started,
                "finished": self.finished,
                "elapsed": self.elapsed,
                "busy": self.busy,
                "concurrency": self.concurrency,
                "handed_off": self.handed_off,
                **({"gathered": self.gathered} if self.gathered else {}),
                "sums": self.sums,
                "outcomes": self.outcomes,
            },
            "traceback": None,
            "children": [],
            "date_done": datetime.fromtimestamp(self.finished, UTC).isoformat(),
        }
        # Here, because a run's producer must not import Celery before its worker starts.
        from celery.backends.base import COMPRESSED_PAYLOAD_MAGIC  # type: ignore[attr-defined]  # new in 5.7

        # What compress_payload(text, "zstd") returns, at another level.
        return b"".join([COMPRESSED_PAYLOAD_MAGIC, b"application/zstd\0", wire.compress(wire.to_json_bytes(meta))])

    @classmethod
    def from_result(cls, blob: bytes) -> BatchReport:
        """Read what ``to_result`` wrote.

        Raises:
            MessageError: damaged, not a finished task's result, or not a report of this version.
        """
        stored = read_stored(blob)
        outcomes = [read_row(row) for row in stored.rows]
        return cls(**{field: getattr(stored.head, field) for field in Head.__struct_fields__}, outcomes=outcomes)


class StoredReport(Struct, frozen=True):
    """A report as stored in the result backend; ``rows`` are its manifest lines as undecoded JSON.

    ``sums`` are those of the rows; None: an earlier version wrote it.
    """

    head: Head
    rows: Sequence[bytes]
    sums: Sums | None = None

    @property
    def batch(self) -> str:
        return self.head.batch


class _Result(Head, frozen=True, kw_only=True):
    version: Literal[1]
    outcomes: list[Raw]
    sums: Sums | None = None


class _Meta(Struct, frozen=True):
    """The fields of Celery's record of a task that make it a report."""

    status: Literal["SUCCESS"]
    result: _Result


_META = msgspec.json.Decoder(_Meta)


def read_stored(blob: bytes) -> StoredReport:
    """Read a stored report and leave its rows undecoded.

    Raises:
        MessageError: damaged, not a finished task's result, or not a report of this version.
    """
    from celery.backends.base import decompress_payload  # type: ignore[attr-defined]  # new in 5.7; here, as above

    try:
        text = decompress_payload(blob)
    except Exception as error:  # what Celery's decompression raises depends on the compression
        raise MessageError(f"A report in the result backend is damaged ({type(error).__name__}).") from None
    result = wire.read(_META, text, "A report in the result backend").result
    rows = [bytes(row) for row in result.outcomes]
    result.outcomes.clear()  # they are views of the whole text, and the report's head would keep them
    if b"\n" in text:  # JSON written by another program, with line breaks
        rows = [row if b"\n" not in row else wire.to_json_bytes(wire.from_json(row)) for row in rows]
    sums = result.sums
    return StoredReport(result, rows, sums if sums is not None and sums.rows == len(rows) else None)
