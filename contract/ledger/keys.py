"""The names of the ledger's keys, global and per job."""

from __future__ import annotations

from contract.cluster.broker import RESULT_KEY_PREFIX
from contract.records.messages import BatchMessage, task_id

#: The suffixes of a job's keys. The first is its record, whose name is also the channel that announces closings.
PARTS = (
    "", "batches", "payloads", "leases", "due", "closed", "line", "aside", "waits", "parcels", "parked", "owners"
)  # fmt: skip

#: The suffix of the channel for progress snapshots; no key has it.
SNAPSHOTS = "glimpses"


class Keys:
    """The keys that begin with one prefix."""

    def __init__(self, prefix: str) -> None:
        self.jobs = f"{prefix}jobs"  # known jobs, by creation time
        self.active = f"{prefix}active"  # jobs with open batches, except paused ones with nothing running
        self.sent = f"{prefix}sent"  # job/batch of all batches that wait for a worker, by the time they began to
        self.overdue = f"{prefix}overdue"  # the subset that was lost or handed off
        # Jobs with batches in line, by URLs claimed per weight; each priority but 0 has its own key, with a suffix.
        self.turns = f"{prefix}turns"
        self.priorities = f"{prefix}priorities"  # the priorities of jobs with batches in line
        self.ahead = f"{prefix}ahead"  # the batch that each token of `claim_next` holds
        # The time of the last claim, its job's turns, and the number of state changes of jobs.
        self.taken = f"{prefix}taken"
        self.sweeping = f"{prefix}sweeping"  # exists until the next sweep is due
        self.watched = f"{prefix}watched"  # exists while sweeps are regular
        self.hosts = f"{prefix}hosts"  # the state of each host that throttles
        self.host_changes = f"{prefix}host-changes"  # those hosts, by their last change
        self.host_probes = f"{prefix}host-probes"  # until when a process may probe each
        self.of_jobs = f"{prefix}job:"  # prefix of the keys of all jobs

    def job(self, job: str, part: str = "") -> str:
        return f"{self.of_jobs}{job}:{part}" if part else f"{self.of_jobs}{job}"

    def parts(self, job: str, *parts: str) -> list[str]:
        return [self.job(job, part) for part in parts]


def result_key(job: str, batch: str) -> str:
    """Return the key where Celery's clients look for the result of a batch's task."""
    return RESULT_KEY_PREFIX + task_id(job, batch)


def waiting_name(job: str, batch: str) -> str:
    """Return a batch's name among those of all jobs: ``job/batch``."""
    return f"{job}/{batch}"


def read_waiting_name(name: bytes) -> BatchMessage:
    job, _, batch = name.decode().partition("/")
    return BatchMessage(job, batch)
