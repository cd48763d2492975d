"""``trawl gc``: what finished jobs left in Redis, and unfinished enqueue commands in the cache folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from contract.errors import UnknownJobError
from contract.settings import ClusterSettings
from producer.client import Cluster
from producer.run import cache_folder

_DAY = 86400.0  # seconds


def remove_jobs(jobs: Sequence[str], older_than: float | None, environment: Mapping[str, str]) -> list[str]:
    """Remove jobs from Redis and return their ids.

    Named jobs go whatever their state. Without names, those go that are finished and followed to their end, and
    with ``older_than`` (days) every job created before.

    Raises:
        UnknownJobError: a named job is not there.
        ServiceError: the cluster cannot be reached.
    """
    cluster = Cluster(ClusterSettings.from_environment(environment))
    try:
        cluster.check()
        ledger, now = cluster.ledger, time.time()
        removed = []
        for job in jobs or ledger.jobs():
            record = ledger.job(job)
            if record is None:
                if job in jobs:
                    raise UnknownJobError(f"No job {job} is known there: `trawl status` lists the jobs.")
                continue
            is_over = record.is_finished and not record.undrained
            is_old = older_than is not None and now - record.created > older_than * _DAY
            if job in jobs or is_over or is_old:
                ledger.remove(job)
                removed.append(job)
        return removed
    finally:
        cluster.close()


def remove_stale_cache(environment: Mapping[str, str], older_than: float) -> list[Path]:
    """Remove what enqueue commands that were never finished left, after so many days."""
    folder = cache_folder(environment)
    stale = []
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        journal = entry / "journal.sqlite"
        if journal.exists() and time.time() - journal.stat().st_mtime > older_than * _DAY:
            shutil.rmtree(entry, ignore_errors=True)
            stale.append(entry)
    return stale
