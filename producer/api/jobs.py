"""For scripts: enqueue URLs from Python and collect the outcomes as they complete."""

from __future__ import annotations

import os
import platform
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from contract.errors import CancelledJobError, InputError, UnknownJobError
from contract.ledger.control import prioritize, state_of, weigh
from contract.ledger.values import JobState
from contract.records.credentials import Credentials
from contract.records.outcomes import Outcome
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport
from producer.cluster.client import Cluster, Retrying
from producer.intake.batching import Batcher
from producer.intake.selection import Selection
from producer.intake.sources import Lines
from producer.job.control import JobControl
from producer.job.feeder import Feeder
from producer.job.follower import Collected, Follower
from producer.job.plan import new_job_id, prepare_folder
from producer.job.sender import NewJob
from producer.storage.memory import Memory
from producer.wiring import Producer

_PAUSE = 0.05  # seconds between two tries while nothing can be sent
_LOOK_EVERY = 2.0  # seconds: longest time between two checks
_SLOTS = 8


@contextmanager
def connect(
    output: str | Path = "out",
    *,
    environment: Mapping[str, str] | None = None,
    processes: int | None = None,
    echo: Callable[[str], None] = print,
) -> Iterator[Client]:
    """Return a client of the configured cluster or, if there is none, of a server and a worker that run until exit.

    ``output`` and ``processes`` apply to a worker started here; a cluster's workers have their own settings.

    Raises:
        TrawlError: the cluster cannot be reached, or none can be started.
    """
    producer, folder, embedded = Producer(environment), Path(output), None
    with ExitStack() as stack:
        if producer.configured is None:
            embedded = stack.enter_context(producer.embedded(prepare_folder(folder), echo))
            embedded.start_worker(processes or os.cpu_count() or 1, {"TRAWL_OUTPUT": str(folder.absolute())})
        yield Client(stack.enter_context(producer.cluster(embedded)), echo=echo)


class Client:
    """Sends URLs to a cluster's workers."""

    def __init__(self, cluster: Cluster, *, echo: Callable[[str], None] = print) -> None:
        self.cluster = cluster
        self.retrying = Retrying(echo)

    def enqueue(
        self,
        lines: Iterable[str],
        *,
        policy: JobPolicy | None = None,
        credentials: Credentials | None = None,
        label: str = "",
        batch_size: int = 500,
    ) -> Job:
        """Send a list, in the format of ``trawl run`` (``URL [sha256=..] [size=..]``), and return the job.

        Raises:
            InputError: ``lines`` is one string: it would be read as a list of characters.
            TrawlError: the ledger has lost the job already.
        """
        if isinstance(lines, str | bytes):
            raise InputError("enqueue() takes a list of URLs, not one string: put it in brackets, [url].")
        memory, secrets = Memory(), credentials.pack() if credentials else None
        job = NewJob(id=new_job_id(), label=label, policy=policy or JobPolicy(), secrets=secrets)
        feeder = Feeder(
            job,
            lists=Lines(lines),
            selection=Selection(memory),
            batcher=Batcher(batch_size, _SLOTS),
            journal=memory,
            services=self.cluster,
            retrying=self.retrying,
        )
        feeder.recover()
        while not feeder.is_done:
            if not feeder.step():
                time.sleep(_PAUSE)
            if feeder.is_cancelled:
                feeder.cancel()
                raise CancelledJobError(f"Job {job.id} is cancelled.")
        return Job(job.id, self)

    def job(self, job: str) -> Job:
        """Return a job that another command or script started, by its id, to follow or change it.

        Raises:
            UnknownJobError: there is no such job.
        """
        if self.retrying.call(lambda: self.cluster.ledger.job(job)) is None:
            raise UnknownJobError.of(job)
        return Job(job, self)


