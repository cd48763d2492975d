"""How a list is cut into batches: first what just fills every process, so that all start at once, then larger ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contract.records.batches import Listed

FIRST_SIZE = 64  # URLs; what a process has in flight by default (TRAWL_TRANSFERS)
_MOST_ROUNDS, _WORTHWHILE = 4, 128  # batches per slot a short list is spread over, and the URLs each then has at least


def ramp(size: int, slots: int, first: int = FIRST_SIZE) -> Iterator[int]:
    """Yield the sizes of the batches to come: ``first`` for each slot, then twice that, ... up to ``size``.

    A *slot* is a worker process. With fewer URLs than it can have in flight it would be half idle until it is given
    the next batch; with many more, the first outcomes would come late.
    """
    current = min(first, size)
    while current < size:
        for _ in range(slots):
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

    It always holds ``size * slots`` entries back: when the list ends, what is left is spread evenly, so that a
    short list is shared by all slots and a long one ends on all of them at once. ``flush`` gives up holding for a
    list that comes slowly or has ended.
    """

    def __init__(self, size: int, slots: int, *, first: int = FIRST_SIZE, is_resumed: bool = False) -> None:
        """``first`` is what a slot's first batch holds: the transfers it can have in flight."""
        self._size = size
        self.slots = slots
        self._reserve = size * slots
        self._sizes = ramp(size, slots, first)
        self._next = size if is_resumed else next(self._sizes)
        self._is_resumed = is_resumed
        self._entries: list[Listed] = []

    @property
    def held(self) -> Sequence[Listed]:
        """The entries that are in no batch yet."""
        return self._entries

    def restore(self, entries: Sequence[Listed]) -> None:
        """Take the entries an earlier run held; they are in batches to come."""
        self._entries += entries

    def add(self, entries: Sequence[Listed]) -> list[list[Listed]]:
        """Take entries and return the batches that need not be held back."""
        self._entries += entries
        batches: list[list[Listed]] = []
        start = 0
        while len(self._entries) - start >= self._next + self._reserve:
            batches.append(self._entries[start : start + self._next])
            start += self._next
            if not self._is_resumed:
                self._next = next(self._sizes)
        del self._entries[:start]
        return batches

    def flush(self) -> list[list[Listed]]:
        """Return everything there is as batches of about the same size."""
        batches: list[list[Listed]] = []
        start = 0
        for share in spread(len(self._entries), self._size, self.slots):
            batches.append(self._entries[start : start + share])
            start += share
        self._entries = []
        return batches
