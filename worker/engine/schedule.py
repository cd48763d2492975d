"""Whose turn it is: hosts take turns for the window's places, the emptiest-handed host first."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar


class Turn(Protocol):
    """What can be scheduled: it belongs to a host and knows how many of that host may be in flight (0: any).

    ``is_under_way``: it is in the middle of something, and others wait behind it.
    """

    @property
    def host_key(self) -> str: ...

    @property
    def per_host(self) -> int: ...

    @property
    def is_under_way(self) -> bool: ...


T = TypeVar("T", bound=Turn)


class _Host(Generic[T]):
    __slots__ = ("flying", "is_blocked", "key", "level", "ready")

    def __init__(self, key: str) -> None:
        self.key = key
        self.ready: deque[T] = deque()
        self.flying = 0
        self.is_blocked = False
        self.level = -1  # where it is offered; -1: it is not


class Schedule(Generic[T]):
    """Ready turns by host, and turns that wait for a moment.

    At most ``window`` turns are in flight. A host with nothing in flight may exceed that by a quarter, so that one
    slow host that holds the whole window never keeps the others out.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._most = window + max(1, window // 4)
        self._hosts: dict[str, _Host[T]] = {}
        self._levels: dict[int, dict[_Host[T], None]] = {}  # offered hosts by turns in flight, in order of arrival
        self._lowest = 0
        self._waiting: list[tuple[float, int, T]] = []
        self._count = 0
        self.flying = 0

    def add(self, turn: T, *, first: bool = False) -> None:
        """Queue a turn behind its host's others, or before them."""
        host = self._host(turn.host_key)
        if first:
            host.ready.appendleft(turn)
        else:
            host.ready.append(turn)
        if host.level < 0:
            self._offer(host)

    def wait(self, turn: T, until: float) -> None:
        """Queue a turn at a later moment (in the clock's seconds)."""
        self._count += 1
        heapq.heappush(self._waiting, (until, self._count, turn))

    def next_due(self) -> float | None:
        return self._waiting[0][0] if self._waiting else None

    def next_due_of(self, wanted: Callable[[T], bool]) -> float | None:
        return min((due for due, _, turn in self._waiting if wanted(turn)), default=None)

    def wake(self, now: float) -> None:
        """Make the turns ready whose moment has come."""
        while self._waiting and self._waiting[0][0] <= now:
            turn = heapq.heappop(self._waiting)[2]
            self.add(turn, first=turn.is_under_way)

    def take(self) -> T | None:
        """Return the next turn and count it in flight until ``leave``; None: nothing may start now."""
        host = self._emptiest()
        if host is None or (self.flying >= self._window and (host.flying > 0 or self.flying >= self._most)):
            return None
        self._withdraw_offer(host)
        turn = host.ready.popleft()
        host.flying += 1
        self.flying += 1
        self._offer(host)
        return turn

    def join(self, host_key: str) -> None:
        """Count one more in flight that never waited for its turn: it takes a place from those that do."""
        host = self._host(host_key)
        host.flying += 1
        self.flying += 1
        self._withdraw_offer(host)
        self._offer(host)

    def leave(self, host_key: str) -> None:
        """A turn of this host is no longer in flight."""
        host = self._hosts[host_key]
        host.flying -= 1
        self.flying -= 1
        self._withdraw_offer(host)
        self._offer(host)

    def flying_at(self, host_key: str) -> int:
        host = self._hosts.get(host_key)
        return host.flying if host is not None else 0

    def block(self, host_key: str) -> None:
        """Start nothing of this host until ``unblock``."""
        host = self._host(host_key)
        host.is_blocked = True
        self._withdraw_offer(host)

    def unblock(self, host_key: str) -> None:
        host = self._hosts.get(host_key)
        if host is not None:
            host.is_blocked = False
            self._withdraw_offer(host)
            self._offer(host)

    def remove(self, unwanted: Callable[[T], bool]) -> Iterator[tuple[T, float | None]]:
        """Take turns out that are not in flight; with each comes the moment it waited for, if it did."""
        removed: list[tuple[T, float | None]] = []
        for host in list(self._hosts.values()):
            taken = [turn for turn in host.ready if unwanted(turn)]
            if taken:
                kept = [turn for turn in host.ready if not unwanted(turn)]
                host.ready = deque(kept)
                self._withdraw_offer(host)
                self._offer(host)
                removed.extend((turn, None) for turn in taken)
        if any(unwanted(turn) for _, _, turn in self._waiting):
            removed.extend((turn, due) for due, _, turn in self._waiting if unwanted(turn))
            self._waiting = [item for item in self._waiting if not unwanted(item[2])]
            heapq.heapify(self._waiting)
        return iter(removed)

    def __len__(self) -> int:
        """Count the turns that are not in flight."""
        return sum(len(host.ready) for host in self._hosts.values()) + len(self._waiting)

    def _host(self, key: str) -> _Host[T]:
        host = self._hosts.get(key)
        if host is None:
            host = self._hosts[key] = _Host(key)
        return host

    def _offer(self, host: _Host[T]) -> None:
        if not host.ready:
            if host.flying == 0 and not host.is_blocked:
                self._hosts.pop(host.key, None)
            return
        limit = host.ready[0].per_host
        if host.is_blocked or (limit and host.flying >= limit):
            return
        level = host.flying
        host.level = level
        self._levels.setdefault(level, {})[host] = None
        self._lowest = min(self._lowest, level)

    def _withdraw_offer(self, host: _Host[T]) -> None:
        if host.level >= 0:
            offered = self._levels[host.level]
            del offered[host]
            if not offered:
                del self._levels[host.level]
            host.level = -1

    def _emptiest(self) -> _Host[T] | None:
        if not self._levels:
            return None
        if self._lowest not in self._levels:
            self._lowest = min(self._levels)
        return next(iter(self._levels[self._lowest]))
