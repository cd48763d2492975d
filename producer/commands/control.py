"""Changes a running job, from any machine or from another terminal."""

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


def pause_job(job: str | None, output: Path | None, producer: Producer, *, waits: bool) -> str:
    """Pause a job; return the sentence to print.

    Raises:
        TrawlError: there is no such job, nothing is left to pause, or the cluster is unreachable.
    """
    with _reached(job, output, producer) as (cluster, name):
        jobs = JobControl(name, cluster)
        was_new, record = jobs.pause(), None
        with _run_may_end(output, producer):
            record = jobs.wait_until_obeyed() if waits else None
    said = f"job {name} is {'' if was_new else 'already '}paused; `{resume_command(name, output)}` resumes it"
    return said + _in_flight(record, cluster.settings)


def resume_job(job: str | None, output: Path | None, producer: Producer) -> str:
    """Resume a job; return the sentence to print.

    Raises:
        TrawlError: there is no such job, it was cancelled, or the cluster is unreachable.
    """
    with _reached(job, output, producer) as (cluster, name):
        return f"job {name} is {'resumed' if JobControl(name, cluster).resume() else 'not paused'}"


def cancel_job(job: str | None, output: Path | None, producer: Producer, *, waits: bool = True) -> str:
    """Cancel a job; return the sentence to print.

    Raises:
        TrawlError: there is no such job, it is finished, or the cluster is unreachable.
    """
    with _reached(job, output, producer) as (cluster, name):
        jobs, record = JobControl(name, cluster), None
        was_new = control.cancel(cluster.ledger, name)
        with _run_may_end(output, producer):  # of several that end what waits, the run may be the last
            if waits:
                record = jobs.wait_until_obeyed()
            else:
                jobs.settle()
    said = f"job {name} is {'' if was_new else 'already '}cancelled"
    return said + _in_flight(record, cluster.settings)


def change_job(
    job: str | None, output: Path | None, producer: Producer, *, weight: float | None, priority: int | None
) -> str:
    """Set a job's weight or priority; return the sentence to print.

    Raises:
        TrawlError: there is no such job, or the cluster is unreachable.
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
    """Yield the cluster of a job and its id: the configured cluster, or the server of the run in a folder."""
    settings = None
    if output is not None:
        settings, job = _server_of(output, producer), last_job(output).id
    assert job is not None, "a job or a folder is named"
    with closing(producer.open(settings)) as cluster:
        try:
            cluster.check()
            yield cluster, job
        except (UnknownJobError, ServiceError, *UNREACHABLE) as error:
            if output is not None:  # the run may have ended, and its server with it: that is no outage
                _server_of(output, producer)
                last = last_job(output)
                if last.is_finished:
                    raise _finished(last.id, output) from None
            if isinstance(error, UnknownJobError | ServiceError):
                raise
            raise ServiceError(f"{explain(error)} Run the command again when it is back.") from None


@contextmanager
def _run_may_end(output: Path | None, producer: Producer) -> Iterator[None]:
    """Ignore that the job's server is unreachable if that ended with its run: the change was made before."""
    try:
        yield
    except UNREACHABLE:
        if output is None or producer.cluster_of(output) is not None:
            raise


def _finished(job: str, output: Path) -> JobStateError:
    return JobStateError(f"Job {job} of {formatting.path(output)} is finished.")


def _server_of(output: Path, producer: Producer) -> ClusterSettings:
    found = producer.cluster_of(output)
    if found is not None:
        return found
    last, shown = last_job(output), formatting.path(output)
    if last.is_finished:
        raise _finished(last.id, output)
    raise JobStateError(f"No trawl run is working in {shown}: run the same command again to resume its job.")


def _in_flight(record: JobRecord | None, settings: ClusterSettings) -> str:
    """Return a line about the batches that workers still hold; empty: there are none."""
    if record is None or not record.running:
        return ""
    batches = counted(record.running, "batch is", "batches are")
    return (
        f"\n{batches} still with workers until the transfers in flight end: at most for the workers' drain time"
        f" (TRAWL_DRAIN), or {settings.lease:g} s if a worker died"
    )
