"""A job's status as plain text, for `trawl status`."""

from __future__ import annotations

from datetime import UTC, datetime

from producer.formatting import count, counted, duration, labelled, seconds, size
from producer.job.status import HostCost, JobStatus, WorkerLine


def facts_of(status: JobStatus, created: float, width: int | None = None) -> str:
    """Return the facts, one per line; lines longer than ``width`` are broken between words."""
    counts = ", ".join(f"{name} {count(number)}" for name, number in status.counts.items())
    known = "" if status.known is None else f" of {count(status.known)}{'' if status.is_complete else '+'}"
    rows: list[tuple[str, str]] = [
        ("job", status.job),
        ("list", status.label),
        ("created", when(created)),
        ("state", status.state),
        ("outcomes", f"{count(status.done)}{known} ({counts})"),
        ("bytes", size(status.fetched)),
    ]
    if status.rate is not None and status.bytes_rate is not None and status.running:
        left = f"; about {duration(status.left)} left" if status.left is not None else ""
        rows.append(("rate", f"{count(status.rate)} URLs/s, {size(status.bytes_rate)}/s{left}"))
    if status.errors:
        rows.append(("errors", ", ".join(f"{each.error} {count(each.total)}" for each in status.errors)))
    rows += [("hosts" if not number else "", _host(host)) for number, host in enumerate(status.hosts)]
    waits = status.waits[:5]
    more = len(status.waits) - len(waits)
    rows += [
        ("paused" if not number else "", f"{wait.host}: next request in {duration(wait.left)}")
        for number, wait in enumerate(waits)
    ]
    if more:
        rows.append(("", f"and {count(more)} more"))
    rows += [("workers" if not number else "", _worker(each)) for number, each in enumerate(status.workers)]
    open_ = status.waiting + status.running + status.deferred
    batches = [f"{count(open_)} open", f"{count(status.running)} of them running"]
    batches += [f"{count(status.deferred)} deferred"] if status.deferred else []
    rows.append(("batches", f"{', '.join(batches)}, {count(status.undrained)} closed but not collected yet"))
    if status.state != "finished":
        rows.append(("held up by", status.hold_up.sentence or "nothing"))
    return "\n".join(labelled(name, text, width) for name, text in rows)


def when(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _host(host: HostCost) -> str:
    parts = [counted(host.urls, "URL")] if host.urls else []
    if host.mean is not None:
        parts.append(f"{seconds(host.mean)} each")
    if host.failed:
        parts.append(f"{count(host.failed)} failed")
    if host.silent:
        parts.append(f"{count(host.silent)} silent")
    return f"{host.host}: {', '.join(parts)}"


def _worker(line: WorkerLine) -> str:
    held = f"{counted(line.batches or 0, 'batch', 'batches')} of {counted(line.urls or 0, 'URL')}"
    parts = [held if line.batches else "holds none of it"]
    if line.heard is not None:
        parts.append(f"last heard from {line.heard:.0f} s ago")
    if line.trouble:
        parts.append(f"{'is short of space' if line.takes_work else 'takes no work'}: {line.trouble}")
    return f"{line.worker}: {', '.join(parts)}"
