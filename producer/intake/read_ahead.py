"""What of a list was read ahead: it lies on the producer's disk, and hosts take turns at being sent.

A list is often sorted by host, or begins with a host that has most of its lines. Sent as it comes, the first host would
keep the others' URLs behind its own. So each entry gets a *round* when it is read, a host's first ones an early one and
its next ones later ones, and what is of the earliest round is sent first (start-time fair queueing: Goyal, Vin and
Cheng, 1996). Entries of one round that were read together are a block; blocks are what is kept and taken.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from contract.records.batches import Listed, pack_entries, unpack_entries

CATCHES_UP = 64  # rounds; so much of what others had before it was known a host makes up for
ROUND = 64  # entries of a host in one round: what a process has in flight by default
_MOST_HOSTS = 50_000  # remembered for how far they are; those that are not ahead of the others go first


def url_of(entry: Listed) -> str:
    return entry if isinstance(entry, str) else entry.url


class Shelf(Protocol):
    """Keeps blocks until they are taken."""

    def blocks(self) -> Sequence[tuple[int, int, int]]:
        """Return number, round and URLs of each block kept."""
        ...

    def block(self, number: int) -> bytes:
        """Return a block's packed entries."""
        ...


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of the blocks since the last time: number, round, URLs and packed entries, and those taken."""

    kept: Sequence[tuple[int, int, int, bytes]] = ()
    taken: Sequence[int] = ()


class ReadAhead:
    """The entries that were read and are in no batch yet; ``urls`` is how many."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._waiting = [(round_, number, urls) for number, round_, urls in shelf.blocks()]
        heapq.heapify(self._waiting)
        self._number = max((number for _, number, _ in self._waiting), default=0)
        self._fresh: dict[int, tuple[int, list[Listed]]] = {}  # by number: not on the shelf
        self._taken: list[int] = []
        self._next: dict[str, int] = {}  # by host: how many entries it had, and those it was too late for
        self._now = self._waiting[0][0] if self._waiting else 0
        self.urls = sum(urls for _, _, urls in self._waiting)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def is_overtaking(self) -> bool:
        """Are all entries of hosts that had their turn in this round?"""
        return bool(self._waiting) and self._waiting[0][0] > self._now

    def add(self, entries: Sequence[Listed]) -> None:
        rounds: dict[int, list[Listed]] = {}
        earliest, known = max(0, self._now - CATCHES_UP) * ROUND, self._next
        for entry in entries:
            host = url_of(entry).split("/", 3)[2]
            place = known.get(host, 0)
            if place < earliest:
                place = earliest
            known[host] = place + 1
            rounds.setdefault(place // ROUND, []).append(entry)
        for round_, some in rounds.items():
            self._number += 1
            self._fresh[self._number] = (round_, some)
            heapq.heappush(self._waiting, (round_, self._number, len(some)))
        self.urls += len(entries)
        if len(known) > _MOST_HOSTS:
            self._next = {host: place for host, place in known.items() if place >= earliest + ROUND}

    def take(self) -> Sequence[Listed]:
        """Return the next block's entries."""
        round_, number, urls = heapq.heappop(self._waiting)
        self._now = max(self._now, round_)
        self.urls -= urls
        fresh = self._fresh.pop(number, None)
        if fresh is not None:
            return fresh[1]
        self._taken.append(number)
        return unpack_entries(self._shelf.block(number))

    def changes(self) -> Changes:
        """Return what to keep and what to drop, which the shelf is to do before anything else is taken."""
        kept = [(number, round_, len(some), pack_entries(some)) for number, (round_, some) in self._fresh.items()]
        changes = Changes(kept, self._taken)
        self._fresh, self._taken = {}, []
        return changes