class Job:
    """A job that was sent. ``id`` is what ``trawl status`` and ``trawl follow`` take."""

    def __init__(self, job: str, client: Client) -> None:
        self.id = job
        self._cluster = client.cluster
        self._through = client.retrying.call
        self._control = JobControl(job, client.cluster)
        self._sink = _Reports(f"script@{platform.node()}/{os.getpid()}/{secrets.token_hex(4)}")
        self._retrying = client.retrying
        self._follower: Follower | None = None

    @property
    def state(self) -> JobState:
        """``running``, ``paused`` or ``cancelled``; a finished job keeps its last state."""
        return self._through(lambda: state_of(self._cluster.ledger, self.id))

    def pause(self) -> bool:
        """Stop fetching until it is resumed; False if it was paused already.

        Within three seconds no new request starts; transfers in flight may finish.

        Raises:
            UnknownJobError, JobStateError: Redis has lost the job, or nothing of it is left to pause.
        """
        return self._through(self._control.pause)

    def resume(self) -> bool:
        """Resume it; False if it was not paused.

        Raises:
            UnknownJobError, JobStateError: Redis has lost the job, or it was cancelled.
        """
        return self._through(self._control.resume)

    def cancel(self) -> bool:
        """End it: URLs not fetched yet end as ``failed``, class ``cancelled``; False if it was cancelled already.

        Raises:
            UnknownJobError, JobStateError: Redis has lost the job, or it is finished.
        """
        return self._through(self._control.cancel)

    def change(self, *, priority: int | None = None, weight: float | None = None) -> None:
        """Set its priority (-9 to 9, 0 by default), or its weight: how many turns it gets among jobs of that priority.

        Raises:
            UnknownJobError: Redis has lost the job.
        """
        if priority is not None:
            self._through(lambda: prioritize(self._cluster.ledger, self.id, priority))
        if weight is not None:
            self._through(lambda: weigh(self._cluster.ledger, self.id, weight))

    def outcomes(self) -> Iterator[Outcome]:
        """Yield each URL's outcome as its batch completes, and delete it from Redis. Only one process may collect them.

        Raises:
            FolderError: they are already collected by ``trawl follow`` or another script.
            UnknownJobError: Redis has lost the job.
        """
        follower = self._following()
        try:
            while True:
                follower.step()
                for report in self._sink.hand_over():
                    yield from report.outcomes
                if follower.is_finished:
                    follower.finish()
                    return
                follower.wait(_LOOK_EVERY)
        finally:
            follower.close()

    def new_reports(self) -> list[BatchReport]:
        """Return the reports of batches closed since; those of the last call are deleted from Redis.

        Raises:
            FolderError: they are already collected elsewhere.
            UnknownJobError: Redis has lost the job.
        """
        self._following().step(at_once=True)
        return self._sink.hand_over()

    def _following(self) -> Follower:
        if self._follower is None:
            self._follower = Follower(self.id, self._sink, services=self._cluster, retrying=self._retrying)
        return self._follower


class _Reports:
    """The sink of a script: the reports not returned yet."""

    on_snapshot = None

    def __init__(self, place: str) -> None:
        self.place = place
        self.rows = 0
        self._waiting: list[BatchReport] = []
        self._expected: set[str] = set()  # batches opened in place of those collected
        self._collected: set[str] = set()

    def collect(self, closed: Sequence[tuple[str, bytes | None]]) -> Collected:
        reports = [BatchReport.from_result(blob) for _, blob in closed if blob is not None]
        new = [report for report in reports if self._counts(report)]
        self._waiting += new
        rows = sum(len(report.outcomes) for report in new)
        self.rows += rows
        return Collected(rows, [batch for report in reports for batch in report.gathered])

    def hand_over(self) -> list[BatchReport]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def count_uncollected(self) -> int:
        return 0

    def _counts(self, report: BatchReport) -> bool:
        """Is it the first report of its batch, from a known hand-off? Redis may have come back older."""
        batches = {report.batch, *report.gathered}
        if any(batch in self._collected or ("." in batch and batch not in self._expected) for batch in batches):
            return False
        self._collected |= batches
        self._expected.update(report.handed_off)
        return True
