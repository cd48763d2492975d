"""The catalogue of metrics: names, meanings, and the series that exist from the start.

A worker serves what its processes did (``worker/adapters/metrics.py``), the exporter the state of the ledger
(``producer/commands/exporter.py``). docs/metrics.md has a row for each; a test compares it with this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from contract.ledger.reasons import Reason
from contract.records.outcomes import Ending, ErrorClass

_Series = tuple[tuple[str, ...], ...]


class Kind(StrEnum):
    """How a metric may be queried."""

    COUNTER = "counter"  #: grows until its process ends: query rate() and increase()
    GAUGE = "gauge"  #: a current value
    HISTOGRAM = "histogram"  #: a distribution in buckets: query histogram_quantile()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """``name`` is used in queries; ``series`` has the label values of all series that exist from the start."""

    name: str
    kind: Kind
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    series: _Series = ()

    @property
    def row(self) -> str:
        """The metric's row in docs/metrics.md."""
        labels = f"{{{','.join(self.labels)}}}" if self.labels else ""
        return f"| `{self.name}{labels}` | {self.kind} | {self.unit} | {self.help} |"


#: Bounds of the histograms' buckets, in seconds.
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


def _each(values: Iterable[str]) -> _Series:
    return tuple((str(value),) for value in values)


# ------------------------------------------------------------------------------------- of a worker: add them up

URLS = Metric(
    name="trawl_urls_total",
    kind=Kind.COUNTER,
    labels=("outcome", "error"),
    series=(
        *((ending, "") for ending in (Ending.OK, Ending.KEPT)),
        *((ending, error) for ending in (Ending.FAILED, Ending.REFUSED) for error in ErrorClass),
    ),
    help="URLs reported, by how they ended and by error class (empty for ok and kept)."
    " The producer's own reports are not counted: refused lines, and small files that a local run keeps.",
)
ATTEMPTS = Metric(name="trawl_attempts_total", kind=Kind.COUNTER, help="Attempts of the URLs reported.")
STORED_BYTES = Metric(
    name="trawl_stored_bytes_total", kind=Kind.COUNTER, unit="bytes", help="Bytes of the bodies stored."
)
URL_SECONDS = Metric(
    name="trawl_url_seconds",
    kind=Kind.HISTOGRAM,
    unit="seconds",
    help="Time from a URL's first attempt to its end, for URLs that were tried.",
)
PHASE_SECONDS = Metric(
    name="trawl_phase_seconds_total",
    kind=Kind.COUNTER,
    unit="seconds",
    labels=("phase",),
    series=_each(("dns", "connect", "tls", "ttfb", "transfer", "queued")),
    help="Time of last attempts by phase, and before the first attempt (queued).",
)
BATCHES = Metric(name="trawl_batches_total", kind=Kind.COUNTER, help="Batches reported.")
BATCH_SECONDS = Metric(
    name="trawl_batch_seconds", kind=Kind.HISTOGRAM, unit="seconds", help="Time from a batch's claim to its report."
)
URLS_IN_PROGRESS = Metric(
    name="trawl_urls_in_progress", kind=Kind.GAUGE, help="URLs of batches claimed and not reported."
)
TRANSFERS_IN_FLIGHT = Metric(
    name="trawl_transfers_in_flight", kind=Kind.GAUGE, help="Transfers in flight, including quiet ones."
)
WORKER_TROUBLE = Metric(
    name="trawl_worker_trouble",
    kind=Kind.GAUGE,
    labels=("reason",),
    series=_each(Reason),
    help="1 while this keeps the worker from taking work, or makes a large body wait.",
)
LEASES_LOST = Metric(
    name="trawl_leases_lost_total",
    kind=Kind.COUNTER,
    help="Batches taken from the worker because it did not renew their lease: it was frozen, or Redis did not answer.",
)
HANDED_OFF = Metric(
    name="trawl_urls_handed_off_total",
    kind=Kind.COUNTER,
    labels=("how",),
    series=_each(("at-once", "later", "straggling")),
    help="URLs handed off to another batch: for any worker at once, until their host or the disk is ready (later),"
    " or to continue on the same worker while their batch is reported (straggling).",
)
MESSAGES_SENT_AGAIN = Metric(
    name="trawl_messages_sent_again_total",
    kind=Kind.COUNTER,
    help="Messages that the worker's sweeps sent because there were fewer than waiting batches.",
)
BATCHES_PUT_BACK = Metric(
    name="trawl_batches_put_back_total",
    kind=Kind.COUNTER,
    help="Batches that the worker's sweeps put back in line because their lease expired or they came due.",
)
BATCHES_SPLIT = Metric(
    name="trawl_batches_split_total",
    kind=Kind.COUNTER,
    help="Batches that the worker's sweeps split because they had killed five workers.",
)

WORKER_METRICS = (
    URLS, ATTEMPTS, STORED_BYTES, URL_SECONDS, PHASE_SECONDS, BATCHES, BATCH_SECONDS, URLS_IN_PROGRESS,
    TRANSFERS_IN_FLIGHT, WORKER_TROUBLE, LEASES_LOST, HANDED_OFF, MESSAGES_SENT_AGAIN, BATCHES_PUT_BACK, BATCHES_SPLIT,
)  # fmt: skip

