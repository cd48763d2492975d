"""Entries that were read ahead: kept on the producer's disk, and sent with hosts taking turns.

A list is often sorted by host, or begins with a host that has most of its lines. Sent in this order, the first host's
URLs would hold up all others. So each entry gets a *round* when it is read: a host's first entries an early one, the
next ones later ones. Entries of the earliest round are sent first (start-time fair queueing: Goyal, Vin and Cheng,
1996). Entries of one round that were read together form a block; whole blocks are kept and popped.

A host that appears late joins the round that is being sent, and gets more than the others until it has had as much.
What it missed is not sent all at once: what workers hold would then be of one host, which a limit per host slows down.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from contract.records.batches import Listed, pack_entries, unpack_listed

ROUND = 32  # entries of one host in a round: few, so that a batch has many hosts, and enough for a block to be worth it
CATCHES_UP = 2  # times as many of a host that appears late, until it has made up for the rounds it missed
_ROUND = ROUND * CATCHES_UP  # length of a round: an entry takes CATCHES_UP of it, or 1 while its host catches up
_MOST_HOSTS = 50_000  # hosts whose progress is remembered; those not ahead of the others are forgotten first


def url_of(entry: Listed) -> str:
    return entry if isinstance(entry, str) else entry.url


class KeptBlocks(Protocol):
    """The blocks on disk, each until it is popped."""

    def blocks(self) -> Sequence[tuple[int, int, int]]:
        """Return number, round and URLs of each block kept."""
        ...

    def block(self, number: int) -> bytes:
        """Return a block's packed entries."""
        ...


@dataclass(frozen=True, slots=True)
class Changes:
    """New blocks since the last call (number, round, URLs, packed entries), and the numbers of those popped since."""

    kept: Sequence[tuple[int, int, int, bytes]] = ()
    popped: Sequence[int] = ()


class ReadAhead:
    """The entries that were read and are not in a batch yet; ``urls`` is their number."""

    def __init__(self, kept: KeptBlocks) -> None:
        self._kept = kept
        self._waiting = [(round_, number, urls) for number, round_, urls in kept.blocks()]
        heapq.heapify(self._waiting)
        self._number = max((number for _, number, _ in self._waiting), default=0)
        self._fresh: dict[int, tuple[int, list[Listed]]] = {}  # by number: not on disk yet
        self._popped: list[int] = []
        self._next: dict[str, int] = {}  # by host: where in the rounds its next entry belongs
        self._missed: dict[str, int] = {}  # by host: length of the rounds that it has to make up for
        self._now = self._waiting[0][0] if self._waiting else 0
        self.urls = sum(urls for _, _, urls in self._waiting)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def is_overtaking(self) -> bool:
        """Do all entries belong to hosts that had their turn in this round?"""
        return bool(self._waiting) and self._waiting[0][0] > self._now

    def add(self, entries: Sequence[Listed]) -> None:
        rounds: dict[int, list[Listed]] = {}
        earliest, known, missed = self._now * _ROUND, self._next, self._missed
        for entry in entries:
            host = url_of(entry).split("/", 3)[2]
            place = known.get(host, 0)
            if place < earliest:
                missed[host] = missed.get(host, 0) + earliest - place
                place = earliest
            length = CATCHES_UP
            if host in missed:
                length = 1
                missed[host] -= CATCHES_UP - 1
                if missed[host] <= 0:
                    del missed[host]
            known[host] = place + length
            rounds.setdefault(place // _ROUND, []).append(entry)
        for round_, some in rounds.items():
            self._number += 1
            self._fresh[self._number] = (round_, some)
            heapq.heappush(self._waiting, (round_, self._number, len(some)))
        self.urls += len(entries)
        if len(known) > _MOST_HOSTS:
            self._next = {host: place for host, place in known.items() if place >= earliest + _ROUND}
            self._missed = {host: missed[host] for host in self._next.keys() & missed.keys()}

    def pop(self) -> Sequence[Listed]:
        """Remove the next block, and return its entries."""
        round_, number, urls = heapq.heappop(self._waiting)
        self._now = max(self._now, round_)
        self.urls -= urls
        fresh = self._fresh.pop(number, None)
        if fresh is not None:
            return fresh[1]
        self._popped.append(number)
        return unpack_listed(self._kept.block(number))

    def changes(self) -> Changes:
        """Return which blocks must be written and deleted before the next one is popped."""
        kept = [(number, round_, len(some), pack_entries(some)) for number, (round_, some) in self._fresh.items()]
        changes = Changes(kept, self._popped)
        self._fresh, self._popped = {}, []
        return changes
