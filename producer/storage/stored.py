"""Which row of which manifest vouches for a stored file: by the file's name, exact, in constant memory.

A row is written once, to the manifest. The index remembers its position, in 24 bytes; the row is read from there when
its URL is requested again. The index can be rebuilt from the manifests, so positions only in memory may be lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import FolderError
from producer.storage.regular import open_regular
from producer.storage.rows_ahead import RowsAhead
from producer.storage.sorted_runs import NAME, DamagedRunError, SortedRuns

_VALUE = 8  # bytes: the number of a manifest, then where its row begins
_OFFSET_BITS = 40  # a terabyte
ROWS_IN_MEMORY = 100_000  #: rows of stored files
_USUAL_ROW = 2048  # bytes
_LONGEST_ROW = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows in order: the name of the stored file (hex; None: nothing stored), and the offset of the row in bytes."""

    names: Sequence[str | None] = ()
    starts: Sequence[int] = ()


class StoredFiles:
    """The rows of stored files, in numbered manifests; of several rows with the same name the latest counts.

    Store ``record`` after each change, before calling ``tidy``.
    """

    def __init__(self, folder: Path, *, most: int) -> None:
        """About ``most`` rows are kept in memory."""
        self._runs = SortedRuns(folder, "stored", NAME + _VALUE)
        self._recent: list[bytes] = []
        self._most = most
        self._manifests: dict[int, str] = {}
        self._files: dict[int, int | None] = {}
        self._current: int | None = None
        self._ahead = RowsAhead()  # of the newest earlier manifest: no later row counts instead
        self._of_current: set[int] = set()  # numbers of runs that have rows of the current manifest only
        self._last = 0
        self.until = 0  #: offset of the last row of the current manifest that the index has written

    def open(self, record: Mapping[str, Any]) -> None:
        """Load what ``record`` returned; start empty if a part of it is missing."""
        self._manifests = {int(number): path for number, path in record.get("manifests", {}).items()}
        self._current = record.get("current")
        self.until = self._last = int(record.get("until", 0))
        try:
            self._runs.open(record.get("runs", []))
        except DamagedRunError:
            self._runs.open([])
            self.until = self._last = 0

    def record(self) -> dict[str, Any]:
        """Return what to store for ``open``."""
        written = {"runs": self._runs.record(), "manifests": self._manifests}
        return {**written, "current": self._current, "until": self.until}

    def __bool__(self) -> bool:
        return bool(self._runs)

    def begin(self, manifest: Path | None) -> None:
        """Make this the current manifest (None: there is none); all rows of the last one have been added."""
        self.write()
        self._of_current.clear()
        self._ahead = RowsAhead()
        self._current = None
        self.until = self._last = 0
        if manifest is not None:
            # If it was begun but not recorded, it is begun again under the next number.
            self._current = max(self._manifests, default=0) + 1
            self._manifests[self._current] = str(manifest.absolute())

    def set_path(self, manifest: Path) -> bool:
        """Record the path of the current manifest, or begin with it if there is none. Was that new?"""
        if self._current is None:
            self.begin(manifest)
            return True
        path = str(manifest.absolute())
        if self._manifests[self._current] == path:
            return False
        self._manifests[self._current] = path
        self._close(self._current)
        return True

    def earlier(self) -> dict[int, Path]:
        """Return the finished manifests by number."""
        written = self._manifests.get(self._current or 0)
        return {number: path_of(path) for number, path in self._manifests.items() if path != written}

    def needed(self) -> set[int]:
        """Return the numbers of the manifests that have the latest row of any file; reads the whole index."""
        return {int.from_bytes(value) >> _OFFSET_BITS for value in self._runs.values()}

    def forget(self, numbers: Iterable[int]) -> None:
        """Forget manifests that are not needed."""
        for number in numbers:
            self._close(number)
            del self._manifests[number]

    def add(self, rows: StoredRows) -> None:
        """Remember rows of the current manifest."""
        if rows.starts and self._current is not None:
            base = self._current << _OFFSET_BITS
            self._recent += _records(rows, base)
            self._last = rows.starts[-1]

    @property
    def is_due(self) -> bool:
        """Are there enough rows in memory to be written?"""
        return len(self._recent) >= self._most

    def write(self) -> None:
        """Write the rows in memory."""
        if self._recent:
            self._of_current.add(self._runs.add(self._recent))
            self._recent = []
        self.until = self._last

    def merge_some(self) -> bool:
        """Continue merging, for some milliseconds; True: ``record`` has changed."""
        return self._runs.merge_some()

    def tidy(self) -> None:
        """Remove the files that are no longer recorded."""
        self._runs.tidy()

    def row(self, name: bytes) -> bytes | None:
        """Return a stored file's latest row that an earlier manifest has, if it still has it.

        A URL is looked up before its row is in the current manifest, and so runs that can have no answer are left out.
        """
        if (ahead := self._ahead.get(name)) is not None:
            return ahead
        value = self._runs.find(name, outside=self._of_current)
        if value is None:
            return None
        place = int.from_bytes(value)
        number, start = place >> _OFFSET_BITS, place & ((1 << _OFFSET_BITS) - 1)
        file = self._opened(number)
        if file is None:
            return None
        if number == self._newest_earlier:
            self._ahead.found(file, start)
        row, end, _ = os.pread(file, _USUAL_ROW, start).partition(b"\n")
        if not end:
            row, end, _ = os.pread(file, _LONGEST_ROW, start).partition(b"\n")
        return row if end else None

    def close(self) -> None:
        self._runs.close()
        for number in list(self._files):
            self._close(number)

    @property
    def _newest_earlier(self) -> int:
        return max((number for number in self._manifests if number != self._current), default=0)

    def _opened(self, number: int) -> int | None:
        if number not in self._files:
            self._files[number] = None
            path = self._manifests.get(number)
            if path is not None:
                with suppress(FolderError, OSError):
                    self._files[number] = open_regular(path_of(path), os.O_RDONLY, subject=f"The manifest {path}")
        return self._files[number]

    def _close(self, number: int) -> None:
        file = self._files.pop(number, None)
        if file is not None:
            os.close(file)


def path_of(recorded: str) -> Path:
    """Return the path with these bytes, whatever the locale was or is."""
    return Path(os.fsdecode(recorded.encode("utf-8", "surrogateescape")))


def _records(rows: StoredRows, base: int) -> list[bytes]:
    named = zip(rows.names, rows.starts, strict=True)
    try:
        records = [bytes.fromhex(name) + (base + start).to_bytes(_VALUE) for name, start in named if name]
    except ValueError:
        return []  # not a valid name: such rows need not be remembered
    width = NAME + _VALUE
    return records if len(b"".join(records)) == len(records) * width else [one for one in records if len(one) == width]
