"""The journal: a SQLite file beside the manifest, from which a killed job resumes.

The names that were seen are stored beside it (``seen.py``), now and then: newer ones are read from the list again, so
they need not be synced with every chunk.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import FolderError
from contract.ledger.values import NewBatch
from contract.records.batches import Known
from contract.records.outcomes import Outcome
from producer.storage.full_disk import FULL, FullDiskError, SpaceWait, waits_for_space
from producer.storage.manifest import digest_of, stored_outcome
from producer.storage.seen import NAMES_IN_MEMORY, SeenNames
from producer.storage.sorted_runs import DamagedRunError
from producer.storage.stored import ROWS_IN_MEMORY, StoredFiles, StoredRows

_VERSION = 2
_EARLIER = 1  # kept the names that were seen in a table
_LOCK = "lock"
_STORED = "known"  # a fact that stays with the folder, whatever its job
_RECORD = 300  # bytes per batch in Redis, besides its entries
_ASKED_AT_ONCE = 500  # names per SELECT
_LEAST_FREE = 256 * 1024  # bytes: with less, "disk I/O error" and the like mean a full disk

_TABLES = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    batch TEXT PRIMARY KEY, urls INTEGER, payload BLOB, is_report INTEGER, is_drained INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS remainder (entries BLOB);
CREATE TABLE IF NOT EXISTS ahead (number INTEGER PRIMARY KEY, round INTEGER, urls INTEGER, entries BLOB);
CREATE INDEX IF NOT EXISTS undrained ON batches (batch) WHERE NOT is_drained;
"""


@dataclass(frozen=True, slots=True)
class KeptBatch:
    """A batch that is not in the manifest yet: its payload, or its report if no worker was needed."""

    batch: str
    urls: int
    payload: bytes
    is_report: bool = False

    def to_new(self) -> NewBatch:
        return NewBatch(self.batch, self.payload, self.urls)


