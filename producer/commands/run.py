"""``trawl run``, ``enqueue`` and ``follow``: from options to summary."""

from __future__ import annotations

import platform
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from contract.errors import FolderError, InputError, JobStateError, UnknownJobError
from contract.folders import PRIVATE
from contract.ledger.control import state_of
from contract.ledger.values import JobState
from producer.cluster.client import Cluster, Retrying
from producer.cluster.embedded import Embedded
from producer.commands.preparation import Prepared, RunOptions, prepared
from producer.display.console import Console
from producer.display.summary import Summary
from producer.formatting import counted
from producer.intake.batching import FIRST_SIZE, Batcher
from producer.intake.formats import check_has_urls
from producer.intake.selection import Selection
from producer.intake.sources import STANDARD_INPUT, Lists
from producer.job.control import JobControl, resume_command
from producer.job.feeder import Feeder
from producer.job.follower import Follower
from producer.job.halts import Halts, Suspension
from producer.job.ledger_mirror import LedgerMirror
from producer.job.live_progress import LiveProgress
from producer.job.loop import work_through
from producer.job.manifest_sink import following
from producer.job.observer import Observer
from producer.job.plan import JobSpec, begin, begin_or_resume, prepare_folder
from producer.job.sender import NewJob
from producer.job.tally import Tally
from producer.job.troubles import Troubles
from producer.storage.journal import Journal
from producer.storage.last_job import read_facts
from producer.storage.manifest import count_rows
from producer.storage.own_files import OwnFiles
from producer.wiring import Producer, Session

WINDOW = 256  # batches open at once: bounds Redis' memory

_LEAD = 4  # batches per worker process that may wait to be claimed while the list is read ahead for other hosts

_SLOTS_OF_A_CLUSTER = 8  # worker processes assumed for a cluster
_PAUSE = 0.05  # seconds between two reads of a slow list
_LOOK_PAUSE = 1.0  # seconds between two checks whether the job was cancelled while it is enqueued
_AFTER_CANCEL = "run the same command again to fetch the cancelled URLs and the lines that were not read"
_AFTER_DRAIN = 20.0  # seconds a stopping worker may take beyond its drain


def run(options: RunOptions, producer: Producer, console: Console) -> Summary:
    """Run a list and return the summary; ``is_finished`` is False if the run was interrupted.

    Raises:
        TrawlError: a mistake or an outage that the user can fix.
    """
    with prepared(options, producer, console) as ready:
        return carry_out(ready, console)


def carry_out(ready: Prepared, console: Console) -> Summary:
    """Carry out a prepared run and return the summary."""
    options, lists, journal = ready.options, ready.lists, ready.journal
    session, embedded = ready.session, ready.embedded
    with ready.producer.cluster(embedded) as cluster:
        retrying = session.retrying(embedded)
        give_up = partial(_give_up, cluster, retrying)
        lists, is_resumed = begin_or_resume(options.spec, lists, journal, console.echo, give_up)
        session.callback(lists.close)
        _warn_of_eviction(cluster, retrying)
        batcher = batcher_for(options, has_own_worker=embedded is not None, is_resumed=is_resumed)
        feeder = _feeder(options, lists, journal, cluster, retrying, batcher, has_own_worker=embedded is not None)
        feeder.recover()
        resumed_by = resume_command(_job_of(journal), options.output if embedded else None)
        manifest = session.manifest(options.manifest, journal)
        follower, sink = following(
            _job_of(journal), journal=journal, manifest=manifest, services=cluster, retrying=retrying
        )
        if is_resumed:
            console.mention(f"Resuming job {journal.job}: {counted(sink.tally.rows, 'outcome')} so far.")
        halts = _halts(_job_of(journal), cluster, follower, journal, retrying, resumed_by=resumed_by)
        halts.begin()
        suspension = Suspension(halts.control, retrying=retrying, echo=console.echo, hide=console.close)
        is_finished = work_through(
            feeder=feeder,
            follower=follower,
            journal=journal,
            console=console,
            interrupts=session.interrupts,
            observer=_observer(
                _job_of(journal), cluster, sink.live, console, resumed_by=resumed_by, is_own=embedded is not None
            ),
            halts=halts,
            suspension=session.enter_context(suspension),
            embedded=embedded,
            grace=options.worker.drain + _AFTER_DRAIN,
        )
        if is_finished and not feeder.totals["lines"]:
            journal.finish()
            raise InputError(_nothing_in(options.spec))
        summary = Summary(
            job=_job_of(journal),
            tally=sink.tally,
            totals=feeder.totals,
            is_finished=is_finished,
            is_cancelled=halts.is_cancelled,
            places=_places(options, embedded),
            next=_AFTER_CANCEL if halts.is_cancelled else "",
        )
        if is_finished:
            summary.check(count_rows(options.manifest))
            journal.finish()
    return replace(summary, wall=time.monotonic() - ready.begun)


