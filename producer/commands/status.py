"""``trawl status``: one job of a cluster, all of them, or the one in a folder."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from contract.errors import FolderError, ServiceError, SettingError, UnknownJobError
from contract.folders import PRIVATE
from contract.ledger.health import Trouble
from contract.ledger.values import JobRecord
from contract.records.outcomes import ENDINGS
from producer.cluster.client import UNREACHABLE, Cluster
from producer.display.console import Console
from producer.display.facts import facts_of, when
from producer.display.screen import Line
from producer.formatting import command, count, counted, hanging, one_line
from producer.job.control import resume_command
from producer.job.hold_up import Facts, what_holds_up
from producer.job.status import JobStatus, state_of
from producer.job.watch import JobWatch
from producer.storage.last_job import read_facts
from producer.wiring import Producer

_SAMPLED_FOR = 1.2  # seconds over which rates are measured
_REFRESHED_EVERY = 0.5  # seconds between two refreshes
_LISTED_EVERY = 2.0  # seconds between two queries of all jobs


@dataclass(frozen=True, slots=True)
class Target:
    """The job to show: by id, or by the output folder of its run; with neither, all jobs of the cluster."""

    job: str | None = None
    output: Path | None = None


class NotRunning(Exception):  # an answer, not an error
    """No run works in a folder. ``str()`` is a sentence; ``facts`` come from the journal."""

    def __init__(self, sentence: str, facts: Mapping[str, Any]) -> None:
        super().__init__(sentence)
        self.facts = facts


def show_status(target: Target, producer: Producer, *, is_json: bool = False, width: int | None = None) -> str:
    """Return the status of one job, or the list of all jobs, as text or JSON.

    Raises:
        UnknownJobError: there is no such job.
        SettingError: no cluster is configured.
        FolderError: the folder has no job, or belongs to another user.
        ServiceError: the cluster is unreachable.
    """
    try:
        with _watched(target, producer) as watch:
            if watch is None:
                return _list(producer, is_json=is_json)
            watch.begin()
            if not watch.record.is_finished:
                watch.follow(_SAMPLED_FOR if watch.record.running else 0.0)
            status = watch.status()
            if is_json:
                return json.dumps([_to_record(watch.record, status)])
            return facts_of(status, watch.record.created, width)
    except NotRunning as answer:
        return json.dumps([answer.facts]) if is_json else hanging("", str(answer), width)


def watch_status(target: Target, producer: Producer, console: Console) -> None:
    """Show a job, or all jobs, repeatedly, until the job is finished or Ctrl-C.

    Raises:
        UnknownJobError, SettingError, FolderError, ServiceError: as ``show_status``.
    """
    try:
        with _watched(target, producer) as watch, ExitStack() as stack:
            stack.callback(console.close)
            if watch is None:
                _watch_all(producer, console)
                return
            watch.begin()
            while True:
                watch.follow(_REFRESHED_EVERY)
                if watch.is_unreachable and watch.is_own:
                    _raise_if_ended(target, producer)
                status = watch.status()
                if status.state == "finished":
                    break
                if console.is_due():
                    console.show(status)
            console.close()
            console.show_last(status)
    except NotRunning as answer:
        console.echo(str(answer))
    except KeyboardInterrupt:
        pass  # the usual way to leave


@contextmanager
def _watched(target: Target, producer: Producer) -> Iterator[JobWatch | None]:
    """Yield a watch of the target's job; None: the target is all jobs."""
    job, journal, settings, is_own = target.job, None, None, False
    if target.output is not None:
        journal = target.output / PRIVATE
        settings = producer.server_at(target.output)
        is_own = settings is not None
        facts = read_facts(journal)
        if facts is None or not facts.get("job"):
            raise FolderError(
                f"The folder {target.output} holds no job: name the one that was given to `{command('run')} -o`."
            )
        job = str(facts["job"])
        if not is_own and (facts.get("finished") or not producer.is_configured):
            raise _not_running(target.output, facts)
    if job is None:
        if not producer.is_configured:
            raise SettingError(
                "No broker is configured, so there are no jobs to list: set TRAWL_BROKER_URL, or name the folder of a"
                f" local run: `{command('status')} -o out`."
            )
        yield None
        return
    with closing(producer.open(settings)) as cluster:
        try:
            cluster.check()
            record = cluster.ledger.job(job)
        except (ServiceError, *UNREACHABLE):
            if is_own:
                _raise_if_ended(target, producer)
            raise
        if record is None:
            if journal is not None:
                raise _not_running(journal.parent, facts or {})
            raise UnknownJobError.of(job)
        with closing(JobWatch(cluster, record, journal=journal, is_own=is_own)) as watch:
            yield watch


