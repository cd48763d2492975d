"""A job's status: the facts that every display and ``--json`` show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contract.ledger.values import JobRecord, JobState, OpenBatches
from producer.job.hold_up import NOTHING, HoldUp


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """``lately`` counts those of the last minute, as far as the job was observed."""

    error: str
    total: int
    lately: int = 0


@dataclass(frozen=True, slots=True)
class HostCost:
    """What a host cost: its URLs, their mean time in seconds, those that failed, and those silent in flight."""

    host: str
    urls: int
    mean: float | None
    failed: int
    silent: int = 0


@dataclass(frozen=True, slots=True)
class HostWait:
    """A paused host, with the seconds left; ``urls`` of the job wait for it, if known."""

    host: str
    left: float
    urls: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLine:
    """A worker: what it holds of the job, its URLs/s, the seconds since its last report, and its trouble."""

    worker: str
    batches: int | None = 0
    urls: int | None = 0
    rate: float | None = None
    heard: float | None = None
    trouble: str = ""
    takes_work: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """A job's current state. Rates are per second, times in seconds, sizes in bytes; None: not known.

    ``done`` of ``known`` URLs have an outcome; ``known`` may still grow unless ``is_complete``. ``flying`` and
    ``quiet`` come from snapshots of open batches.
    """

    job: str
    label: str
    state: str
    elapsed: float
    done: int
    known: int | None
    is_complete: bool
    counts: Mapping[str, int]
    fetched: int
    rate: float | None = None
    bytes_rate: float | None = None
    rates: Sequence[float] = ()
    bytes_rates: Sequence[float] = ()
    left: float | None = None
    errors: Sequence[ErrorCount] = ()
    hosts: Sequence[HostCost] = ()
    more_hosts: int = 0
    waits: Sequence[HostWait] = ()
    workers: Sequence[WorkerLine] = ()
    waiting: int = 0
    running: int = 0
    deferred: int = 0
    undrained: int = 0
    flying: int = 0
    quiet: int = 0
    unresolved: int = 0
    hold_up: HoldUp = NOTHING

    def to_record(self) -> dict[str, Any]:
        """Return the status for ``--json``."""
        return {
            "job": self.job,
            "label": self.label,
            "state": self.state,
            "elapsed": round(self.elapsed, 3),
            "done": self.done,
            "known": self.known,
            "is_complete": self.is_complete,
            "counts": dict(self.counts),
            "bytes": self.fetched,
            "urls_per_second": _rounded(self.rate),
            "bytes_per_second": _rounded(self.bytes_rate),
            "seconds_left": _rounded(self.left),
            "errors": {each.error: each.total for each in self.errors},
            "errors_last_minute": {each.error: each.lately for each in self.errors if each.lately},
            "hosts": [
                {
                    "host": each.host,
                    "urls": each.urls,
                    "mean": _rounded(each.mean),
                    "failed": each.failed,
                    "silent": each.silent,
                }
                for each in self.hosts
            ],
            "host_waits": [
                {"host": each.host, "seconds": _rounded(each.left), "urls": each.urls} for each in self.waits
            ],
            "workers": [
                {
                    "worker": each.worker,
                    "batches": each.batches,
                    "urls": each.urls,
                    "urls_per_second": _rounded(each.rate),
                    "heard": _rounded(each.heard),
                    "trouble": each.trouble or None,
                }
                for each in self.workers
            ],
            "waiting": self.waiting,
            "running": self.running,
            "deferred": self.deferred,
            "undrained": self.undrained,
            "in_flight": self.flying,
            "silent": self.quiet,
            "unresolved": self.unresolved,
            "held_up_by": self.hold_up.kind or None,
            "held_up": self.hold_up.sentence or None,
        }


def state_of(record: JobRecord | None, batches: OpenBatches | None = None) -> str:
    """Return a job's phase in a word or two."""
    if record is None:
        return "starting"
    state = batches.state if batches is not None else record.state
    if state is JobState.PAUSED and not record.is_finished:
        return "paused"
    open_, running = (batches.open, batches.running) if batches is not None else (record.open, record.running)
    if state is JobState.CANCELLED and open_:
        return "cancelling"
    if state is not JobState.CANCELLED and not record.is_sealed:
        return "sending"
    if open_:
        return "running" if running else "waiting"
    return "to be collected" if record.undrained else "finished"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
