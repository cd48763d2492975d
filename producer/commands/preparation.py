"""Prepares a run: checks its lists, locks its folder, and starts its own services.

Nothing that talks to Redis is imported here, so that the worker starts while the producer still imports it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from contract.cluster.variables import ignored_proxies
from contract.errors import SettingError
from contract.folders import PARTS, PRIVATE, Owner, is_left_behind
from contract.open_files import allowed_transfers, attainable_limit, shortage
from contract.records.policy import lacking_for
from producer.cluster.embedded import Embedded, check_port_is_free
from producer.display.console import Console
from producer.formatting import command
from producer.intake.batching import FIRST_SIZE
from producer.intake.formats import check_has_urls
from producer.intake.sources import Lists
from producer.job.plan import JobSpec, prepare_folder
from producer.storage.journal import Journal
from producer.wiring import Producer, Session

_LOOK_AGAIN = 0.05  # seconds between two checks whether a killed process has exited
_LAST_SYNC = 3.0  # seconds that a killed worker process may take to exit


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """The worker of a run without a cluster; ``settings`` are its environment variables."""

    processes: int
    settings: Mapping[str, str] = field(default_factory=dict)
    drain: float = 10.0  # seconds
    flower_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """One ``trawl run``."""

    spec: JobSpec
    output: Path
    manifest: Path
    worker: WorkerOptions
    batch_size: int = 500
    secrets: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run that is prepared; ``embedded`` are the services it started, None on a cluster."""

    options: RunOptions
    producer: Producer
    session: Session
    begun: float  # on the monotonic clock
    lists: Lists
    journal: Journal
    embedded: Embedded | None


@contextmanager
def prepared(options: RunOptions, producer: Producer, console: Console) -> Iterator[Prepared]:
    """Prepare a run; its services end with the context.

    Raises:
        TrawlError: something a person can put right.
    """
    begun = time.monotonic()
    settings = producer.configured
    if settings is None and (lacking := lacking_for(options.spec.policy.digest)):
        raise SettingError(lacking)  # the workers of a cluster have packages of their own
    if options.worker.flower_port is not None:
        _look_at_flower(options.worker.flower_port, console, has_cluster=settings is not None)
    lists = Lists(options.spec.lists)
    if (options.output / PRIVATE / "journal.sqlite").exists():
        lists.await_bytes()  # an empty pipe must not end the job in the folder
    check_has_urls(lists)  # an unreadable list is reported before anything is started
    state = prepare_folder(options.output, options.manifest)
    with Session(console) as session:
        journal = session.journal(state)
        embedded = None if settings else _start_embedded(session, options, state, producer, console)
        yield Prepared(
            options=options,
            producer=producer,
            session=session,
            begun=begun,
            lists=lists,
            journal=journal,
            embedded=embedded,
        )


# ---------------------------------------------------------------------- how


def _start_embedded(
    session: Session, options: RunOptions, state: Path, producer: Producer, console: Console
) -> Embedded:
    worker = options.worker
    _look_at_descriptors(worker, console)
    session.callback(_tidy, state)
    embedded = session.enter_context(producer.embedded(state, console.echo))
    if hint := ignored_proxies(producer.environment):
        console.mention(hint)
    settings = {**worker.settings, "TRAWL_OUTPUT": str(options.output.absolute())}
    if worker.flower_port is not None:
        # URLs of the list must not reach Flower, even if --allow-net includes loopback.
        named = producer.environment.get("TRAWL_OWN_SERVICES", "")
        settings["TRAWL_OWN_SERVICES"] = f"{named} 127.0.0.1:{worker.flower_port}".strip()
    embedded.start_worker(worker.processes, settings)
    if worker.flower_port is not None:
        embedded.start_flower(worker.flower_port)
        console.mention(f"Flower: http://127.0.0.1:{worker.flower_port}/ (until this run ends)")
    return embedded


def _look_at_flower(port: int, console: Console, *, has_cluster: bool) -> None:
    """Check ``--flower`` before anything is started.

    Raises:
        ServiceError: its port is taken.
    """
    if has_cluster:
        console.echo(f"--flower is for a run with its own worker; on a cluster use `{command('flower')}`.")
    else:
        check_port_is_free(port)


def _look_at_descriptors(worker: WorkerOptions, console: Console) -> None:
    """Print a warning if the limit of open files, which the worker inherits, allows fewer transfers than wanted.

    Raises:
        SettingError: it allows none.
    """
    wanted, limit = int(worker.settings.get("TRAWL_TRANSFERS", FIRST_SIZE)), attainable_limit()
    said = shortage(wanted, limit, worker.processes)
    if not allowed_transfers(wanted, limit, worker.processes):
        raise SettingError(said)
    if said:
        console.echo(said)


def _tidy(state: Path) -> None:
    """Remove what the server and a killed worker left; journal and logs stay."""
    shutil.rmtree(state / "redis", ignore_errors=True)
    parts = state / PARTS
    until = time.monotonic() + _LAST_SYNC
    for folder in parts.iterdir() if parts.is_dir() else ():
        owner = Owner.of(folder.name)
        while owner is not None and owner.is_here and time.monotonic() < until and owner.is_alive:
            time.sleep(_LOOK_AGAIN)  # a process killed during a sync takes a moment to exit
        with suppress(OSError):
            if is_left_behind(folder.name, idle=time.time() - folder.lstat().st_mtime):
                shutil.rmtree(folder)
