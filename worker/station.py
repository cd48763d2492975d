"""What a worker process shares between its tasks: the ledger and the downloader, made on first use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

from contract.cluster.broker import connect, queue_lists
from contract.cluster.settings import ClusterSettings
from contract.ledger.health import WorkerHealth
from contract.ledger.ledger import RedisLedger


@dataclass(frozen=True, slots=True)
class Station:
    """The services one process talks to."""

    cluster: ClusterSettings
    ledger: RedisLedger
    health: WorkerHealth


def station() -> Station:
    """Return this process's station; a forked child gets one of its own."""
    return _station(os.getpid())


@lru_cache(maxsize=1)
def _station(_pid: int) -> Station:
    cluster = ClusterSettings.from_environment(os.environ)
    client = connect(cluster)
    queue = queue_lists(cluster)
    ledger = RedisLedger(client, prefix=cluster.prefix, lease=cluster.lease, keep=cluster.keep, queue=queue)
    return Station(cluster, ledger, WorkerHealth(client, prefix=cluster.prefix))
