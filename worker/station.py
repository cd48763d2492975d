"""What a worker process shares between its tasks: the ledger and the downloader, made on first use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

from celery import Celery

from contract.cluster.broker import connect, queue_lists
from contract.cluster.settings import ClusterSettings
from contract.ledger.health import WorkerHealth
from contract.ledger.ledger import RedisLedger
from worker import metering
from worker.events import Listener, Listeners
from worker.listeners.flower import BatchRows, TroubleRow
from worker.listeners.log import EventLog
from worker.listeners.snapshots import Snapshots


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


@dataclass(frozen=True, slots=True)
class Hearing:
    """Who hears what happens in one process."""

    listeners: Listeners
    rows: BatchRows


@lru_cache(maxsize=1)
def hearing(_pid: int, app: Celery, worker: str) -> Hearing:
    """Return who hears what happens in this process; a forked child gets listeners of its own."""
    rows, meter = BatchRows(app, worker), metering.meter()
    others: list[Listener] = [rows, TroubleRow(app, worker), Snapshots(station().ledger.tell), EventLog()]
    return Hearing(Listeners([meter, *others] if meter else others), rows)