def _raise_if_ended(target: Target, producer: Producer) -> None:
    """Raise if the server no longer answers because its run has ended.

    Raises:
        NotRunning: the run has ended.
    """
    if target.output is not None and producer.server_at(target.output) is None:
        raise _not_running(target.output, read_facts(target.output / PRIVATE) or {})


def _not_running(folder: Path, facts: Mapping[str, Any]) -> NotRunning:
    counts = (facts.get("tally") or {}).get("counts", {})
    done, lines = sum(counts.values()), int(facts.get("lines", 0))
    job, is_finished = str(facts.get("job")), bool(facts.get("finished"))
    duplicates = int(facts.get("duplicates", 0))
    read = f"{counted(done, 'outcome')} of {counted(lines, 'line')}"
    read += f" ({counted(duplicates, 'duplicate')})" if duplicates else ""
    sentence = (
        f"Nothing runs in {folder}: job {job} is finished, with {read}."
        if is_finished
        else f"Nothing runs in {folder}: job {job} is not finished, with {read} read; run the same command to resume."
    )
    state = "finished" if is_finished else "not running"
    known = {
        "job": job,
        "label": facts.get("label", ""),
        "state": state,
        "counts": counts,
        "done": done,
        "lines": lines,
    }
    return NotRunning(one_line(sentence), known)


# ---------------------------------------------------------------------------------------------------- all of a cluster


def _list(producer: Producer, *, is_json: bool) -> str:
    with producer.cluster() as cluster:
        return _listed(cluster, is_json=is_json)


def _watch_all(producer: Producer, console: Console) -> None:
    with producer.cluster() as cluster:
        while True:
            lines = _listed(cluster, is_json=False).splitlines()
            if console.is_live:
                console.draw(partial(_cut, lines))
            else:
                for line in lines:
                    console.echo(line)
            time.sleep(_LISTED_EVERY)


def _cut(lines: Sequence[str], width: int, height: int) -> Sequence[Line]:
    return [[(line[:width], "")] for line in lines[: height - 1]]


def _listed(cluster: Cluster, *, is_json: bool) -> str:
    records = [record for record in map(cluster.ledger.job, cluster.ledger.jobs()) if record is not None]
    census = cluster.health.census()
    if is_json:
        return json.dumps([_facts_of_record(record, census.troubles) for record in records])
    said = [_table(records)]
    for record in records:
        if record.open:
            facts = Facts(
                batches=cluster.ledger.open_batches(record.job),
                census=census,
                is_complete=record.is_sealed,
                resumed_by=resume_command(record.job),
            )
            sentence = what_holds_up(facts, lambda _left: "").sentence
            if sentence:
                said.append(f"{record.job}: {one_line(sentence)}")
    return "\n".join([*said, *(one_line(f"Worker {name} {trouble}") for name, trouble in census.troubles.items())])


def _table(records: Sequence[JobRecord]) -> str:
    if not records:
        return "No jobs."
    rows = [("JOB", "CREATED", "STATE", "OUTCOMES", "FAILED", "LIST")]
    for record in records:
        failed = count(record.counts["failed"] + record.counts["refused"])
        outcomes = _progress(record)
        rows.append((record.job, when(record.created), state_of(record), outcomes, failed, record.label))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        one_line("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]))
        for row in rows
    )


def _progress(record: JobRecord) -> str:
    done = sum(record.counts[ending] for ending in ENDINGS)
    known = record.totals["lines"] - record.totals["duplicates"] if record.totals else None
    return f"{count(done)} of {count(known)}" if known is not None else count(done)


def _to_record(record: JobRecord, status: JobStatus) -> dict[str, object]:
    """Return the facts of a job for ``--json``: those of its record, and everything that is displayed."""
    troubles = {each.worker: each for each in status.workers if each.trouble}
    known = _facts_of_record(record, {name: Trouble(each.trouble, each.takes_work) for name, each in troubles.items()})
    shown = status.to_record()
    counts = {**status.counts, "bytes": status.fetched}  # including those of open batches
    return {**known, **shown, "counts": counts, "open": status.waiting + status.running + status.deferred}


def _facts_of_record(record: JobRecord, troubles: Mapping[str, Trouble]) -> dict[str, object]:
    return {
        "job": record.job,
        "label": record.label,
        "created": record.created,
        "state": state_of(record),
        "totals": dict(record.totals) if record.totals else None,
        "counts": dict(record.counts),
        "errors": dict(record.errors),
        "open": record.open,
        "running": record.running,
        "undrained": record.undrained,
        "troubles": {
            worker: str(trouble) for worker, trouble in troubles.items()
        },  # of all workers, whatever job they work on
    }
