"""The journal: a SQLite file beside the manifest, from which a killed job resumes.

The names that were seen are stored beside it (``seen.py``), now and then: newer ones are read from the list again, so
they need not be synced with every chunk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.ledger.values import NewBatch
from contract.records.batches import Known
from contract.records.reports import BatchReport
from producer.storage.earlier_files import EarlierFiles
from producer.storage.full_disk import SpaceWait, waits_for_space
from producer.storage.journal_file import EARLIER, VERSION, JournalFile
from producer.storage.seen import NAMES_IN_MEMORY, SeenNames
from producer.storage.sorted_runs import DamagedRunError
from producer.storage.stored import ROWS_IN_MEMORY, StoredRows

_RECORD = 300  # bytes per batch in Redis, besides its entries


@dataclass(frozen=True, slots=True)
class KeptBatch:
    """A batch that is not in the manifest yet: its payload, or its report if no worker was needed.

    ``report`` is what the payload of a new report says; it is not stored.
    """

    batch: str
    urls: int
    payload: bytes
    is_report: bool = False
    report: BatchReport | None = field(default=None, compare=False, repr=False)

    def to_new(self) -> NewBatch:
        return NewBatch(self.batch, self.payload, self.urls)


class Journal:
    """The journal of one output folder: at most one job at a time, and ``files``, which earlier jobs stored.

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

        ``space`` waits while the disk is too full for a change; opening does not wait.

        Raises:
            FolderError: another run uses it, it cannot be written, or it is damaged.
        """
        self._space = space
        self._backlog: tuple[int, int] | None = None
        self.folder = folder
        with ExitStack() as opened:  # closed again if anything below fails
            self._file = JournalFile(folder)
            opened.callback(self._file.close)
            try:
                self._uncollected = self._count_uncollected()
                self._seen = SeenNames(folder, most=names_in_memory)
                opened.callback(self._seen.close)
                self._open_seen()
                self.files = EarlierFiles(self._file, space=space, most=rows_in_memory)
            except (sqlite3.Error, OSError) as error:
                raise self._file.unusable(error) from None
            opened.pop_all()

    def close(self) -> None:
        self._seen.close()
        self.files.close()
        self._file.close()

    def expect_in_place(self) -> None:
        """Raise FolderError if the folder is no longer where it was."""
        self._file.expect_in_place()

    # ------------------------------------------------------------------ the job

    @property
    def job(self) -> str | None:
        """The job this folder works on or worked on last."""
        value: str | None = self.fact("job")
        return value

    def fact(self, key: str, default: Any = None) -> Any:
        return self._file.facts.get(key, default)

    @waits_for_space
    def note(self, **facts: Any) -> None:
        self._file.note(**facts)

    @waits_for_space
    def begin(self, job: str, *, manifest: Path | None = None, **facts: Any) -> None:
        """Start a job in place of the last one, its rows in ``manifest``; only the files of earlier jobs stay known."""
        about_files = self.files.prepare(manifest)
        with self._transaction():
            self._file.database.execute("DELETE FROM batches")
            self._file.database.execute("DELETE FROM remainder")
            self._file.database.execute("DELETE FROM ahead")
            self._uncollected = 0
            self._file.keep_facts("known")
            about_job = {"version": VERSION, "job": job, "manifest": str(manifest or "")}
            self._file.store({**about_job, **about_files, **facts})
        self._forget_seen()
        self.files.tidy()

    @waits_for_space
    def finish(self, **facts: Any) -> None:
        """Drop what only an unfinished job needs."""
        with self._transaction():
            self._file.database.execute("DELETE FROM batches")
            self._file.database.execute("DELETE FROM remainder")
            self._file.database.execute("DELETE FROM ahead")
            self._uncollected = 0
            self._file.store({**facts, "seen": None, "finished": True})
        self._forget_seen()

    # ------------------------------------------------------------------ feeding

    def mark_seen(self, names: Iterable[bytes]) -> set[bytes]:
        """Mark names as seen, and return those that are new to this job."""
        try:
            return self._seen.add(names)
        except OSError as error:
            raise self._file.damaged(error) from None

    def mark_seen_again(self, names: Sequence[bytes], position: Mapping[str, int]) -> None:
        """Mark names up to ``position`` as seen again: they were not on disk when the job was interrupted."""
        self.mark_seen(names)
        self._write_seen(position)

    @property
    def written_until(self) -> Mapping[str, int]:
        """The position in the lists up to which all names are on disk."""
        until: Mapping[str, int] = (self.fact("seen") or {}).get("position") or {}
        return until

    def known(self, names: Collection[bytes]) -> dict[bytes, Known]:
        """Return what earlier jobs stored under these names."""
        return self.files.known(names)

    def record_fed(
        self,
        batches: Collection[KeptBatch],
        remainder: bytes | None,
        *,
        ahead: Collection[tuple[int, int, int, bytes]] = (),
        popped: Collection[int] = (),
        **facts: Any,
    ) -> None:
        """Record new batches, entries that fill no batch yet and the position in the lists in one step, then names.

        All names marked so far belong to lines before that position. ``ahead`` are new blocks of entries that were read
        ahead (number, round, URLs, packed entries), ``popped`` the numbers of blocks that are no longer needed.
        """
        self._note_fed(batches, remainder, ahead, popped, facts)
        self._write_seen(self.fact("position", {}))

    @waits_for_space
    def _note_fed(
        self,
        batches: Collection[KeptBatch],
        remainder: bytes | None,
        ahead: Collection[tuple[int, int, int, bytes]],
        popped: Collection[int],
        facts: Mapping[str, Any],
    ) -> None:
        with self._transaction():
            self._file.database.executemany("DELETE FROM ahead WHERE number = ?", [(number,) for number in popped])
            self._file.database.executemany("INSERT INTO ahead VALUES (?, ?, ?, ?)", ahead)
            self._file.database.execute("DELETE FROM remainder")
            if remainder is not None:
                self._file.database.execute("INSERT INTO remainder VALUES (?)", (remainder,))
            self._insert(batches)
            self._file.store(facts)

    def remainder(self) -> bytes | None:
        """Return the packed entries that fill no batch yet."""
        row = self._file.database.execute("SELECT entries FROM remainder").fetchone()
        return row[0] if row else None

    def blocks(self) -> list[tuple[int, int, int]]:
        """Return number, round and URLs of each block of entries that were read ahead."""
        return self._file.database.execute("SELECT number, round, urls FROM ahead").fetchall()

    def block(self, number: int) -> bytes:
        """Return a block's packed entries."""
        return bytes(self._file.database.execute("SELECT entries FROM ahead WHERE number = ?", (number,)).fetchone()[0])

    # ------------------------------------------------------------------ collecting

    def uncollected(self, after: str = "", limit: int = 200) -> list[KeptBatch]:
        """Return batches whose rows are not in the manifest yet, in a stable order."""
        rows = self._file.database.execute(
            "SELECT batch, urls, payload, is_report FROM batches"
            " WHERE NOT is_drained AND batch > ? ORDER BY batch LIMIT ?",
            (after, limit),
        )
        return [KeptBatch(batch, urls, payload, bool(is_report)) for batch, urls, payload, is_report in rows]

    def count_uncollected(self) -> int:
        return self._uncollected

    def backlog(self) -> tuple[int, int]:
        """Return the number of original batches without rows, and the bytes of all entries without rows.

        Batches from a hand-off have a name with a dot; they may be many, small, and parked for long.
        """
        if self._backlog is None:  # it takes reading every payload's page
            fed, size = self._file.database.execute(
                "SELECT count(*) FILTER (WHERE instr(batch, '.') = 0), total(length(payload)) + count(*) * ?"
                " FROM batches WHERE NOT is_drained",
                (_RECORD,),
            ).fetchone()
            self._backlog = int(fed), int(size)
        return self._backlog

    def collected_among(self, batches: Sequence[str]) -> set[str]:
        """Return those whose rows are in the manifest."""
        return self._among(batches, "is_drained AND")

    def known_among(self, batches: Sequence[str]) -> set[str]:
        """Return those that belong to this job, collected or not."""
        return self._among(batches)

    @waits_for_space
    def keep(self, batches: Collection[KeptBatch], **facts: Any) -> None:
        """Record batches that another command opened; a collected one stays collected."""
        with self._transaction():
            self._insert(batches)
            self._file.store(facts)

    def record_collected(
        self, batches: Sequence[str], children: Collection[KeptBatch], *, stored: StoredRows | None = None, **facts: Any
    ) -> None:
        """Record that the manifest has these batches' rows, and which batches were opened in their place.

        ``stored`` has the positions of their rows in the manifest.
        """
        self._note_collected(batches, children, facts)
        if stored is not None:
            self.files.remember(stored)

    @waits_for_space
    def _note_collected(
        self, batches: Sequence[str], children: Collection[KeptBatch], facts: Mapping[str, Any]
    ) -> None:
        with self._transaction():
            self._insert(children)
            self._uncollected -= len(self._among(batches, "NOT is_drained AND"))
            self._file.database.executemany(
                "INSERT INTO batches VALUES (?, 0, NULL, 0, 1)"
                " ON CONFLICT (batch) DO UPDATE SET payload = NULL, is_drained = 1",
                [(batch,) for batch in batches],
            )
            self._file.store(facts)

    # ------------------------------------------------------------------ how

    def _open_seen(self) -> None:
        seen = self.fact("seen") or {"runs": []}
        try:
            self._seen.open(seen["runs"])
        except DamagedRunError:
            self._file.facts["seen"] = None  # the list is read again from its beginning
            self._seen.open([])
        if self.fact("version") == EARLIER:  # its names are in the list too
            with self._transaction():
                self._file.database.execute("DROP TABLE IF EXISTS seen")
                self._file.store({"version": VERSION})

    @waits_for_space
    def _write_seen(self, position: Mapping[str, int]) -> None:
        """Write the names in memory if there are many; otherwise merge some that were written."""
        is_due = self._seen.is_due
        with self._file.writing():
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

    def _among(self, batches: Sequence[str], condition: str = "") -> set[str]:
        found = self._file.rows_of("SELECT batch FROM batches", batches, "batch", condition)
        return {batch for (batch,) in found}

    def _insert(self, batches: Iterable[KeptBatch]) -> None:
        inserted = self._file.database.executemany(
            "INSERT OR IGNORE INTO batches VALUES (?, ?, ?, ?, 0)",
            [(each.batch, each.urls, each.payload, int(each.is_report)) for each in batches],
        )
        self._uncollected += max(0, inserted.rowcount)  # -1 where there was nothing to insert

    def _count_uncollected(self) -> int:
        return int(self._file.database.execute("SELECT count(*) FROM batches WHERE NOT is_drained").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        uncollected = self._uncollected
        self._backlog = None
        try:
            with self._file.transaction():
                yield
        except BaseException:
            self._uncollected = uncollected
            raise
