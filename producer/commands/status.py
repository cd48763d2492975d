"""How jobs of a cluster stand, as the ledger tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from contract.cluster.settings import ClusterSettings
from contract.errors import UnknownJobError
from contract.ledger.health import Trouble
from contract.ledger.values import JobRecord
from producer.cluster.client import Cluster
from producer.formatting import command, count, size


def show_status(job: str | None, environment: Mapping[str, str], *, is_json: bool = False) -> str:
    """Return what there is to say of one job, or of all.

    Raises:
        UnknownJobError: there is no such job.
        ServiceError: the cluster cannot be reached.
    """
    cluster = Cluster(ClusterSettings.from_environment(environment))
    try:
        cluster.check()
        names = [job] if job else cluster.ledger.jobs()
        records = [record for record in map(cluster.ledger.job, names) if record is not None]
        troubles = cluster.health.troubles()
    finally:
        cluster.close()
    if job and not records:
        raise UnknownJobError(f"No job {job} is known there: `{command('status')}` lists the jobs.")
    if is_json:
        return json.dumps([_to_record(record, troubles) for record in records])
    shown = _one(records[0]) if job else _table(records)
    return "\n".join([shown, *(f"Worker {worker} {trouble}" for worker, trouble in sorted(troubles.items()))])


def _state(record: JobRecord) -> str:
    if not record.is_sealed:
        return "being fed"
    if record.open:
        return "running" if record.running else "waiting"
    return "to be followed" if record.undrained else "finished"


def _progress(record: JobRecord) -> str:
    done = sum(record.counts[ending] for ending in ("ok", "kept", "failed", "refused"))
    known = record.totals["lines"] - record.totals["duplicates"] if record.totals else None
    return f"{count(done)} of {count(known)}" if known is not None else count(done)


def _one(record: JobRecord) -> str:
    counts = ", ".join(f"{name} {count(number)}" for name, number in record.counts.items() if name != "bytes")
    rows = {
        "job": record.job,
        "list": record.label,
        "created": _when(record),
        "state": _state(record),
        "outcomes": f"{_progress(record)} ({counts})",
        "bytes": size(record.counts["bytes"]),
        "batches": f"{count(record.open)} open, {count(record.running)} of them running,"
        f" {count(record.undrained)} closed and not followed yet",
    }
    return "\n".join(f"{name + ':':<10}{text}" for name, text in rows.items())


def _table(records: list[JobRecord]) -> str:
    if not records:
        return "No jobs."
    rows = [("JOB", "CREATED", "STATE", "OUTCOMES", "FAILED", "LIST")]
    for record in records:
        failed = count(record.counts["failed"] + record.counts["refused"])
        rows.append((record.job, _when(record), _state(record), _progress(record), failed, record.label))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]) for row in rows
    )


def _when(record: JobRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _to_record(record: JobRecord, troubles: Mapping[str, Trouble]) -> dict[str, object]:
    return {
        "job": record.job,
        "label": record.label,
        "created": record.created,
        "state": _state(record),
        "totals": dict(record.totals) if record.totals else None,
        "counts": dict(record.counts),
        "errors": dict(record.errors),
        "open": record.open,
        "running": record.running,
        "undrained": record.undrained,
        "troubles": {worker: str(trouble) for worker, trouble in troubles.items()},  # of workers, whatever their job
    }
