"""The outcomes of one batch with its timing: what the result backend holds under the batch's task id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from celery.backends.base import compress_payload, decompress_payload  # type: ignore[attr-defined]  # new in 5.7

from contract.errors import MessageError
from contract.records import wire
from contract.records.messages import task_id

REPORT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """One batch as it ended.

    ``queued``, ``started`` and ``finished`` are UTC Unix seconds; ``elapsed`` is ``finished - started``;
    ``busy`` is the sum of the URLs' own times in seconds, so ``concurrency`` (busy / elapsed) is what
    fetching side by side gained. ``outcomes`` are manifest rows. ``handed_off`` names the batches opened
    in the same step for URLs that are not among the outcomes.
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
    outcomes: Sequence[Mapping[str, Any]]
    handed_off: Sequence[str] = ()

    @property
    def concurrency(self) -> float:
        return self.busy / self.elapsed if self.elapsed > 0 else 1.0

    def counts(self) -> Counter[str]:
        """Count the outcomes by ending."""
        return Counter([str(row["outcome"]) for row in self.outcomes])

    def to_wire(self) -> dict[str, Any]:
        return {
            "version": REPORT_VERSION,
            "summary": dict(self.counts()),
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
            "handed_off": list(self.handed_off),
            "outcomes": list(self.outcomes),
        }

    @classmethod
    def from_wire(cls, record: Any) -> BatchReport:
        """Read a report back.

        Raises:
            MessageError: damaged, or of another version.
        """
        if not isinstance(record, Mapping) or record.get("version") != REPORT_VERSION:
            raise MessageError("A report is of another version: run the same Trawlnet on both sides.")
        try:
            return cls(
                job=record["job"],
                batch=record["batch"],
                worker=record["worker"],
                pid=record["pid"],
                queued=record["queued"],
                started=record["started"],
                finished=record["finished"],
                elapsed=record["elapsed"],
                busy=record["busy"],
                outcomes=record["outcomes"],
                handed_off=record["handed_off"],
            )
        except KeyError as missing:
            raise MessageError(f"A report lacks {missing}.") from None

    def to_result(self) -> bytes:
        """Return the bytes Celery's result backend keeps for a finished task.

        Source: celery 5.7 ``backends/base.py``, ``Backend._get_result_meta`` and ``compress_payload``: the
        payload names its own compression, so any Celery client reads it with ``AsyncResult(task_id).get()``.
        """
        meta: dict[str, Any] = {
            "task_id": task_id(self.job, self.batch),
            "status": "SUCCESS",
            "result": self.to_wire(),
            "traceback": None,
            "children": [],
            "date_done": datetime.fromtimestamp(self.finished, UTC).isoformat(),
        }
        payload: bytes = compress_payload(wire.to_json_bytes(meta), "zstd")
        return payload

    @classmethod
    def from_result(cls, blob: bytes) -> BatchReport:
        """Read what ``to_result`` wrote.

        Raises:
            MessageError: not a finished task's result, or not a report of this version.
        """
        meta: Any = wire.from_json(decompress_payload(blob))
        if not isinstance(meta, Mapping) or meta.get("status") != "SUCCESS":
            raise MessageError("A result in the backend is not a report.")
        return cls.from_wire(meta.get("result"))
