"""Whose turn it is: hosts take turns for the window's slots, the one with the fewest items in flight first."""

from __future__ import annotations

import heapq
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic

from worker.engine.queues import AGAIN, FIRST, STALLED, Host, Offers, T, Tier

QUIET_AFTER = 2.0  # seconds with next to no bytes until an item counts as quiet, and loses its slot; at most
QUIET_WINDOWS = 4  # windows of quiet items that may be in flight in addition to the window
_OPENING = 16  # items a host may have in flight at first, or a quarter of the window; one more for each that ends
_FIRSTS = 7  # first tries per later one while both are ready, so that no later try starves
_NO_LIMIT = sys.maxsize
_BLOCKED, _RESTING = 1, 2  # until ``unblock``; until a time


class Schedule(Generic[T]):
    """Ready items (transfers) by host, and items that wait for a time.

    At most ``window`` items hold a slot. A host with nothing in flight may exceed that by a quarter, so that one
    slow host that holds the whole window never keeps the others out.

    A host starts with few in flight, because it may throttle all of them at once; each that ends promptly makes room
    for one more.

    An item that goes quiet gives its slot back, up to ``most_quiet`` of them. A host with quiet items may have as many
    in flight as there are slots, and one more for each that ended promptly. A host most of whose items are quiet starts
    nothing while they are at least as many as the allowance left for all hosts, so that a few hosts never use it up
    (Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998).
    """

    def __init__(self, window: int, *, most_quiet: int | None = None) -> None:
        """``most_quiet`` is four windows by default."""
        self._window = window
        self._most = window + max(1, window // 4) if window > 1 else 1
        self._opening = max(_OPENING, window // 4)
        self._most_quiet = QUIET_WINDOWS * window if most_quiet is None else most_quiet
        self._hosts: dict[str, Host[T]] = {}
        self._offers: dict[Tier, Offers[T]] = {tier: Offers() for tier in Tier}
        self._firsts, self._again, self._stalled = self._offers.values()
        self._stuck: set[str] = set()  # hosts not offered because too many of their items are quiet
        self._firsts_in_a_row = 0
        self._waiting: list[tuple[float, int, T]] = []
        self._resting: list[tuple[float, str]] = []
        self._count = 0
        self.flying = 0
        self.quiet = 0

    def add(self, item: T, first: bool = False) -> None:
        """Queue an item behind its host's others of its tier, or before them all."""
        host = self._hosts.get(item.host_key) or self._host(item.host_key)
        if first or (item.tier is FIRST and not (host.quiet and host.stalls)):
            queue = host.firsts
        else:
            queue = host.queue(item.tier or STALLED)
        if first:
            queue.items.appendleft(item)
        else:
            queue.items.append(item)
        if queue.level < 0:
            self._offer(host)

    def wait(self, item: T, until: float) -> None:
        """Queue an item at a later time (the clock's seconds)."""
        self._count += 1
        heapq.heappush(self._waiting, (until, self._count, item))

    def next_due(self) -> float | None:
        if not (self._waiting or self._resting):
            return None
        return min(heap[0][0] for heap in (self._waiting, self._resting) if heap)

    def next_due_of(self, wanted: Callable[[T], bool]) -> float | None:
        return min((due for due, _, item in self._waiting if wanted(item)), default=None)

    def wake(self, now: float) -> None:
        """Make items and hosts ready whose time has come."""
        while self._resting and self._resting[0][0] <= now:
            host = self._hosts.get(heapq.heappop(self._resting)[1])
            if host is not None:
                host.blocks &= ~_RESTING
                self._offer(host)
        while self._waiting and self._waiting[0][0] <= now:
            item = heapq.heappop(self._waiting)[2]
            self.add(item, first=item.is_under_way)

    def pop(self) -> T | None:
        """Return the next item and count it in flight until ``leave``; None: nothing may take a slot now."""
        tier, offers = FIRST, self._firsts
        if self._again.count or self._stalled.count:
            tier = self._tier()
            offers = self._offers[tier]
        host = offers.sole or offers.emptiest()
        if host is not None and host.quiet:
            host = self._next(tier, self._most_quiet - self.flying)
        if host is None:
            return None
        holding = self.flying - self.quiet
        if holding >= self._window and (host.flying > 0 or holding >= self._most or tier is STALLED):
            return None
        if self._again.count:
            self._firsts_in_a_row = self._firsts_in_a_row + 1 if tier is FIRST else 0
        return self._begin(host, tier)

    def pop_stalled(self) -> T | None:
        """Return the next item that stalled before; half of the quiet allowance is for those.

        The caller hushes it at once, so it never holds a slot.
        """
        spare = self._most_quiet // 2 - self.quiet
        if spare <= 0 or not self._stalled.count:
            return None
        host = self._next(STALLED, spare)
        return None if host is None else self._begin(host, STALLED)

    def join(self, host_key: str) -> None:
        """Count another item in flight that did not wait for its turn; it takes a slot from those that do."""
        host = self._host(host_key)
        host.flying += 1
        self.flying += 1
        self._offer(host)

    def leave(self, host_key: str, quiet: bool = False) -> None:
        """Note that an item of this host, ``quiet`` or not, is no longer in flight."""
        host = self._hosts[host_key]
        host.flying -= 1
        self.flying -= 1
        if quiet:
            host.quiet -= 1
            self.quiet -= 1
        else:
            host.prompt += 1
            if host.prompt == 1 and host.later:
                host.bring_forward()
        if self._firsts.sole is host and not host.later:
            host.firsts.level = host.flying  # with fewer in flight it may start what it could start before
        else:
            self._offer(host)

    def hush(self, host_key: str) -> bool:
        """Take a quiet item's slot; False: too many are quiet already, so it keeps its slot."""
        if self.quiet >= self._most_quiet:
            return False
        host = self._hosts[host_key]
        host.quiet += 1
        self.quiet += 1
        if host.stalls:
            host.set_back()
        self._offer(host)
        return True

    def rouse(self, host_key: str) -> None:
        """Let a quiet item hold a slot again, even if none is free."""
        host = self._hosts[host_key]
        host.quiet -= 1
        self.quiet -= 1
        self._offer(host)

    def relieve(self) -> None:
        """Offer again what was stuck, in case fewer are quiet now."""
        stuck, self._stuck = self._stuck, set()
        for host in [self._hosts[key] for key in stuck if key in self._hosts]:
            self._offer(host)

    def flying_at(self, host_key: str) -> int:
        host = self._hosts.get(host_key)
        return host.flying if host is not None else 0

    def block(self, host_key: str) -> None:
        """Start nothing of this host until ``unblock``."""
        host = self._host(host_key)
        host.blocks |= _BLOCKED
        self._offer(host)

    def unblock(self, host_key: str) -> None:
        host = self._hosts.get(host_key)
        if host is not None:
            host.blocks &= ~_BLOCKED
            self._offer(host)

    def postpone(self, item: T, until: float) -> None:
        """Put an item back, before its host's others, and start nothing of that host until a time."""
        host = self._hosts[item.host_key]
        host.flying -= 1
        self.flying -= 1
        host.queue(FIRST if item.is_under_way else item.tier).items.appendleft(item)
        if not host.blocks & _RESTING:
            host.blocks |= _RESTING
            heapq.heappush(self._resting, (until, host.key))
        self._offer(host)

    def give_way(self, item: T, wanted: Callable[[T], bool]) -> bool:
        """Put an item back, behind another one of its host that is ready; False: none is ``wanted``."""
        host = self._hosts[item.host_key]
        for queue in (host.firsts, host.later.get(AGAIN)):
            other = next((each for each in queue.items if wanted(each)), None) if queue is not None else None
            if queue is not None and other is not None:
                queue.items.remove(other)
                host.firsts.items.extendleft((item, other))
                host.flying -= 1
                self.flying -= 1
                self._offer(host)
                return True
        return False

    def ready_at(self, host_key: str) -> Iterator[T]:
        host = self._hosts.get(host_key)
        for queue in host.queues() if host is not None else ():
            yield from queue.items

    def resting(self) -> list[str]:
        """Return the hosts of which nothing is started until a time."""
        return [key for _, key in self._resting]

    def remove_at(self, host_key: str, unwanted: Callable[[T], bool]) -> list[T]:
        """Remove and return ready items of one host."""
        host = self._hosts.get(host_key)
        if host is None:
            return []
        removed = [item for queue in list(host.queues()) for item in _removed(queue.items, unwanted)]
        self._offer(host)
        return removed

    def remove(self, unwanted: Callable[[T], bool]) -> Iterator[tuple[T, float | None]]:
        """Remove and return items that are not in flight, each with the time it waited for, if any."""
        removed: list[tuple[T, float | None]] = []
        for host in list(self._hosts.values()):
            removed.extend((item, None) for queue in host.queues() for item in _removed(queue.items, unwanted))
            self._offer(host)
        if any(unwanted(item) for _, _, item in self._waiting):
            removed.extend((item, due) for due, _, item in self._waiting if unwanted(item))
            self._waiting = [item for item in self._waiting if not unwanted(item[2])]
            heapq.heapify(self._waiting)
        return iter(removed)

    def remove_later(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Remove and return ready items that are no first tries."""
        removed: list[T] = []
        for host in [host for host in self._hosts.values() if host.later]:
            removed.extend(item for queue in host.later.values() for item in _removed(queue.items, unwanted))
            self._offer(host)
        return removed

    def held_up(self) -> Iterator[T]:
        """Yield the ready items that could not start even if a slot were free."""
        for host in self._hosts.values():
            for queue in host.queues():
                if queue.items and (
                    queue is host.later.get(STALLED)
                    or (queue.level < 0 and (host.key in self._stuck or self._is_held_up(host, queue.items[0])))
                ):
                    yield from queue.items

    def __len__(self) -> int:
        """Count the items that are not in flight."""
        return sum(len(queue.items) for host in self._hosts.values() for queue in host.queues()) + len(self._waiting)

    def _host(self, key: str) -> Host[T]:
        host = self._hosts.get(key)
        if host is None:
            host = self._hosts[key] = Host(key)
        return host

    def _tier(self) -> Tier:
        """Return the tier that gets the next slot."""
        if self._firsts.count and (self._firsts_in_a_row < _FIRSTS or not self._again.count):
            return FIRST
        return AGAIN if self._again.count else STALLED

    def _next(self, tier: Tier, spare: int) -> Host[T] | None:
        """Return the host with the fewest items in flight; skip mostly quiet ones if ``spare`` more may be quiet."""
        offers = self._offers[tier]
        while (host := offers.emptiest()) is not None and host.quiet and host.is_mostly_quiet(spare):
            offers.move(host, host.queue(tier), -1)
            self._stuck.add(host.key)
        return host

    def _begin(self, host: Host[T], tier: Tier) -> T:
        queue = host.firsts if tier is FIRST else host.later[tier]
        item = queue.items.popleft()
        host.flying += 1
        self.flying += 1
        self._offer(host)
        return item

    def _offer(self, host: Host[T]) -> None:
        """Offer what the host may start now; forget a host that has nothing."""
        firsts, flying = host.firsts, host.flying
        items = firsts.items
        level = flying if items and self._may_start(host, items[0]) else -1
        if level != firsts.level:
            if level >= 0 and self._firsts.sole is host:
                firsts.level = level
            else:
                self._firsts.move(host, firsts, level)
        if host.later:
            self._offer_later(host)
        elif not (flying or items or host.blocks):
            self._hosts.pop(host.key, None)

    def _offer_later(self, host: Host[T]) -> None:
        for tier, queue in list(host.later.items()):
            may = queue.items and self._may_start(host, queue.items[0])
            self._offers[tier].move(host, queue, host.flying if may else -1)
            if not queue.items:
                del host.later[tier]
        if not (host.later or host.flying or host.firsts.items or host.blocks):
            self._hosts.pop(host.key, None)

    def _may_start(self, host: Host[T], item: T) -> bool:
        if (host.blocks or host.quiet or item.per_host) and self._is_held_up(host, item):
            return False
        return host.flying - host.quiet < self._opening + host.prompt

    def _is_held_up(self, host: Host[T], item: T) -> bool:
        """Must the host start nothing, whatever slots are free?"""
        if host.blocks or host.flying >= (item.per_host or _NO_LIMIT):
            return True
        return host.quiet > 0 and host.flying >= self._window + host.prompt


def _removed(queue: deque[T], unwanted: Callable[[T], bool]) -> list[T]:
    taken = [item for item in queue if unwanted(item)]
    if taken:
        kept = [item for item in queue if not unwanted(item)]
        queue.clear()
        queue.extend(kept)
    return taken
