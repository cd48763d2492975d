"""The ledger at a glance: how much waits and for what, of all jobs, by one script that changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contract.ledger.keys import Keys
from contract.ledger.ledger import RedisLedger

MOST_LOOKED_AT = 2_000  # jobs whose reports are counted, and hosts: a look must not keep Redis from others


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Batches, but for the last rows.

    ``claimable`` ones wait for a worker and nothing else: what an autoscaler counts. ``undrained`` ones are reported
    and not collected yet. ``oldest_wait`` is in seconds; ``last_claim`` in Unix seconds, None where it is not known.
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
    """Look at all jobs, those of the first edition included.

    Raises:
        redis.exceptions.RedisError: Redis cannot be reached.
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