# ------------------------------------------------------------- of the cluster, from the exporter: never add them up

REDIS_UP = Metric(
    name="trawl_redis_up", kind=Kind.GAUGE, help="1 if the ledger answered; 0: everything below is missing."
)
CLAIMABLE = Metric(
    name="trawl_claimable_batches",
    kind=Kind.GAUGE,
    help="Batches that a worker could claim now: not held, paused, deferred or parked. Scale workers by this.",
)
LEDGER_BATCHES = Metric(
    name="trawl_ledger_batches",
    kind=Kind.GAUGE,
    labels=("state",),
    series=_each(("held", "deferred", "parked", "paused", "undrained")),
    help="Other batches: with a worker (held), waiting for a given time (deferred) or for their host (parked), of "
    "a paused job (paused), or reported and not collected by `trawl follow` or `run` yet (undrained).",
)
LEDGER_JOBS = Metric(
    name="trawl_ledger_jobs",
    kind=Kind.GAUGE,
    labels=("state",),
    series=_each(("known", "active", "paused")),
    help="Jobs in Redis (known), those with open batches (active), and the paused ones among these (paused).",
)
OLDEST_WAIT = Metric(
    name="trawl_oldest_wait_seconds",
    kind=Kind.GAUGE,
    unit="seconds",
    help="How long the oldest waiting batch has waited for a worker; 0: none waits.",
)
LAST_CLAIM = Metric(
    name="trawl_last_claim_timestamp_seconds",
    kind=Kind.GAUGE,
    unit="seconds",
    help="When a batch was last claimed, in Unix seconds; 0: not known.",
)
HOSTS_PAUSED = Metric(
    name="trawl_hosts_paused",
    kind=Kind.GAUGE,
    help="Hosts that are paused because they asked to wait, for pauses of 5 s or longer.",
)
WORKERS = Metric(
    name="trawl_workers",
    kind=Kind.GAUGE,
    labels=("state",),
    series=_each(("alive", "stalled", "silent")),
    help="Workers that reported within 15 s (alive), those of them that take no work (stalled), and those that "
    "last reported within a minute (silent).",
)
WORKERS_TROUBLED = Metric(
    name="trawl_workers_troubled",
    kind=Kind.GAUGE,
    labels=("reason",),
    series=_each(Reason),
    help="Workers that take no work, or let a large body wait, by reason.",
)
REDIS_MEMORY = Metric(
    name="trawl_redis_memory_bytes", kind=Kind.GAUGE, unit="bytes", help="Memory used by the ledger's Redis."
)
REDIS_MEMORY_LIMIT = Metric(
    name="trawl_redis_memory_limit_bytes",
    kind=Kind.GAUGE,
    unit="bytes",
    help="Its maxmemory; 0: none is set. Above 70 % of it producers wait.",
)
REDIS_EVICTS = Metric(
    name="trawl_redis_evicts", kind=Kind.GAUGE, help="1 if Redis may evict batches: its policy is not noeviction."
)

EXPORTER_METRICS = (
    REDIS_UP, CLAIMABLE, LEDGER_BATCHES, LEDGER_JOBS, OLDEST_WAIT, LAST_CLAIM, HOSTS_PAUSED, WORKERS,
    WORKERS_TROUBLED, REDIS_MEMORY, REDIS_MEMORY_LIMIT, REDIS_EVICTS,
)  # fmt: skip

# -------------------------------------------------------------------- of every process that shows any: about itself

BUILD_INFO = Metric(
    name="trawl_build_info",
    kind=Kind.GAUGE,
    labels=("version", "python", "celery"),
    help="1; its labels name the versions.",
)
MEMORY = Metric(
    name="process_resident_memory_bytes",
    kind=Kind.GAUGE,
    unit="bytes",
    help="Memory of the process; of a worker, with its pool's processes.",
)
CPU_SECONDS = Metric(
    name="process_cpu_seconds_total",
    kind=Kind.COUNTER,
    unit="seconds",
    help="CPU time, likewise, including processes that have ended.",
)
OPEN_FILES = Metric(name="process_open_fds", kind=Kind.GAUGE, help="Open files, likewise.")
MOST_FILES = Metric(name="process_max_fds", kind=Kind.GAUGE, help="How many each process may open.")
STARTED = Metric(
    name="process_start_time_seconds", kind=Kind.GAUGE, unit="seconds", help="When it was started, in Unix seconds."
)
PROCESSES = Metric(name="trawl_processes", kind=Kind.GAUGE, help="Processes of the worker, including its pool.")

PROCESS_METRICS = (BUILD_INFO, MEMORY, CPU_SECONDS, OPEN_FILES, MOST_FILES, STARTED, PROCESSES)

CATALOGUE = (*WORKER_METRICS, *EXPORTER_METRICS, *PROCESS_METRICS)
