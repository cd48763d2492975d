"""Which names a job has come across: exact, whatever their number, in flat memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from producer.storage.sorted_runs import NAME, RunRecord, SortedRuns

NAMES_IN_MEMORY = 300_000  #: names, 40 MB: of a list that has no more nothing is written
_FILTER = 2**27  # bits, 16 MB: with 10 million names 7 % of the new ones are looked for in vain, with a billion all


class SeenNames:
    """A set of md5 names. The last few hundred thousand are in memory only: they can be found out from the list again.

    A filter says of most new names that they are in no run. It says nothing else: what it lets through is looked up.
    It is filled when it is first asked, which reads all that was written.
    """

    def __init__(self, folder: Path, *, most: int = NAMES_IN_MEMORY) -> None:
        """``most`` names are kept in memory, more or less."""
        self._runs = SortedRuns(folder, "seen", NAME)
        self._recent: set[bytes] = set()
        self._filter = bytearray()
        self._most = most

    def open(self, runs: Sequence[RunRecord]) -> None:
        """Begin with the names that were noted.

        Raises:
            DamagedRunError: they are not there any more; nothing is seen then.
        """
        self._recent.clear()
        self._filter = bytearray()
        self._runs.open(runs)

    def take(self, names: Iterable[bytes]) -> set[bytes]:
        """Return those names that were not seen before; now they are."""
        new = set(names) - self._recent
        if self._runs:
            new -= self._written_among(new)
        self._recent |= new
        return new

    @property
    def is_due(self) -> bool:
        """Are there so many in memory that they should be written?"""
        return len(self._recent) >= self._most

    def write(self) -> None:
        """Write what is in memory, if anything is; ``runs`` is to be noted before ``tidy``."""
        if not self._recent:
            return
        self._runs.add(self._recent)
        if self._filter:
            self._note_in_filter(self._recent)
        self._recent.clear()

    def merge_some(self) -> bool:
        """Go on with merging, for some milliseconds; True where ``runs`` is to be noted before ``tidy``."""
        return self._runs.merge_some()

    def runs(self) -> list[RunRecord]:
        """Return what is written, as ``open`` takes it."""
        return self._runs.record()

    def tidy(self) -> None:
        """Remove the files that are no longer noted."""
        self._runs.tidy()

    def clear(self) -> None:
        """Forget all names. The files go when that was noted, with ``tidy``."""
        self._recent.clear()
        self._filter = bytearray()
        self._runs.close()

    def close(self) -> None:
        self._runs.close()

    def _written_among(self, names: set[bytes]) -> set[bytes]:
        if not self._filter:
            self._filter = bytearray(_FILTER // 8)
            self._note_in_filter(self._runs.names())
        # Python keeps a bytes object's hash with it, and the set above has asked for it already.
        bits, find = self._filter, self._runs.find
        return {
            name
            for name in names
            if bits[(place := hash(name) % _FILTER) >> 3] & 1 << (place & 7) and find(name) is not None
        }

    def _note_in_filter(self, names: Iterable[bytes]) -> None:
        bits = self._filter
        for name in names:
            place = hash(name) % _FILTER
            bits[place >> 3] |= 1 << (place & 7)
