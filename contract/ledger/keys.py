"""What the ledger's keys are called: some there is one of in all, some each job has."""

from __future__ import annotations

from contract.cluster.broker import RESULT_KEY_PREFIX
from contract.records.messages import BatchMessage, task_id

#: The parts of a job's keys; the first is its record, whose name is also the channel its closings are told on.
PARTS = (
    "", "batches", "payloads", "leases", "due", "closed", "line", "aside", "waits", "parcels", "parked", "owners"
)  # fmt: skip

#: What follows a job's name in that of the channel snapshots of its batches are told on; no key has it.
SNAPSHOTS = "glimpses"


class Keys:
    """The keys below one prefix."""

    def __init__(self, prefix: str) -> None:
        self.jobs = f"{prefix}jobs"  # known jobs by age
        self.active = f"{prefix}active"  # jobs with open batches, but for those that are paused and at rest
        self.sent = f"{prefix}sent"  # job/batch of whatever waits for a worker, of all jobs, since when
        self.overdue = f"{prefix}overdue"  # those of them that were lost or handed off
        # Jobs with batches in line, by the URLs each has had for its weight; those of a priority follow it by name.
        self.turns = f"{prefix}turns"
        self.priorities = f"{prefix}priorities"  # those that jobs in turn have
        self.ahead = f"{prefix}ahead"  # which batch each token holds that was not claimed by name
        # When a batch was last claimed, what its job had had, and how often any job was paused, resumed or cancelled.
        self.taken = f"{prefix}taken"
        self.sweeping = f"{prefix}sweeping"  # there while it is nobody's turn to sweep
        self.watched = f"{prefix}watched"  # there while sweeps come regularly
        self.hosts = f"{prefix}hosts"  # what is known of each host that throttles
        self.host_changes = f"{prefix}host-changes"  # those hosts, by the last change
        self.host_probes = f"{prefix}host-probes"  # until when somebody probes each
        self.of_jobs = f"{prefix}job:"  # what the keys of every job begin with

    def job(self, job: str, part: str = "") -> str:
        return f"{self.of_jobs}{job}:{part}" if part else f"{self.of_jobs}{job}"

    def parts(self, job: str, *parts: str) -> list[str]:
        return [self.job(job, part) for part in parts]


def result_key(job: str, batch: str) -> str:
    """Where Celery's clients look for the result of a batch's task."""
    return RESULT_KEY_PREFIX + task_id(job, batch)


def waiting_name(job: str, batch: str) -> str:
    """Name a batch among those of all jobs."""
    return f"{job}/{batch}"


def read_waiting_name(name: bytes) -> BatchMessage:
    job, _, batch = name.decode().partition("/")
    return BatchMessage(job, batch)
