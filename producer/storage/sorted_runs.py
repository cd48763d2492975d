"""Sorted runs: any number of records in files, looked up by the md5 they begin with; exact, in constant memory.

A run is written once and never changed: its records in order, followed by the start of each *bucket*, the records that
share their first bits. To look up a name, one bucket of each run (2 KB) is read and searched for all 128 bits. Eight
runs of a level are merged into one of the next level, a few thousand records at a time, so that no large merge blocks
anything.

Source: O'Neil, Cheng, Gawlick, O'Neil, "The Log-Structured Merge-Tree" (1996), tiered, without removals.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path

NAME = 16  #: bytes of a record that are its key: an md5

_FAN_IN = 8  # runs of a level that become one of the next
_PER_BUCKET = 7  # as a power of two: 128 records
_PER_PART = 15  # as a power of two: records merged at a time
_JOINED_AT_ONCE = 4096  # records: join() takes 80 bytes for each of its parts, all at once

RunRecord = list[int]  #: number, level, count of records, bits of a bucket


class DamagedRunError(Exception):
    """A run is gone, or not as recorded: its contents must be computed again."""


class _Run:
    """One file of sorted records, open for reading."""

    def __init__(self, path: Path, record: RunRecord, width: int) -> None:
        """Open a run.

        Raises:
            DamagedRunError: it does not exist, or its length has changed.
        """
        self.path = path
        self.record = record
        self.number, self.level, self.count, self.bits = record
        self._width = width
        self._shift = 64 - self.bits
        self._starts = array("I")
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise DamagedRunError(f"{path.name}: {error.strerror}") from None
        starts = os.pread(self._file, (2**self.bits + 1) * self._starts.itemsize + 1, self.count * width)
        if len(starts) != (2**self.bits + 1) * self._starts.itemsize:
            self.close()
            raise DamagedRunError(f"{path.name} has another length")
        self._starts.frombytes(starts)

    def find(self, name: bytes, head: int) -> bytes | None:
        """Return the value of a record; ``head`` is the first 64 bits of its name as a number."""
        bucket = head >> self._shift
        block = self._read(self._starts[bucket], self._starts[bucket + 1])
        at = block.find(name)
        while at >= 0 and at % self._width:
            at = block.find(name, at + 1)
        return block[at + NAME : at + self._width] if at >= 0 else None

    def part(self, number: int, bits: int) -> list[bytes]:
        """Return the records whose first ``bits`` are ``number``, in order."""
        more = self.bits - bits
        block = self._read(self._starts[number << more], self._starts[(number + 1) << more])
        return [block[at : at + self._width] for at in range(0, len(block), self._width)]

    def names(self) -> Iterator[bytes]:
        """Yield the names of all records."""
        bits = min(self.bits, _bits(self.count, _PER_PART))
        for number in range(1 << bits):
            for record in self.part(number, bits):
                yield record[:NAME]

    def close(self) -> None:
        os.close(self._file)

    def _read(self, start: int, end: int) -> bytes:
        block = os.pread(self._file, (end - start) * self._width, start * self._width)
        if len(block) != (end - start) * self._width:
            raise OSError(f"{self.path.name} was cut short")
        return block


class SortedRuns:
    """The runs of one kind in a folder, each record ``width`` bytes long; of records of one name the greatest counts.

    Records of one name are added in rising order, so that the newest run with a name has the record that counts.

    After each change, store what ``record`` returns somewhere safe and then call ``tidy``. Until then the earlier files
    still exist: whenever the process is killed, the runs are those that were recorded last.
    """

    def __init__(self, folder: Path, kind: str, width: int) -> None:
        self._folder = folder
        self._kind = kind
        self._width = width
        self._runs: list[_Run] = []  # the oldest first
        self._merge: _Merge | None = None
        self._next = 1

    def open(self, record: Sequence[RunRecord]) -> None:
        """Open the recorded runs, and remove all other files of this kind.

        Raises:
            DamagedRunError: one is not as recorded; then none is open.
        """
        self.close()
        try:
            for each in record:
                self._runs.append(_Run(self._path(each[0]), each, self._width))
        except DamagedRunError:
            self.close()
            raise
        self._runs.sort(key=_age)
        self._next = max((each[0] for each in record), default=0) + 1
        self.tidy()

    def record(self) -> list[RunRecord]:
        return [run.record for run in self._runs]

    def __bool__(self) -> bool:
        return bool(self._runs)

    def __len__(self) -> int:
        return sum(run.count for run in self._runs)

    def find(self, name: bytes, *, outside: Container[int] = ()) -> bytes | None:
        """Return the value of the record with this name; None if no run has it, besides those with these numbers."""
        head = int.from_bytes(name[:8])
        for run in reversed(self._runs):
            value = None if run.number in outside else run.find(name, head)
            if value is not None:
                return value
        return None

    def names(self) -> Iterator[bytes]:
        """Yield the names of all records, run by run."""
        for run in self._runs:
            yield from run.names()

    def values(self) -> Iterator[bytes]:
        """Yield the value that counts for each name."""
        bits = min((*(run.bits for run in self._runs), _bits(len(self), _PER_PART)), default=0)
        for number in range(1 << bits if self._runs else 0):
            for record in _merged(self._runs, number, bits, self._width):
                yield record[NAME:]

    def add(self, records: Iterable[bytes]) -> int:
        """Write records as a run, synced, and return its number. If it raises OSError, nothing has changed."""
        ordered = _ordered(records, self._width)
        writer = self._writer(0, len(ordered))
        try:
            writer.write(ordered, 0, 2**writer.bits)
            record = writer.finish()
        except OSError:
            writer.discard()
            raise
        self._runs.append(_Run(writer.path, record, self._width))
        return self._runs[-1].number

    def merge_some(self) -> bool:
        """Merge a few thousand records, if runs need merging; True: a merge is complete, and ``record`` has changed.

        After OSError a merge starts over with the next call.
        """
        if self._merge is None:
            runs = self._mergeable()
            if not runs:
                return False
            self._merge = _Merge(runs, self._writer(runs[0].level + 1, sum(run.count for run in runs)), self._width)
        merge = self._merge
        try:
            if not merge.step():
                return False
            record = merge.writer.finish()
        except OSError:
            self._merge = None
            merge.writer.discard()
            raise
        self._merge = None
        self._runs = [run for run in self._runs if run not in merge.runs]
        self._runs.append(_Run(merge.writer.path, record, self._width))
        self._runs.sort(key=_age)
        for run in merge.runs:
            run.close()
        return True

    def tidy(self) -> None:
        """Remove the files of runs that are no longer used."""
        wanted = {run.path for run in self._runs}
        if self._merge is not None:
            wanted.add(self._merge.writer.path)
        for path in self._folder.glob(f"{self._kind}-*.run"):
            if path not in wanted:
                path.unlink()

    def close(self) -> None:
        for run in self._runs:
            run.close()
        if self._merge is not None:
            self._merge.writer.close()
        self._runs, self._merge = [], None

    def _mergeable(self) -> list[_Run]:
        for level in {run.level for run in self._runs}:
            runs = [run for run in self._runs if run.level == level]
            if len(runs) >= _FAN_IN:
                return runs[:_FAN_IN]
        return []

    def _writer(self, level: int, most: int) -> _Writer:
        number, self._next = self._next, self._next + 1
        return _Writer(self._path(number), number, level, most)

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._kind}-{number}.run"


class _Merge:
    """Merges runs of one level into one of the next, in parts: the records that share their first bits."""

    def __init__(self, runs: Sequence[_Run], writer: _Writer, width: int) -> None:
        self.runs = runs
        self.writer = writer
        self._width = width
        self._bits = min(*(run.bits for run in runs), _bits(sum(run.count for run in runs), _PER_PART))
        self._part = 0

    def step(self) -> bool:
        """Merge one part; True: the merge is complete."""
        records = _merged(self.runs, self._part, self._bits, self._width)
        more = self.writer.bits - self._bits
        self.writer.write(records, self._part << more, (self._part + 1) << more)
        self._part += 1
        return self._part == 1 << self._bits


class _Writer:
    """Writes a run from its first record to its last."""

    def __init__(self, path: Path, number: int, level: int, most: int) -> None:
        """``most`` is the largest possible number of records."""
        self.path = path
        self.bits = _bits(most, _PER_BUCKET)
        self._number, self._level, self._count = number, level, 0
        self._starts = array("I")
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)

    def write(self, records: Sequence[bytes], first: int, end: int) -> None:
        """Append sorted records: all those of the buckets from ``first`` up to ``end`` (exclusive)."""
        shift = 64 - self.bits
        for bucket in range(first, end):
            self._starts.append(self._count + bisect_left(records, (bucket << shift).to_bytes(8)))
        self._count += len(records)
        for start in range(0, len(records), _JOINED_AT_ONCE):
            self._append(b"".join(records[start : start + _JOINED_AT_ONCE]))

    def finish(self) -> RunRecord:
        """Sync it, and return its record."""
        try:
            self._starts.append(self._count)
            self._append(self._starts.tobytes())
            os.fsync(self._file)
        finally:
            self.close()
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return [self._number, self._level, self._count, self.bits]

    def close(self) -> None:
        fd, self._file = self._file, -1
        if fd >= 0:
            os.close(fd)

    def discard(self) -> None:
        """Remove the unfinished file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _append(self, block: bytes) -> None:
        left = memoryview(block)
        while left:
            left = left[os.write(self._file, left) :]


def _age(run: _Run) -> tuple[int, int]:
    """Sort runs from the oldest to the newest: a level's oldest runs are merged first, into the next level."""
    return -run.level, run.number


def _merged(runs: Iterable[_Run], part: int, bits: int, width: int) -> list[bytes]:
    """Return the records whose first ``bits`` are ``part``, in order; of one name only the greatest."""
    return _ordered(chain.from_iterable(run.part(part, bits) for run in runs), width)


def _ordered(records: Iterable[bytes], width: int) -> list[bytes]:
    ordered = sorted(records)
    if width > NAME:
        ordered = [one for one, next_ in pairwise((*ordered, b"")) if one[:NAME] != next_[:NAME]]
    return ordered


def _bits(count: int, share: int) -> int:
    """Return how many first bits divide the records into parts of about ``2**share``."""
    return (count >> share).bit_length()
