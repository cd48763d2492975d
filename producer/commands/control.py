"""What can be changed of a job that is on its way, from any machine or from another terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from contract.cluster.settings import ClusterSettings
from contract.errors import JobStateError, ServiceError, UnknownJobError
from contract.ledger import control
from contract.ledger.values import JobRecord
from producer import formatting
from producer.cluster.client import UNREACHABLE, Cluster, explain
from producer.formatting import counted
from producer.job.control import JobControl, resume_command
from producer.storage.last_job import last_job
from producer.wiring import Producer


def pause_job(job: str | None, output: Path | None, producer: Producer, *, waits: bool = True) -> str:
    """Have nothing more of a job fetched until it is resumed; return what there is to say of it.

    Raises:
        TrawlError: there is no such job, nothing of it is left to pause, or the cluster cannot be reached.
    """
    with _reached(job, output, producer) as (cluster, name):
        jobs = JobControl(name, cluster)
        was_new = jobs.pause()
        record = _once_obeyed(jobs, output, producer) if waits else None
    said = f"job {name} is {'' if was_new else 'already '}paused; `{resume_command(name, output)}` resumes it"
    return said + _in_flight(record, cluster.settings)


def resume_job(job: str | None, output: Path | None, producer: Producer) -> str:
    """End a pause; return what there is to say of it.

    Raises:
        TrawlError: there is no such job, it was cancelled, or the cluster cannot be reached.
    """
    with _reached(job, output, producer) as (cluster, name):
        return f"job {name} is {'resumed' if JobControl(name, cluster).resume() else 'not paused'}"


def cancel_job(job: str | None, output: Path | None, producer: Producer, *, waits: bool = True) -> str:
    """Have nothing more of a job fetched, for good; return what there is to say of it.

    Raises:
        TrawlError: there is no such job, it is finished, or the cluster cannot be reached.
    """
    with _reached(job, output, producer) as (cluster, name):
        jobs = JobControl(name, cluster)
        was_new = jobs.cancel()
        record = _once_obeyed(jobs, output, producer) if waits else None
    said = f"job {name} is {'' if was_new else 'already '}cancelled"
    return said + _in_flight(record, cluster.settings)


def change_job(
    job: str | None,
    output: Path | None,
    producer: Producer,
    *,
    weight: float | None = None,
    priority: int | None = None,
) -> str:
    """Give a job more or fewer turns, or have it go before others; return what there is to say of it.

    Raises:
        TrawlError: there is no such job, or the cluster cannot be reached.
    """
    said = []
    with _reached(job, output, producer) as (cluster, name):
        if priority is not None:
            control.prioritize(cluster.ledger, name, priority)
            said.append(f"priority {priority}")
        if weight is not None:
            control.weigh(cluster.ledger, name, weight)
            said.append(f"weight {weight:g}")
    return f"job {name}: {', '.join(said)}"


# ---------------------------------------------------------------------- how


@contextmanager
def _reached(job: str | None, output: Path | None, producer: Producer) -> Iterator[tuple[Cluster, str]]:
    """Give the way to a job: on the cluster, or on the server of the run that works in a folder."""
    settings = None
    if output is not None:
        settings, job = _server_of(output, producer), last_job(output).id
    assert job is not None, "a job or a folder is named"
    with closing(producer.open(settings)) as cluster:
        try:
            cluster.check()
            yield cluster, job
        except (UnknownJobError, ServiceError, *UNREACHABLE) as error:
            if output is not None:
                _insist_on_a_run(output, producer)
            if isinstance(error, UnknownJobError | ServiceError):
                raise
            raise ServiceError(f"{explain(error)} Run the command again when it is back.") from None


def _once_obeyed(jobs: JobControl, output: Path | None, producer: Producer) -> JobRecord | None:
    """Wait until workers obey the change; None: the job is over, and may have taken its server along."""
    try:
        return jobs.wait_until_obeyed()
    except UNREACHABLE:
        if output is None or producer.cluster_of(output) is not None:
            raise
        return None


def _insist_on_a_run(output: Path, producer: Producer) -> None:
    """What did not answer may have ended with its run, which is no outage.

    Raises:
        JobStateError: so it is.
    """
    _server_of(output, producer)
    last = last_job(output)
    if last.is_finished:
        raise _finished(last.id, output)


def _finished(job: str, output: Path) -> JobStateError:
    return JobStateError(f"Job {job} of {formatting.path(output)} is finished.")


def _server_of(output: Path, producer: Producer) -> ClusterSettings:
    found = producer.cluster_of(output)
    if found is not None:
        return found
    last, shown = last_job(output), formatting.path(output)
    if last.is_finished:
        raise _finished(last.id, output)
    raise JobStateError(f"No trawl run is working in {shown}: run the same command again to go on with its job.")


def _in_flight(record: JobRecord | None, settings: ClusterSettings) -> str:
    """Say of what is still in workers' hands when it will not be."""
    if record is None or not record.running:
        return ""
    batches = counted(record.running, "batch is", "batches are")
    return (
        f"\n{batches} still with workers, which start nothing new: they end with their transfers, within the"
        f" workers' drain (TRAWL_DRAIN), or {settings.lease:g} s after their worker died"
    )
