"""The files that earlier jobs stored: the manifest row that vouches for each, found by the file's name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from contract.records.batches import Known
from contract.records.outcomes import Ending, Outcome
from producer.storage.full_disk import SpaceWait, waits_for_space
from producer.storage.journal_file import JournalFile
from producer.storage.manifest import digest_of, stored_outcome
from producer.storage.stored import ROWS_IN_MEMORY, StoredFiles, StoredRows

_FACT = "known"  # stays in the journal when a job begins


class EarlierFiles:
    """Which files earlier jobs stored, as the journal in the same folder records it."""

    def __init__(self, file: JournalFile, *, space: SpaceWait | None = None, most: int = ROWS_IN_MEMORY) -> None:
        """About ``most`` rows are kept in memory.

        Raises:
            OSError: the index cannot be read.
        """
        self._file = file
        self._space = space
        has_table = file.database.execute("SELECT 1 FROM sqlite_master WHERE name = 'known'").fetchone()
        self._has_table = has_table is not None  # an earlier version's
        self._index = StoredFiles(file.folder, most=most)
        try:
            self._index.open(file.facts.get(_FACT, {}))
        except OSError:
            self._index.close()
            raise

    def close(self) -> None:
        self._index.close()

    def known(self, names: Collection[bytes]) -> dict[bytes, Known]:
        """Return size and digest of the files that were stored under these names."""
        return {name: known_of(outcome) for name, outcome in self.outcomes(names).items()}

    def outcomes(self, names: Collection[bytes]) -> dict[bytes, Outcome]:
        """Return the latest outcomes of the files that were stored under these names."""
        found: dict[bytes, Outcome] = {}
        if self._has_table:
            rows = self._file.rows_of("SELECT name, size, digest FROM known", list(names), "name")
            found = {name: _outcome_of(name, size, digest) for name, size, digest in rows}
        if self._index:
            for name in names:
                outcome = self.outcome(name)
                if outcome is not None:
                    found[name] = outcome
        return found

    def outcome(self, name: bytes) -> Outcome | None:
        """Return the latest row of a stored file's name in the manifests of earlier jobs."""
        try:
            row = self._index.row(name)
        except OSError as error:
            raise self._file.damaged(error) from None
        return stored_outcome(row, name) if row is not None else None

    # ------------------------------------------------------------------ rows

    @property
    def remembered_until(self) -> int:
        """The offset of the last row of the current manifest that is certainly remembered."""
        return self._index.until

    def remember(self, rows: StoredRows) -> None:
        """Remember rows of the current manifest."""
        self._index.add(rows)
        self._write()

    @waits_for_space
    def _write(self) -> None:
        with self._file.writing():
            if self._index.is_due:
                self._index.write()
            elif not self._index.merge_some():
                return
            self._note()

    # ------------------------------------------------------------------ manifests

    def prepare(self, manifest: Path | None) -> dict[str, Any]:
        """Make this the current manifest; return the facts to note of it. Call ``tidy`` once they are noted."""
        with self._file.writing():
            self._index.begin(manifest)
        return {_FACT: self._index.record()}

    def tidy(self) -> None:
        """Remove files that are no longer needed."""
        self._index.tidy()

    @waits_for_space
    def begin(self, manifest: Path) -> None:
        """Begin to remember rows of another manifest."""
        self.prepare(manifest)
        self._note()

    def set_path(self, manifest: Path) -> None:
        """Record the path of the manifest whose rows are remembered next."""
        if self._index.set_path(manifest):
            self._note()

    def manifests(self) -> Sequence[Path]:
        """Return the manifests of earlier jobs with remembered rows."""
        return list(self._index.earlier().values())

    def forget(self, may_go: Callable[[Path], bool]) -> list[Path]:
        """Forget the manifests of earlier jobs whose files all have rows in later ones; return them."""
        with self._file.writing():
            self._index.write()
        needed = self._index.needed()
        gone = {number: path for number, path in self._index.earlier().items() if number not in needed and may_go(path)}
        self._index.forget(gone)
        self._note()
        return list(gone.values())

    @waits_for_space
    def _note(self) -> None:
        self._file.note(**{_FACT: self._index.record()})
        self._index.tidy()


def known_of(outcome: Outcome) -> Known:
    """Return what a worker compares with the file."""
    return Known(outcome.bytes or 0, digest_of(outcome))


def _outcome_of(name: bytes, size: int, digest: str) -> Outcome:
    """Return all that an earlier version recorded of a file."""
    algorithm, _, value = digest.partition(":")
    sha256, other = (value, None) if algorithm == "sha256" else (None, digest or None)
    return Outcome(url="", name=name.hex(), ending=Ending.OK, bytes=size, sha256=sha256, digest=other)
