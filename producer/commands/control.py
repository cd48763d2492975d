"""What can be changed of a job that is on its way."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from contract.cluster.settings import ClusterSettings
from contract.errors import UnknownJobError
from producer.cluster.client import Cluster
from producer.formatting import command


def weigh_job(job: str, weight: float, environment: Mapping[str, str]) -> None:
    """Give a job so many turns for each of one that nobody weighed.

    Raises:
        UnknownJobError: there is no such job.
        ServiceError: the cluster cannot be reached.
    """
    with closing(Cluster(ClusterSettings.from_environment(environment))) as cluster:
        cluster.check()
        if not cluster.ledger.weigh(job, weight):
            raise UnknownJobError(f"No job {job} is known there: `{command('status')}` lists the jobs.")