def enqueue(
    spec: JobSpec, producer: Producer, console: Console, *, batch_size: int, secrets: bytes | None = None
) -> Summary:
    """Send a list to the cluster and return the summary; if it is killed, the same command resumes.

    Raises:
        TrawlError: a mistake or an outage that the user can fix.
    """
    folder = _cache_of(spec, producer)
    with Session(console) as session:
        cluster = session.enter_context(producer.cluster())
        lists = Lists(spec.lists)
        check_has_urls(lists)
        journal = session.journal(folder)
        retrying = session.retrying()
        give_up = partial(_give_up, cluster, retrying)
        lists, is_resumed = begin_or_resume(spec, lists, journal, console.echo, give_up)
        session.callback(lists.close)
        if is_resumed:
            console.mention(f"Resuming job {journal.job}.")
        job = NewJob(id=_job_of(journal), label=spec.label, policy=spec.policy, secrets=secrets)
        feeder = Feeder(
            job,
            lists=lists,
            selection=Selection(journal, is_naming_lists=len(spec.lists) > 1),
            batcher=Batcher(batch_size, _SLOTS_OF_A_CLUSTER, is_resumed=is_resumed),
            journal=journal,
            services=cluster,
            retrying=retrying,
        )
        feeder.recover()
        looked, is_cancelled = time.monotonic(), False
        while not feeder.is_done and not session.interrupts.is_requested:
            if time.monotonic() - looked >= _LOOK_PAUSE:
                looked = time.monotonic()
                is_cancelled = retrying.call(lambda: state_of(cluster.ledger, job.id)) is JobState.CANCELLED
            if is_cancelled or feeder.is_cancelled:
                feeder.cancel()
            if not feeder.step(_PAUSE):
                time.sleep(_PAUSE)
        if feeder.is_done and not feeder.totals["lines"]:
            cluster.ledger.remove(job.id)
            shutil.rmtree(folder, ignore_errors=True)
            raise InputError(_nothing_in(spec))
        summary = Summary(
            job=job.id,
            tally=Tally(),
            totals=feeder.totals,
            is_finished=feeder.is_done,
            is_cancelled="not_read" in feeder.totals,
            places={},
        )
    if summary.is_finished:
        shutil.rmtree(folder, ignore_errors=True)
    return summary


def follow(job: str, output: Path, manifest_path: Path, producer: Producer, console: Console) -> Summary:
    """Collect a job's outcomes into a folder until it is finished, and return the summary.

    Raises:
        TrawlError: a mistake or an outage that the user can fix.
    """
    begun = time.monotonic()
    fingerprint = f"follow {job} {manifest_path}"
    with Session(console) as session:
        cluster = session.enter_context(producer.cluster())
        retrying = session.retrying()
        if not _has_begun(output, fingerprint) and retrying.call(lambda: cluster.ledger.job(job)) is None:
            raise UnknownJobError.of(job)  # before anything is created in the folder
        journal = session.journal(prepare_folder(output, manifest_path))
        _warn_of_eviction(cluster, retrying)
        if journal.fact("fingerprint") != fingerprint:
            begin(journal, job, console.echo, fingerprint=fingerprint, label=job, manifest=manifest_path)
        manifest = session.manifest(manifest_path, journal)
        follower, sink = following(job, journal=journal, manifest=manifest, services=cluster, retrying=retrying)
        mirror = LedgerMirror(job, journal=journal, follower=follower, services=cluster, retrying=retrying)
        resumed_by = resume_command(job)
        halts = _halts(job, cluster, follower, journal, retrying, resumed_by=resumed_by)
        if not journal.fact("finished"):
            mirror.begin()
        is_finished = bool(journal.fact("finished")) or work_through(
            feeder=mirror,
            follower=follower,
            journal=journal,
            console=console,
            interrupts=session.interrupts,
            observer=_observer(job, cluster, sink.live, console, resumed_by=resumed_by),
            halts=halts,
        )
        totals = journal.fact("totals") or follower.totals
        summary = Summary(
            job=job,
            tally=sink.tally,
            totals=totals,
            is_finished=is_finished,
            is_cancelled=journal.fact("halted") == JobState.CANCELLED,
            places={"files": "on the workers, below TRAWL_OUTPUT", "manifest": str(manifest_path)},
        )
        if is_finished:
            summary.check(count_rows(manifest_path))
            journal.finish(totals=dict(totals))
    return replace(summary, wall=time.monotonic() - begun)