class Journal:
    """The journal of one output folder: at most one job at a time, and the files earlier jobs stored.

    Every method that changes something is one transaction, synced before it returns. The folder is locked while the
    journal is open.
    """

    keeps_batches = True  #: what the ledger has lost is opened again

    def __init__(
        self,
        folder: Path,
        *,
        space: SpaceWait | None = None,
        names_in_memory: int = NAMES_IN_MEMORY,
        rows_in_memory: int = ROWS_IN_MEMORY,
    ) -> None:
        """Open (or make) ``folder/journal.sqlite`` and lock the folder.

        ``space`` waits where a change meets a full disk later; the opening itself does not wait.

        Raises:
            FolderError: another run uses it, it cannot be written, or it is damaged.
        """
        self._space = space
        self._backlog: tuple[int, int] | None = None
        self.folder = folder
        self._path = folder / "journal.sqlite"
        with ExitStack() as opened:  # closed again when anything below fails
            self._lock = _lock(folder)
            opened.callback(os.close, self._lock)
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC  # SQLite makes 0644 and follows a link
                os.close(os.open(self._path, flags, 0o666))
                self._database = sqlite3.connect(self._path, isolation_level=None, cached_statements=64)
                opened.callback(self._database.close)
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = FULL")
                self._database.execute("PRAGMA cache_size = -4096")  # KiB: what lies here for later is not in memory
                self._database.executescript(_TABLES)
                self._facts: dict[str, Any] = {
                    key: json.loads(value) for key, value in self._database.execute("SELECT key, value FROM facts")
                }
                self._undrained = self._count_undrained()
                has_table = self._database.execute("SELECT 1 FROM sqlite_master WHERE name = 'known'").fetchone()
                self._has_known = has_table is not None  # an earlier version's
                if self._facts.setdefault("version", _VERSION) not in (_EARLIER, _VERSION):
                    raise FolderError(f"The journal {self._path} is another version's; remove it to start over.")
                self._seen = SeenNames(folder, most=names_in_memory)
                opened.callback(self._seen.close)
                self._open_seen()
                self._stored = StoredFiles(folder, most=rows_in_memory)
                opened.callback(self._stored.close)
                self._stored.open(self.fact(_STORED, {}))
            except (sqlite3.Error, OSError) as error:
                raise _trouble(self._path, error, f"cannot be used ({error}); remove it to start over.") from None
            opened.pop_all()

    def close(self) -> None:
        self._seen.close()
        self._stored.close()
        self._database.close()
        os.close(self._lock)

    def expect_in_place(self) -> None:
        """Raise FolderError if the folder is no longer where it was: what it says of files is true there only."""
        try:
            if os.path.samestat(os.stat(self.folder / _LOCK), os.fstat(self._lock)):
                return
        except OSError:
            pass
        raise FolderError(
            f"The output folder {self.folder.parent} was moved or replaced while its job ran;"
            " move it back and run the same command to go on."
        )

    # ------------------------------------------------------------------ the job

    @property
    def job(self) -> str | None:
        """The job this folder works on or worked on last."""
        value: str | None = self._facts.get("job")
        return value

    def fact(self, key: str, default: Any = None) -> Any:
        return self._facts.get(key, default)

    @waits_for_space
    def note(self, **facts: Any) -> None:
        with self._transaction():
            self._store(facts)

    @waits_for_space
    def begin(self, job: str, *, manifest: Path | None = None, **facts: Any) -> None:
        """Start a job in place of the last one, its rows in ``manifest``; only the files that are known stay."""
        with self._writing():
            self._stored.begin(manifest)
        with self._transaction():
            self._database.execute("DELETE FROM batches")
            self._database.execute("DELETE FROM remainder")
            self._database.execute("DELETE FROM ahead")
            self._undrained = 0
            self._database.execute("DELETE FROM facts WHERE key NOT LIKE 'known%'")
            self._facts = {key: value for key, value in self._facts.items() if key.startswith("known")}
            told = {"version": _VERSION, "job": job, "manifest": str(manifest or ""), _STORED: self._stored.record()}
            self._store({**told, **facts})
        self._forget_seen()
        self._stored.tidy()

    @waits_for_space
    def finish(self, **facts: Any) -> None:
        """Drop what only an unfinished job needs."""
        with self._transaction():
            self._database.execute("DELETE FROM batches")
            self._database.execute("DELETE FROM remainder")
            self._database.execute("DELETE FROM ahead")
            self._undrained = 0
            self._store({**facts, "seen": None, "finished": True})
        self._forget_seen()

    # ------------------------------------------------------------------ feeding

    def take(self, names: Iterable[bytes]) -> set[bytes]:
        """Return those names that this job has not come across; now it has."""
        try:
            return self._seen.take(names)
        except OSError as error:
            raise _trouble(self._path, error, f"is damaged: {error}.") from None

    def take_again(self, names: Sequence[bytes], position: Mapping[str, int]) -> None:
        """Come across names up to ``position`` once more, which were not written when the job was last worked on."""
        self.take(names)
        self._write_seen(position)

    @property
    def written_until(self) -> Mapping[str, int]:
        """How far the lists were read when the names they held were last written."""
        until: Mapping[str, int] = (self.fact("seen") or {}).get("position") or {}
        return until

    def known(self, names: Collection[bytes]) -> dict[bytes, Known]:
        """Return what earlier jobs stored under these names."""
        found: dict[bytes, Known] = {}
        if self._has_known:
            rows = self._rows_of("SELECT name, size, digest FROM known", list(names))
            found = {name: Known(size, digest) for name, size, digest in rows}
        if self._stored:
            for name in names:
                outcome = self.stored(name)
                if outcome is not None:
                    found[name] = Known(outcome.bytes or 0, digest_of(outcome))
        return found

    def record_fed(
        self,
        batches: Collection[KeptBatch],
        remainder: bytes | None,
        *,
        ahead: Collection[tuple[int, int, int, bytes]] = (),
        taken: Collection[int] = (),
        **facts: Any,
    ) -> None:
        """Keep new batches, entries that fill no batch yet and how far the lists were read, in one step; then names.

        Every name that was taken belongs to what was read by then. ``ahead`` are blocks of entries whose turn comes
        later (number, round, URLs, packed entries), ``taken`` the numbers of those whose turn came.
        """
        self._note_fed(batches, remainder, ahead, taken, facts)
        self._write_seen(self.fact("position", {}))

    @waits_for_space
    def _note_fed(
        self,
        batches: Collection[KeptBatch],
        remainder: bytes | None,
        ahead: Collection[tuple[int, int, int, bytes]],
        taken: Collection[int],
        facts: Mapping[str, Any],
    ) -> None:
        with self._transaction():
            self._database.executemany("DELETE FROM ahead WHERE number = ?", [(number,) for number in taken])
            self._database.executemany("INSERT INTO ahead VALUES (?, ?, ?, ?)", ahead)
            self._database.execute("DELETE FROM remainder")
            if remainder is not None:
                self._database.execute("INSERT INTO remainder VALUES (?)", (remainder,))
            self._insert(batches)
            self._store(facts)

    def remainder(self) -> bytes | None:
        """Return the packed entries that were read and fill no batch yet."""
        row = self._database.execute("SELECT entries FROM remainder").fetchone()
        return row[0] if row else None

    def blocks(self) -> list[tuple[int, int, int]]:
        """Return number, round and URLs of each block of entries whose turn comes later."""
        return self._database.execute("SELECT number, round, urls FROM ahead").fetchall()

    def block(self, number: int) -> bytes:
        """Return a block's packed entries."""
        return bytes(self._database.execute("SELECT entries FROM ahead WHERE number = ?", (number,)).fetchone()[0])

    # ------------------------------------------------------------------ draining

    def undrained(self, after: str = "", limit: int = 200) -> list[KeptBatch]:
        """Return batches whose rows are not in the manifest yet, in a stable order."""
        rows = self._database.execute(
            "SELECT batch, urls, payload, is_report FROM batches"
            " WHERE NOT is_drained AND batch > ? ORDER BY batch LIMIT ?",
            (after, limit),
        )
        return [KeptBatch(batch, urls, payload, bool(is_report)) for batch, urls, payload, is_report in rows]

    def count_undrained(self) -> int:
        return self._undrained

    def backlog(self) -> tuple[int, int]:
        """Return the number of original batches without rows, and the bytes of all entries without rows.

        Batches from a hand-off have a name with a dot; they may be many, small, and parked for long.
        """
        if self._backlog is None:  # it takes reading every payload's page
            fed, size = self._database.execute(
                "SELECT count(*) FILTER (WHERE instr(batch, '.') = 0), total(length(payload)) + count(*) * ?"
                " FROM batches WHERE NOT is_drained",
                (_RECORD,),
            ).fetchone()
            self._backlog = int(fed), int(size)
        return self._backlog

    def drained_among(self, batches: Sequence[str]) -> set[str]:
        """Return those whose rows the manifest has."""
        return {batch for (batch,) in self._rows_of("SELECT batch FROM batches", batches, "batch", "is_drained AND")}

    def known_among(self, batches: Sequence[str]) -> set[str]:
        """Return those that are of this job, drained or not."""
        return {batch for (batch,) in self._rows_of("SELECT batch FROM batches", batches, "batch")}

    @waits_for_space
    def keep(self, batches: Collection[KeptBatch], **facts: Any) -> None:
        """Record batches that another command opened; a collected one stays collected."""
        with self._transaction():
            self._insert(batches)
            self._store(facts)

    def record_drained(
        self, batches: Sequence[str], children: Collection[KeptBatch], *, stored: StoredRows | None = None, **facts: Any
    ) -> None:
        """Record that the manifest has these batches' rows, and which batches were opened in their place.

        ``stored`` has the positions of their rows in the manifest.
        """
        self._note_drained(batches, children, facts)
        if stored is not None:
            self.remember(stored)

    @waits_for_space
    def _note_drained(self, batches: Sequence[str], children: Collection[KeptBatch], facts: Mapping[str, Any]) -> None:
        with self._transaction():
            self._insert(children)
            waited = self._rows_of("SELECT batch FROM batches", batches, "batch", "NOT is_drained AND")
            self._undrained -= len(list(waited))
            self._database.executemany(
                "INSERT INTO batches VALUES (?, 0, NULL, 0, 1)"
                " ON CONFLICT (batch) DO UPDATE SET payload = NULL, is_drained = 1",
                [(batch,) for batch in batches],
            )
            self._store(facts)

    # ------------------------------------------------------------------ files of earlier jobs

    def stored(self, name: bytes) -> Outcome | None:
        """Return the latest row of a stored file's name in the manifests of earlier jobs."""
        try:
            row = self._stored.row(name)
        except OSError as error:
            raise _trouble(self._path, error, f"is damaged: {error}.") from None
        return stored_outcome(row, name) if row is not None else None

    @property
    def remembered_until(self) -> int:
        """The offset of the last manifest row that is certainly remembered."""
        return self._stored.until

    def remember(self, rows: StoredRows) -> None:
        """Remember rows of the current manifest."""
        self._stored.add(rows)
        self._write_stored()

    @waits_for_space
    def _write_stored(self) -> None:
        with self._writing():
            if self._stored.is_due:
                self._stored.write()
            elif not self._stored.merge_some():
                return
            self.note(**{_STORED: self._stored.record()})
            self._stored.tidy()

    def manifest_lies_at(self, manifest: Path) -> None:
        """Record the path of the manifest whose rows are remembered next."""
        if self._stored.lies_at(manifest):
            self.note(**{_STORED: self._stored.record()})

    @waits_for_space
    def begin_manifest(self, manifest: Path) -> None:
        """Begin to remember rows of another manifest."""
        with self._writing():
            self._stored.begin(manifest)
        self.note(**{_STORED: self._stored.record()})
        self._stored.tidy()

    def old_manifests(self) -> Sequence[Path]:
        """Return the manifests of earlier jobs with remembered rows."""
        return list(self._stored.earlier().values())

    def forget_manifests(self, may_go: Callable[[Path], bool]) -> list[Path]:
        """Forget the manifests of earlier jobs whose files all have rows in later ones; return them."""
        with self._writing():
            self._stored.write()
        needed = self._stored.needed()
        gone = {
            number: path for number, path in self._stored.earlier().items() if number not in needed and may_go(path)
        }
        self._stored.forget(gone)
        self.note(**{_STORED: self._stored.record()})
        self._stored.tidy()
        return list(gone.values())

    # ------------------------------------------------------------------ how

    def _open_seen(self) -> None:
        seen = self.fact("seen") or {"runs": []}
        try:
            self._seen.open(seen["runs"])
        except DamagedRunError:
            self._facts["seen"] = None  # the list is read again from its beginning
            self._seen.open([])
        if self.fact("version") == _EARLIER:  # its names are in the list too
            with self._transaction():
                self._database.execute("DROP TABLE IF EXISTS seen")
                self._store({"version": _VERSION})

    @waits_for_space
    def _write_seen(self, position: Mapping[str, int]) -> None:
        """Write names where many are in memory, and merge some that were."""
        is_due = self._seen.is_due
        with self._writing():
            if is_due:
                self._seen.write()
            elif not self._seen.merge_some():
                return
            written_until = position if is_due else self.written_until
            self.note(seen={"runs": self._seen.runs(), "position": written_until})
            self._seen.tidy()

    def _forget_seen(self) -> None:
        self._seen.clear()
        self._seen.tidy()

    def _insert(self, batches: Iterable[KeptBatch]) -> None:
        inserted = self._database.executemany(
            "INSERT OR IGNORE INTO batches VALUES (?, ?, ?, ?, 0)",
            [(each.batch, each.urls, each.payload, int(each.is_report)) for each in batches],
        )
        self._undrained += max(0, inserted.rowcount)  # -1 where there was nothing to insert

    def _count_undrained(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM batches WHERE NOT is_drained").fetchone()[0])

    def _store(self, facts: Mapping[str, Any]) -> None:
        self._facts.update(facts)
        self._database.executemany(
            "INSERT OR REPLACE INTO facts VALUES (?, ?)", [(key, json.dumps(value)) for key, value in facts.items()]
        )

    def _rows_of(
        self, select: str, values: Sequence[Any], column: str = "name", condition: str = ""
    ) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(values), _ASKED_AT_ONCE):
            some = values[start : start + _ASKED_AT_ONCE]
            marks = ",".join("?" * len(some))
            yield from self._database.execute(f"{select} WHERE {condition} {column} IN ({marks})", some)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _trouble(self._path, error, f"cannot be written: {error}.") from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        before, undrained = dict(self._facts), self._undrained
        self._backlog = None
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
        except BaseException as error:
            self._facts, self._undrained = before, undrained
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise _trouble(self._path, error, f"cannot be written: {error}.") from None
            raise


def _trouble(path: Path, error: sqlite3.Error | OSError, otherwise: str) -> FolderError:
    """Say what is wrong with a journal. A full disk is no reason to remove one."""
    if _is_full(path, error):
        return FullDiskError(path.parent.parent)
    return FolderError(f"The journal {path} {otherwise}")


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
        raise FolderError(f"The folder {folder} cannot be written: {error.strerror}.") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise FolderError(f"Another trawl is working in {folder.parent}: wait for it, or use another folder.") from None
    return file
