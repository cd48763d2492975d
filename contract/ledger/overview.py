"""An overview of all jobs: how many batches wait and for what, read by one script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contract.ledger.keys import Keys
from contract.ledger.ledger import RedisLedger

MOST_LOOKED_AT = 2_000  # jobs whose reports are counted, and hosts: the script must not block Redis


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Numbers of batches, jobs and hosts.

    ``claimable`` batches wait only for a worker: what an autoscaler counts. ``undrained`` ones are reported but not
    collected yet. ``oldest_wait`` is in seconds; ``last_claim`` in Unix seconds, None if unknown.
    """

    claimable: int
    held: int
    deferred: int
    parked: int
    paused: int
    undrained: int
    jobs: int
    active_jobs: int
    paused_jobs: int
    oldest_wait: float
    last_claim: float | None
    paused_hosts: int


def look(ledger: RedisLedger) -> Overview:
    """Count over all jobs, including those of the first edition.

    Raises:
        redis.exceptions.RedisError: Redis is unreachable.
    """
    shared = [_read(keys) for keys in (ledger.keys, ledger.earlier)]
    about = [ledger.keys.of_jobs, ledger.earlier.of_jobs, MOST_LOOKED_AT]
    *counts, waited, last, hosts = ledger.call("overview", [key for keys in shared for key in keys], about)
    claimable, held, deferred, parked, paused, undrained, jobs, active, paused_jobs = counts
    return Overview(
        claimable=claimable,
        held=held,
        deferred=deferred,
        parked=parked,
        paused=paused,
        undrained=undrained,
        jobs=jobs,
        active_jobs=active,
        paused_jobs=paused_jobs,
        oldest_wait=int(waited) / 1e6,
        last_claim=float(last) if last else None,
        paused_hosts=hosts,
    )


def _read(keys: Keys) -> Sequence[str]:
    return keys.sent, keys.active, keys.jobs, keys.taken, keys.hosts, keys.host_changes
