"""How a list is cut into batches: small ones first, so that every process starts at once, then larger ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contract.batches import BatchEntry

FIRST_SIZE = 8  # URLs
_ROUNDS_PER_SIZE = 2  # batches of a size per slot before the size doubles
_MOST_ROUNDS, _WORTHWHILE = 4, 128  # batches per slot a short list is spread over, and the URLs each then has at least


def ramp(size: int, slots: int) -> Iterator[int]:
    """Yield the sizes of the batches to come: 8 for each slot twice, then 16, 32, ... up to ``size``.

    A *slot* is a worker process. Short jobs so spread over all of them, while a long one soon has batches
    whose cost (about 5 ms of CPU each, whatever they hold) no longer counts.
    """
    current = min(FIRST_SIZE, size)
    while current < size:
        for _ in range(_ROUNDS_PER_SIZE * slots):
            yield current
        current = min(current * 2, size)
    while True:
        yield size


def spread(count: int, size: int, slots: int) -> list[int]:
    """Return the sizes of the batches of a list that is wholly known: equal shares, a multiple of the slots.

    One share per slot, or several where each still fills a process with transfers: outcomes then show sooner.
    """
    if count <= 0:
        return []
    rounds = max(-(-count // (slots * size)), min(_MOST_ROUNDS, count // (slots * _WORTHWHILE)), 1)
    batches = min(count, slots * rounds)
    share, more = divmod(count, batches)
    return [share + 1] * more + [share] * (batches - more)


class Batcher:
    """Collects entries and gives them back as batches.

    Until ``size * slots`` entries have come it holds them back: should the list end before, they are spread
    evenly. ``flush`` ends the holding back for a list that comes slowly.
    """

    def __init__(self, size: int, slots: int, *, is_resumed: bool = False) -> None:
        self._size = size
        self._slots = slots
        self._sizes = ramp(size, slots)
        self._next = next(self._sizes)
        self._is_holding = not is_resumed
        self._entries: list[BatchEntry] = []

    @property
    def held(self) -> Sequence[BatchEntry]:
        """The entries that are in no batch yet."""
        return self._entries

    def restore(self, entries: Sequence[BatchEntry]) -> None:
        """Take the entries an earlier run held; they are in batches to come."""
        self._entries += entries

    def add(self, entries: Sequence[BatchEntry]) -> list[list[BatchEntry]]:
        """Take entries and return the batches that are full now."""
        self._entries += entries
        if self._is_holding and len(self._entries) < self._size * self._slots:
            return []
        self._is_holding = False
        return self._full()

    def flush(self) -> list[list[BatchEntry]]:
        """Return everything there is as batches."""
        if self._is_holding:
            shares = spread(len(self._entries), self._size, self._slots)
            batches = [self._take(share) for share in shares]
        else:
            batches = self._full()
            if self._entries:
                batches.append(self._take(len(self._entries)))
        self._is_holding = False
        return batches

    def _full(self) -> list[list[BatchEntry]]:
        batches: list[list[BatchEntry]] = []
        start = 0
        while len(self._entries) - start >= self._next:
            batches.append(self._entries[start : start + self._next])
            start += self._next
            self._next = next(self._sizes)
        del self._entries[:start]
        return batches

    def _take(self, count: int) -> list[BatchEntry]:
        taken, self._entries = self._entries[:count], self._entries[count:]
        return taken