def _has_begun(output: Path, fingerprint: str) -> bool:
    """Is this the job of the folder's journal? One that cannot be read is reported when it is opened."""
    try:
        return (read_facts(output / PRIVATE) or {}).get("fingerprint") == fingerprint
    except FolderError:
        return False


def _cache_of(spec: JobSpec, producer: Producer) -> Path:
    """Return the folder where ``enqueue`` keeps the journal of this job; an earlier version may have begun it."""
    folders = [
        producer.cache_folder() / f"enqueue-{name[:16]}"
        for name in (spec.earlier_fingerprint, spec.fingerprint)
        if name is not None
    ]
    return next((folder for folder in folders if folder.is_dir()), folders[-1])


def batcher_for(options: RunOptions, *, has_own_worker: bool, is_resumed: bool) -> Batcher:
    """Return the batcher: for an embedded worker, sized by its processes and their transfers in flight."""
    if not has_own_worker:
        return Batcher(options.batch_size, _SLOTS_OF_A_CLUSTER, is_resumed=is_resumed)
    worker = options.worker
    first = int(worker.settings.get("TRAWL_TRANSFERS", FIRST_SIZE))
    return Batcher(options.batch_size, worker.processes, first=first, is_resumed=is_resumed)


# ---------------------------------------------------------------------- pieces


def _give_up(cluster: Cluster, retrying: Retrying, job: str) -> None:
    """Cancel a job that another one replaces."""
    with suppress(UnknownJobError, JobStateError):  # it is over, or was on an embedded server that has ended
        retrying.call(JobControl(job, cluster).cancel)


def _warn_of_eviction(cluster: Cluster, retrying: Retrying) -> None:
    """Print a warning at the start if Redis evicts keys."""
    eviction = retrying.call(cluster.ledger.memory).eviction
    if eviction is not None:
        retrying.echo(eviction)


def _feeder(
    options: RunOptions,
    lists: Lists,
    journal: Journal,
    cluster: Cluster,
    retrying: Retrying,
    batcher: Batcher,
    *,
    has_own_worker: bool,
) -> Feeder:
    spec = options.spec
    own = OwnFiles(journal.files, options.output, spec.policy.layout, by=f"producer@{platform.node()}")
    return Feeder(
        NewJob(id=_job_of(journal), label=spec.label, policy=spec.policy, secrets=options.secrets),
        lists=lists,
        selection=Selection(
            journal,
            files=own if has_own_worker else None,
            is_naming_lists=len(spec.lists) > 1,
            is_forced=spec.is_forced,
        ),
        batcher=batcher,
        journal=journal,
        services=cluster,
        retrying=retrying,
        window=WINDOW,
        lead=_LEAD * batcher.slots,
    )


def _observer(
    job: str, cluster: Cluster, live: LiveProgress, console: Console, *, resumed_by: str, is_own: bool = False
) -> Observer:
    return Observer(
        job,
        ledger=cluster.ledger,
        health=cluster.health,
        live=live,
        troubles=Troubles(console.echo, is_own=is_own),
        every=console.every,
        is_own=is_own,
        resumed_by=resumed_by,
    )


def _job_of(journal: Journal) -> str:
    job = journal.job
    assert job is not None, "a plan was made before"
    return job


def _nothing_in(spec: JobSpec) -> str:
    name = spec.lists[0]
    shown = "Standard input" if name == STANDARD_INPUT else f"The list {name}"
    return f"{shown} holds no URLs: put one per line." if len(spec.lists) == 1 else "The lists hold no URLs."


def _halts(
    job: str, cluster: Cluster, follower: Follower, journal: Journal, retrying: Retrying, *, resumed_by: str
) -> Halts:
    control = JobControl(job, cluster)
    return Halts(
        control, follower=follower, journal=journal, retrying=retrying, echo=retrying.echo, resumed_by=resumed_by
    )


def _places(options: RunOptions, embedded: Embedded | None) -> dict[str, str]:
    files = str(options.output) if embedded else "on the workers, below TRAWL_OUTPUT"
    return {"files": files, "manifest": str(options.manifest)}
