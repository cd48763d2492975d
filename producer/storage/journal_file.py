"""The SQLite file of a journal: locked, with its facts in memory, and with errors that say what to do."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from contract.errors import FolderError
from contract.named_files import in_words
from producer.storage.full_disk import FULL, FullDiskError

VERSION = 2
EARLIER = 1  #: kept the names that were seen in a table
_LOCK = "lock"
_ASKED_AT_ONCE = 500  # values per SELECT
_MODE = 0o660  # before the umask: a group can share a folder, but URLs and options are not for everyone
_LEAST_FREE = 256 * 1024  # bytes: with less, "disk I/O error" and the like mean a full disk

# Batches whose rows are in the manifest are "drained" here: journals of earlier versions have that column.
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    batch TEXT PRIMARY KEY, urls INTEGER, payload BLOB, is_report INTEGER, is_drained INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS remainder (entries BLOB);
CREATE TABLE IF NOT EXISTS ahead (number INTEGER PRIMARY KEY, round INTEGER, urls INTEGER, entries BLOB);
CREATE INDEX IF NOT EXISTS undrained ON batches (batch) WHERE NOT is_drained;
"""


class JournalFile:
    """``folder/journal.sqlite``, open in this process only. ``facts`` are values by key, the same as in the file."""

    def __init__(self, folder: Path) -> None:
        """Open (or make) the file and lock the folder.

        Raises:
            FolderError: another run uses it, it cannot be written, or it is damaged.
        """
        self.folder = folder
        self._path = folder / "journal.sqlite"
        self._lock_path = str(folder / _LOCK)
        with ExitStack() as opened:  # closed again if anything below fails
            self._lock = _lock(folder)
            opened.callback(os.close, self._lock)
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC  # SQLite makes 0644 and follows a link
                os.close(os.open(self._path, flags, _MODE))
                self.database = sqlite3.connect(self._path, isolation_level=None, cached_statements=64)
                opened.callback(self.database.close)
                self.database.execute("PRAGMA journal_mode = WAL")
                self.database.execute("PRAGMA synchronous = FULL")
                self.database.execute("PRAGMA cache_size = -4096")  # KiB: few pages in memory, whatever its size
                self.database.executescript(_TABLES)
                self.facts: dict[str, Any] = {
                    key: json.loads(value) for key, value in self.database.execute("SELECT key, value FROM facts")
                }
            except (sqlite3.Error, OSError) as error:
                raise self.unusable(error) from None
            if self.facts.setdefault("version", VERSION) not in (EARLIER, VERSION):
                raise FolderError(f"The journal {self._path} is another version's; remove it to start over.")
            opened.pop_all()

    def close(self) -> None:
        self.database.close()
        os.close(self._lock)

    def expect_in_place(self) -> None:
        """Raise FolderError if the folder was moved: what the journal says of files is true only there."""
        try:
            if os.path.samestat(os.stat(self._lock_path), os.fstat(self._lock)):
                return
        except OSError:
            pass
        raise FolderError(
            f"The output folder {self.folder.parent} was moved or replaced while its job ran;"
            " move it back and run the same command to resume."
        )

    def store(self, facts: Mapping[str, Any]) -> None:
        """Set facts, within a transaction."""
        self.facts.update(facts)
        self.database.executemany(
            "INSERT OR REPLACE INTO facts VALUES (?, ?)", [(key, json.dumps(value)) for key, value in facts.items()]
        )

    def keep_facts(self, prefix: str) -> None:
        """Drop all facts but those whose key begins with ``prefix`` (of letters), within a transaction."""
        self.facts = {key: value for key, value in self.facts.items() if key.startswith(prefix)}
        self.database.execute("DELETE FROM facts WHERE key NOT LIKE ?", (f"{prefix}%",))

    def note(self, **facts: Any) -> None:
        """Set facts, in a transaction of their own."""
        with self.transaction():
            self.store(facts)

    def rows_of(
        self, select: str, values: Sequence[Any], column: str, condition: str = ""
    ) -> Iterator[tuple[Any, ...]]:
        """Select rows whose column has one of these values; ``condition`` is empty or ends with AND."""
        for start in range(0, len(values), _ASKED_AT_ONCE):
            some = values[start : start + _ASKED_AT_ONCE]
            marks = ",".join("?" * len(some))
            yield from self.database.execute(f"{select} WHERE {condition} {column} IN ({marks})", some)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes inside, synced, or none.

        Raises:
            FolderError: they cannot be written (FullDiskError: yet).
        """
        before = dict(self.facts)
        try:
            self.database.execute("BEGIN IMMEDIATE")
            yield
            self.database.execute("COMMIT")
        except BaseException as error:
            self.facts = before
            if self.database.in_transaction:
                self.database.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._trouble(error, f"cannot be written: {error}.") from None
            raise

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Translate what the file system says of a file beside the journal."""
        try:
            yield
        except OSError as error:
            raise self._trouble(error, f"cannot be written: {error}.") from None

    def unusable(self, error: sqlite3.Error | OSError) -> FolderError:
        """Return what to raise if the journal cannot be opened."""
        return self._trouble(error, f"cannot be used ({error}); remove it to start over.")

    def damaged(self, error: OSError) -> FolderError:
        """Return what to raise if a file beside the journal cannot be read."""
        return self._trouble(error, f"is damaged: {error}.")

    def _trouble(self, error: sqlite3.Error | OSError, otherwise: str) -> FolderError:
        """Say what is wrong. A full disk is no reason to remove a journal."""
        if _is_full(self._path, error):
            return FullDiskError(self.folder.parent)
        return FolderError(f"The journal {self._path} {otherwise}")


def _is_full(path: Path, error: sqlite3.Error | OSError) -> bool:
    if isinstance(error, OSError):
        return error.errno in FULL
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte: sqlite.org/rescode.html
    if code not in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return code == sqlite3.SQLITE_FULL
    try:  # it may be a quota, which the free space does not show
        with tempfile.TemporaryFile(dir=path.parent, buffering=0) as probe:
            return probe.write(bytes(_LEAST_FREE)) != _LEAST_FREE
    except OSError as refusal:
        return refusal.errno in FULL


def _lock(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise FolderError(f"The folder {folder} cannot be written: {in_words(error)}.") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise FolderError(f"Another trawl is working in {folder.parent}: wait for it, or use another folder.") from None
    return file
