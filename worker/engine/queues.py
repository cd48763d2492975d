"""The ready items of hosts by tier, and the order in which hosts are offered to the schedule."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from typing import Generic, Protocol, TypeVar


class Tier(IntEnum):
    """What an item is started for; the schedule decides how often each tier gets a slot."""

    FIRST = 0  #: a first try, or the rest of an attempt
    AGAIN = 1  #: a later try
    STALLED = 2  #: a later try of a stalled item, or any of a host that only stalls; it starts quiet


FIRST, AGAIN, STALLED = Tier


class Item(Protocol):
    """Something to schedule: it belongs to a host; ``per_host`` limits how many of that host may be in flight (0: any).

    ``is_under_way``: it is in the middle of an attempt, so others wait behind it.
    """

    @property
    def host_key(self) -> str: ...

    @property
    def per_host(self) -> int: ...

    @property
    def is_under_way(self) -> bool: ...

    @property
    def tier(self) -> Tier: ...


T = TypeVar("T", bound=Item)


class Queue(Generic[T]):
    """A host's ready items of one tier; ``level`` is where the host is offered for it, -1: nowhere."""

    __slots__ = ("items", "level")

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self.level = -1


class Host(Generic[T]):
    """``prompt`` counts the items that ended before they went quiet."""

    __slots__ = ("blocks", "firsts", "flying", "key", "later", "prompt", "quiet")

    def __init__(self, key: str) -> None:
        self.key = key
        self.firsts: Queue[T] = Queue()
        self.later: dict[Tier, Queue[T]] = {}  # few hosts have later tries
        self.flying = 0
        self.quiet = 0
        self.prompt = 0
        self.blocks = 0  # reasons to start nothing

    def is_mostly_quiet(self, spare: int) -> bool:
        return self.quiet >= spare and 2 * self.quiet >= self.flying

    @property
    def stalls(self) -> bool:
        """Has the host only stalled? Then its first tries start quiet too."""
        return self.quiet > 0 and self.prompt == 0

    def set_back(self) -> None:
        if self.firsts.items:
            self.queue(STALLED).items.extend(self.firsts.items)
            self.firsts.items.clear()

    def bring_forward(self) -> None:
        """Treat first tries as such again, because the host answers."""
        stalled = self.queue(STALLED).items
        self.firsts.items.extend(item for item in stalled if item.tier is FIRST)
        again = [item for item in stalled if item.tier is not FIRST]
        stalled.clear()
        stalled.extend(again)

    def queue(self, tier: Tier) -> Queue[T]:
        return self.firsts if tier is FIRST else self.later.setdefault(tier, Queue())

    def queues(self) -> Iterator[Queue[T]]:
        yield self.firsts
        yield from self.later.values()


class Offers(Generic[T]):
    """Hosts that may start an item of one tier, by their number of items in flight, then in order of arrival.

    A single host is kept apart as ``sole``, because most lists have runs of URLs of one host.
    """

    __slots__ = ("_levels", "_lowest", "_queue", "count", "sole")

    def __init__(self) -> None:
        self.count = 0  # of hosts
        self.sole: Host[T] | None = None
        self._queue: Queue[T] | None = None  # of the sole one
        self._levels: dict[int, dict[Host[T], None]] = {}
        self._lowest = 0

    def move(self, host: Host[T], queue: Queue[T], level: int) -> None:
        """Move a host to a level, behind those that are there; -1: offer it nowhere."""
        before, queue.level = queue.level, level
        self.count += (level >= 0) - (before >= 0)
        if host is self.sole:
            if level < 0:
                self.sole = self._queue = None
            return
        if before >= 0:
            offered = self._levels[before]
            del offered[host]
            if not offered:
                del self._levels[before]
        if level >= 0:
            if self.count == 1:
                self.sole, self._queue = host, queue
                return
            if self.sole is not None and self._queue is not None:
                self._put(self.sole, self._queue.level)
                self.sole = self._queue = None
            self._put(host, level)

    def emptiest(self) -> Host[T] | None:
        if self.sole is not None or not self._levels:
            return self.sole
        if self._lowest not in self._levels:
            self._lowest = min(self._levels)
        return next(iter(self._levels[self._lowest]))

    def _put(self, host: Host[T], level: int) -> None:
        if level in self._levels:
            self._levels[level][host] = None
        else:
            self._levels[level] = {host: None}
        if level < self._lowest:
            self._lowest = level
