"""How a list is cut into batches: small ones first, which start every process at once, then larger ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contract.records.batches import Listed

FIRST_SIZE = 128  # URLs that a process has in flight by default (TRAWL_TRANSFERS)
_MOST_ROUNDS, _WORTHWHILE = 4, 128  # for a short list: most batches per slot, and fewest URLs in each of them


def ramp(size: int, slots: int, first: int) -> Iterator[int]:
    """Yield the sizes of the coming batches: ``first`` for each slot, then twice that, ... up to ``size``.

    A *slot* is a worker process. With fewer URLs than it can have in flight, it would be partly idle until its next
    batch; with many more, the first outcomes would come late.
    """
    current = min(first, size)
    while current < size:
        for _ in range(slots):
            yield current
        current = min(current * 2, size)
    while True:
        yield size


def spread(count: int, size: int, slots: int) -> list[int]:
    """Return the batch sizes for a list whose length is known: of equal size, in a multiple of the slots.

    One batch per slot, or several if each still fills a process with transfers: outcomes then come sooner.
    """
    if count <= 0:
        return []
    rounds = max(-(-count // (slots * size)), min(_MOST_ROUNDS, count // (slots * _WORTHWHILE)), 1)
    batches = min(count, slots * rounds)
    share, more = divmod(count, batches)
    return [share + 1] * more + [share] * (batches - more)


class Batcher:
    """Collects entries and gives them back as batches.

    It always holds back ``size * slots`` entries. When the list ends, they are spread evenly, so that all slots share a
    short list and finish a long one at the same time. ``flush`` releases them when the list is slow or has ended.
    """

    def __init__(self, size: int, slots: int, *, first: int = FIRST_SIZE, is_resumed: bool = False) -> None:
        """``first`` is the size of a slot's first batch: as many transfers as it can have in flight."""
        self._size = size
        self.slots = slots
        self._reserve = size * slots
        self._sizes = ramp(size, slots, first)
        self._next = size if is_resumed else next(self._sizes)
        self._is_resumed = is_resumed
        self._entries: list[Listed] = []

    @property
    def held(self) -> Sequence[Listed]:
        """The entries that are not in a batch yet."""
        return self._entries

    def restore(self, entries: Sequence[Listed]) -> None:
        """Take the entries that an earlier run held back."""
        self._entries += entries

    def add(self, entries: Sequence[Listed]) -> list[list[Listed]]:
        """Add entries and return the batches that are full."""
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
        """Return all held entries as batches of about the same size."""
        batches: list[list[Listed]] = []
        start = 0
        for share in spread(len(self._entries), self._size, self.slots):
            batches.append(self._entries[start : start + share])
            start += share
        self._entries = []
        return batches
