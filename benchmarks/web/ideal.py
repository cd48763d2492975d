"""The ideal for a list: whoever has a place works, nobody computes; what a client can be compared with.

First tries come in the order of the list, a later try as soon as it is due. A connection is made where none of its host
is idle (HTTP/2: where there is none), and is kept. Bodies come in rounds of a congestion window that doubles
(RFC 6928, RFC 5681). What brings nothing holds its place for as long as a URL may take.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, log2

from benchmarks.relay import MTU
from benchmarks.web.listing import Fate, Host, Line, Listing, Wire

ATTEMPTS, TIMEOUT = 3, 10.0  # seconds a URL may take in all
RETRY_AFTER = 1.0  # seconds that a throttled URL is asked to wait
BACKOFF = 0.25  # seconds on average until the second try; the third waits for twice as long

_FIRST_WINDOW = 10 * (MTU - 52)  # bytes


@dataclass(frozen=True, slots=True)
class Ideal:
    """``good`` are the seconds at which good bodies are there, in order; ``last`` is when all is over."""

    good: tuple[float, ...]
    last: float
    connections: int

    def at(self, part: float) -> float:
        """Return the second at which this part of the good bodies is there."""
        return self.good[max(0, ceil(part * len(self.good)) - 1)]


@dataclass(slots=True)
class Connections:
    """The connections a client has; any client that keeps them has these."""

    made: int = 0
    _idle: dict[Host, list[float]] = field(default_factory=dict)  # since when
    _shared: dict[Host, float] = field(default_factory=dict)  # HTTP/2: when it is there

    def ready(self, host: Host, now: float) -> float:
        """Return when a request can go out that wants to at this moment."""
        if host.wire is Wire.HTTP2:
            if host not in self._shared:
                self._shared[host] = self._connect(host, now)
            return max(now, self._shared[host])
        idle = self._idle.get(host)
        if idle and idle[0] <= now:
            heapq.heappop(idle)
            return now
        return self._connect(host, now)

    def keep(self, host: Host, now: float) -> None:
        """The answer was read to its end at this moment."""
        if host.wire is not Wire.HTTP2:
            heapq.heappush(self._idle.setdefault(host, []), now)

    def _connect(self, host: Host, now: float) -> float:
        self.made += 1
        return now + host.round_trips * host.latency


def transfer_time(host: Host, size: int) -> float:
    """Return the seconds from a request to the last byte of its body."""
    return host.latency * max(1, ceil(log2(size / _FIRST_WINDOW + 1)))


def ideal(listing: Listing) -> Ideal:
    """Compute when each body is there if every place is always taken and nothing costs time but the link."""
    return _Course(listing).run()


@dataclass(order=True, slots=True)
class _Event:
    """A place is free at this moment, or the one that has it was led on to another host."""

    at: float
    number: int
    held_by: Line | None = field(default=None, compare=False)


class _Course:
    def __init__(self, listing: Listing) -> None:
        self._firsts = deque(listing.lines)
        self._again: list[tuple[float, int, int]] = []  # due, line, tries so far
        self._lines = listing.lines
        self._network = Connections()
        self._count = listing.in_flight
        self._events = [_Event(0.0, number) for number in range(listing.in_flight)]
        self._good: list[float] = []
        self._last = 0.0

    def run(self) -> Ideal:
        while self._events:
            event = heapq.heappop(self._events)
            for end, held_by in self._go_on(event):
                self._last = max(self._last, end)
                self._count += 1
                heapq.heappush(self._events, _Event(end, self._count, held_by))
        return Ideal(tuple(sorted(self._good)), self._last, self._network.made)

    def _go_on(self, event: _Event) -> Iterator[tuple[float, Line | None]]:
        now, line = event.at, event.held_by
        if line is not None:
            assert line.leads_to is not None
            yield self._body(line, line.leads_to, now), None
        elif self._again and self._again[0][0] <= now:
            _, number, tries = heapq.heappop(self._again)
            yield self._try(self._lines[number], tries, now)
        elif self._firsts:
            yield self._try(self._firsts.popleft(), 0, now)
        elif self._again:
            yield self._again[0][0], None

    def _try(self, line: Line, tries: int, now: float) -> tuple[float, Line | None]:
        host, fate = line.host, line.fate
        if fate is Fate.NAMELESS:
            return now, None
        if fate is Fate.REFUSED:
            return self._fail(line, tries, now + host.latency), None
        begun = self._network.ready(host, now)
        if fate in (Fate.SILENT, Fate.DRIPPING):
            return now + TIMEOUT, None
        answered = begun + host.latency
        if fate is Fate.CUT:
            return self._fail(line, tries, answered), None
        if fate is Fate.GOOD or (fate in (Fate.ONCE, Fate.THROTTLED) and tries):
            return self._body(line, host, begun, is_ready=True), None
        self._network.keep(host, answered)
        if fate is Fate.MOVED:
            return answered, line
        if fate is Fate.ONCE:
            return self._fail(line, tries, answered), None
        if fate is Fate.THROTTLED:
            heapq.heappush(self._again, (answered + RETRY_AFTER, line.number, tries + 1))
        return answered, None

    def _fail(self, line: Line, tries: int, now: float) -> float:
        """It is tried again unless it was often enough."""
        if tries + 1 < ATTEMPTS:
            heapq.heappush(self._again, (now + BACKOFF * 2**tries, line.number, tries + 1))
        return now

    def _body(self, line: Line, host: Host, now: float, *, is_ready: bool = False) -> float:
        begun = now if is_ready else self._network.ready(host, now)
        end = begun + transfer_time(host, line.size)
        self._network.keep(host, end)
        self._good.append(end)
        return end
