"""Which names a job has seen: exact, for any number of them, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from producer.storage.sorted_runs import NAME, RunRecord, SortedRuns

NAMES_IN_MEMORY = 300_000  #: names, 40 MB; for a list with fewer, nothing is written
_PLACE = 27  # bits of a name's hash that are a place in the filter
_FILTER = 2**_PLACE  # bits, 16 MB: of 10 million new names 2 % are searched for in vain, of a billion all


class SeenNames:
    """A set of md5 names. The last few hundred thousand are only in memory: they can be read from the list again.

    A filter (Bloom, 1970, with two places per name) shows that most new names are in no run; the others are searched
    for. The filter is filled on first use, by reading everything that was written.
    """

    def __init__(self, folder: Path, *, most: int = NAMES_IN_MEMORY) -> None:
        """About ``most`` names are kept in memory."""
        self._runs = SortedRuns(folder, "seen", NAME)
        self._recent: set[bytes] = set()
        self._filter = bytearray()
        self._most = most

    def open(self, runs: Sequence[RunRecord]) -> None:
        """Load the recorded runs.

        Raises:
            DamagedRunError: one is gone or damaged; the set is then empty.
        """
        self._recent.clear()
        self._filter = bytearray()
        self._runs.open(runs)

    def add(self, names: Iterable[bytes]) -> set[bytes]:
        """Add names, and return those that are new."""
        new = set(names) - self._recent
        if self._runs:
            new -= self._written_among(new)
        self._recent |= new
        return new

    @property
    def is_due(self) -> bool:
        """Are there enough names in memory to be written?"""
        return len(self._recent) >= self._most

    def write(self) -> None:
        """Write the names in memory, if any; record ``runs`` before calling ``tidy``."""
        if not self._recent:
            return
        self._runs.add(self._recent)
        if self._filter:
            self._note_in_filter(self._recent)
        self._recent.clear()

    def merge_some(self) -> bool:
        """Continue merging, for some milliseconds; True: record ``runs`` before calling ``tidy``."""
        return self._runs.merge_some()

    def runs(self) -> list[RunRecord]:
        """Return the runs that are written, in the form ``open`` takes."""
        return self._runs.record()

    def tidy(self) -> None:
        """Remove the files that are no longer recorded."""
        self._runs.tidy()

    def clear(self) -> None:
        """Forget all names. ``tidy`` removes the files, once that is recorded."""
        self._recent.clear()
        self._filter = bytearray()
        self._runs.close()

    def close(self) -> None:
        self._runs.close()

    def _written_among(self, names: set[bytes]) -> set[bytes]:
        if not self._filter:
            self._filter = bytearray(_FILTER // 8)
            self._note_in_filter(self._runs.names())
        # Python caches a bytes object's hash, and the set above has computed it already.
        bits, find = self._filter, self._runs.find
        return {
            name
            for name in names
            if bits[(place := hash(name) % _FILTER) >> 3] & 1 << (place & 7)
            and bits[(place := (hash(name) >> _PLACE) % _FILTER) >> 3] & 1 << (place & 7)
            and find(name) is not None
        }

    def _note_in_filter(self, names: Iterable[bytes]) -> None:
        bits = self._filter
        for name in names:
            place = hash(name) % _FILTER
            bits[place >> 3] |= 1 << (place & 7)
            place = (hash(name) >> _PLACE) % _FILTER
            bits[place >> 3] |= 1 << (place & 7)
