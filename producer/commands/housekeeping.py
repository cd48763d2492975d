"""``trawl gc``: removes what is no longer needed from Redis, cache and output folders."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from contract.errors import FolderError, InputError, UnknownJobError
from contract.folders import PART, PARTIALS, PRIVATE, RECORD
from contract.named_files import in_words
from producer.commands.bug_details import DETAILS
from producer.job.plan import remember_rest
from producer.storage.journal import Journal
from producer.storage.manifest import look_at
from producer.wiring import Producer

_DAY = 86400.0  # seconds


@dataclass(frozen=True, slots=True)
class Removed:
    """How many files were removed, and their bytes."""

    files: int
    bytes: int


def remove_jobs(
    jobs: Sequence[str], older_than: float | None, producer: Producer, *, is_forced: bool = False
) -> tuple[list[str], int]:
    """Remove jobs from Redis, and the messages of jobs that are over; return their ids and the number of messages.

    Named jobs are removed if they have no open batches, or if ``is_forced``. Without names, all jobs are removed that
    are finished and collected and, with ``older_than`` (days), all older ones that are not paused.

    Raises:
        InputError: a named job has open batches.
        UnknownJobError: there is no job of that name.
        ServiceError: the cluster is unreachable.
    """
    with producer.cluster() as cluster:
        ledger, now = cluster.ledger, time.time()
        removed = []
        for job in jobs or ledger.jobs():
            record = ledger.job(job)
            if record is None:
                if job in jobs:
                    raise UnknownJobError.of(job)
                continue
            if job in jobs and record.open and not is_forced:
                raise InputError(f"Job {job} still has {record.open} open batches: --force removes it anyway.")
            is_over = record.is_finished and not record.undrained
            is_old = older_than is not None and now - record.created > older_than * _DAY and not record.is_paused
            if job in jobs or is_over or is_old:
                ledger.remove(job)
                removed.append(job)
        return removed, cluster.remove_stale_messages()


def remove_stale_cache(producer: Producer, older_than: float) -> list[Path]:
    """Remove the cached state of unfinished enqueue commands, and details of bugs, older than this many days."""
    folder = producer.cache_folder()
    stale = []
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        journal = entry / "journal.sqlite"
        if journal.exists() and _is_older(journal.stat(), older_than):
            shutil.rmtree(entry, ignore_errors=True)
            stale.append(entry)
        elif entry.name.startswith(DETAILS) and _is_older(entry.lstat(), older_than):
            entry.unlink()
            stale.append(entry)
    return stale


def remove_abandoned_partials(output: Path, older_than: float) -> Removed:
    """Remove partial bodies (``--resume``) and their records that no run has continued for this many days.

    A body that a worker has locked is in use, whatever its age.

    Raises:
        FolderError: the folder cannot be read or changed.
    """
    path = output / PRIVATE / PARTIALS
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return Removed(0, 0)
    except OSError as error:
        raise FolderError(f"{path} cannot be used: {in_words(error)}.") from None
    try:
        names = [name for name in sorted(os.listdir(folder)) if name.endswith(PART)]
        sizes = [size for name in names if (size := _remove_partial(name, folder, older_than)) is not None]
    except OSError as error:
        raise FolderError(f"{path} cannot be cleaned up: {in_words(error)}.") from None
    finally:
        os.close(folder)
    return Removed(len(sizes), sum(sizes))


def remove_old_manifests(output: Path, older_than: float) -> Removed:
    """Remove manifests of earlier jobs, older than this many days, if later ones have rows for all their files.

    Raises:
        FolderError: a command works in the folder.
    """
    if not (output / PRIVATE / "journal.sqlite").exists():
        return Removed(0, 0)
    journal = Journal(output / PRIVATE)
    try:
        remember_rest(journal)
        gone = journal.files.forget(lambda path: _is_old_manifest(path, older_than))
    finally:
        journal.close()
    sizes = [path.lstat().st_size for path in gone]
    for path in gone:
        path.unlink()
    return Removed(len(sizes), sum(sizes))


def _is_old_manifest(path: Path, older_than: float) -> bool:
    try:
        look_at(path)
        return _is_older(path.lstat(), older_than)
    except (FolderError, OSError):
        return False  # it was removed or replaced


def _remove_partial(name: str, folder: int, older_than: float) -> int | None:
    """Remove a partial body and its record; return its size in bytes, or None if it stays."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return None  # resumed in the meantime, or not a worker's file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or not _is_older(found, older_than):
            return None
        os.unlink(name, dir_fd=folder)
        with suppress(FileNotFoundError):
            os.unlink(name.removesuffix(PART) + RECORD, dir_fd=folder)
        return found.st_size
    except BlockingIOError:
        return None  # a worker is writing it
    finally:
        os.close(file)


def _is_older(found: os.stat_result, days: float) -> bool:
    return time.time() - found.st_mtime > days * _DAY
