"""Puts a command together. Its settings are read, and its cluster, journal and manifest opened, here and nowhere else.

Nothing that talks to Redis is imported before it is needed: a run's worker starts while the producer still imports it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from contract.cluster.settings import ClusterSettings, is_configured
from contract.errors import FolderError
from contract.folders import PRIVATE
from producer.cluster.address import noted_variables
from producer.display.console import Console
from producer.job.interrupts import Interrupts
from producer.storage.full_disk import SpaceWait
from producer.storage.journal import Journal
from producer.storage.manifest import Manifest

if TYPE_CHECKING:
    from producer.cluster.client import Cluster, Retrying
    from producer.cluster.embedded import Embedded

_BROKERS = ("TRAWL_BROKER_URL", "TRAWL_RESULT_BACKEND", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "REDIS_URL")
_OF_CELERY = "CELERY_"


class Producer:
    """The composition root of a command or script: knows its environment and opens its cluster."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """``environment`` is that of this process unless given."""
        self.environment = dict(os.environ if environment is None else environment)

    @property
    def is_configured(self) -> bool:
        """Does the environment name a cluster?"""
        return is_configured(self.environment)

    @cached_property
    def settings(self) -> ClusterSettings:
        """The settings of the configured cluster.

        Raises:
            SettingError: there is none, or a value cannot be used.
        """
        return ClusterSettings.from_environment(self.environment)

    @property
    def configured(self) -> ClusterSettings | None:
        """The settings of the configured cluster; None: there is none, and a run starts its own server and worker.

        Raises:
            SettingError: a value cannot be used.
        """
        return self.settings if self.is_configured else None

    def without_cluster(self) -> Producer:
        """Return a producer whose runs start their own server and worker."""
        return Producer({name: value for name, value in self.environment.items() if name not in _BROKERS})

    def server_at(self, output: Path) -> ClusterSettings | None:
        """Return how to reach the server of the run that works in this output folder now; None: there is none.

        Raises:
            FolderError: the folder belongs to another user.
        """
        noted = noted_variables(output / PRIVATE)
        if noted is None:
            return None
        plain = {name: value for name, value in self.environment.items() if not name.startswith(_OF_CELERY)}
        return ClusterSettings.from_environment({**plain, **noted})

    def cluster_of(self, output: Path) -> ClusterSettings | None:
        """Return the settings of the cluster that has this folder's job: that of its run, else the configured one.

        None: no run works there now, and no cluster is configured.

        Raises:
            FolderError: the folder belongs to another user.
            SettingError: a value cannot be used.
        """
        return self.server_at(output) or self.configured

    def open(self, settings: ClusterSettings | None = None, *, timeout: float = 10.0) -> Cluster:
        """Return a cluster, the configured one unless given; it connects on first use, and the caller closes it.

        ``timeout`` is the seconds that one reply of Redis may take.

        Raises:
            SettingError: no cluster is configured, or a value cannot be used.
        """
        from producer.cluster.client import Cluster

        return Cluster(settings or self.settings, timeout=timeout)

    @contextmanager
    def cluster(self, embedded: Embedded | None = None) -> Iterator[Cluster]:
        """Give a cluster that answers: that of a run's own services, else the configured one.

        Raises:
            SettingError: no cluster is configured, or a value cannot be used.
            ServiceError: broker or Redis does not answer; the sentence says which and what to do.
        """
        if embedded is None:
            with closing(self.open()) as cluster:
                cluster.check()
                yield cluster
            return
        with _hidden_from_celery(), closing(self.open(embedded.settings)) as cluster:
            embedded.wait_until_ready()
            yield cluster

    def embedded(self, state: Path, echo: Callable[[str], None]) -> Embedded:
        """Return the server and worker of a run, not started yet; ``state`` is our folder within the output folder."""
        from producer.cluster.embedded import Embedded

        return Embedded(state, environment=self.environment, echo=echo)

    def cache_folder(self) -> Path:
        """Return our folder among the user's caches: what unfinished ``trawl enqueue`` commands need.

        Raises:
            FolderError: there is no home folder.
        """
        base = self.environment.get("XDG_CACHE_HOME", "").strip()
        try:
            return (Path(base) if base else Path.home() / ".cache") / "trawlnet"
        except RuntimeError:  # no HOME, and a user id that has no name, as in many a container
            raise FolderError("There is no home folder for the cache: set XDG_CACHE_HOME to a folder.") from None


@contextmanager
def _hidden_from_celery() -> Iterator[None]:
    """Hide Celery's own variables from it meanwhile: they would override the embedded server's address."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(_OF_CELERY)}
    try:
        yield
    finally:
        os.environ.update(hidden)  # a script may need them


class Session(ExitStack):
    """What a command holds while it works on a job; all of it is closed at the end, the last first."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self.callback(console.close)
        self.interrupts = self.enter_context(Interrupts())
        self.space = SpaceWait(console.echo, stop=self.interrupts.raise_if_requested)

    def journal(self, folder: Path) -> Journal:
        """Open the journal in our folder; it waits for space if the disk is full.

        Raises:
            FolderError: another command works there, or the journal cannot be used.
        """
        return self.enter_context(closing(Journal(folder, space=self.space)))

    def manifest(self, path: Path, journal: Journal) -> Manifest:
        """Open a manifest, and cut off what the journal does not know of.

        Raises:
            FolderError: it cannot be used.
        """
        return self.enter_context(closing(Manifest(path, int(journal.fact("offset", 0)), space=self.space)))

    def retrying(self, embedded: Embedded | None = None) -> Retrying:
        """Return what repeats calls while the cluster is unreachable; Ctrl-C ends it, and embedded services restart."""
        from producer.cluster.client import Retrying

        def stop() -> None:
            self.interrupts.raise_if_requested()
            if embedded is not None:
                embedded.watch()

        return Retrying(self._console.echo, stop=stop)
