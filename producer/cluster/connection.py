"""A command's connection to its cluster: one that answers, and is closed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from contract.cluster.settings import ClusterSettings
from producer.cluster.client import Cluster


@contextmanager
def connected(settings: ClusterSettings) -> Iterator[Cluster]:
    """Give a cluster that answers.

    Raises:
        ServiceError: broker or Redis does not; the sentence says which and what to do.
    """
    with closing(Cluster(settings)) as cluster:
        cluster.check()
        yield cluster
