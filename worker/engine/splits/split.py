"""A large body fetched in several ranges at once, all of one version.

The first exchange (the *main* one) requests the whole body and stops where the first helper's segment begins. Helpers
send range requests with If-Range (RFC 9110 section 13.1.5). If one of their answers is not exactly the range, the split
is cancelled: the main exchange continues to the end and overwrites what helpers wrote, or the body is resumed from the
end of its gapless beginning.

Each exchange gets a few segments, fetched from front to back, so that a slow connection delays little and most of the
body can be resumed if the rest is lost. When no segment is left, an exchange that has finished takes over part of the
one that would end last. Segments whose connection broke or was refused are retried a few times, because many servers
limit connections. A refused segment is *due* when the server may be asked again; the next exchange that finishes then
fetches it. If none is in flight, the split waits until then.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from contract.records.outcomes import ErrorClass
from worker.engine.exchange import Exchange
from worker.engine.failures import Failure
from worker.engine.http.ranges import SMALLEST_PART, Part, Version, offers_ranges, version_of

SMALLEST_SEGMENT = 512 * 1024  # bytes; a smaller range is not worth a request
SEGMENTS_EACH = 4  # per exchange, of a large body; each costs a round trip
SMALLEST_EXTRA = 2 * 1024 * 1024  # bytes; more than one segment per exchange only if all are as large
SMALLEST_RELIEF = 256 * 1024  # bytes; less is not worth taking over

_BUSY = frozenset({ErrorClass.HTTP_4XX, ErrorClass.HTTP_5XX, ErrorClass.NOT_READY})
_BROKEN = frozenset({ErrorClass.TRUNCATED, ErrorClass.TOO_SLOW, ErrorClass.CONNECT})


@dataclass(slots=True, eq=False)
class Split:
    """Which exchange fetches which segment; segment i is the bytes from bounds[i] up to bounds[i + 1].

    Segments are identified by their first offset. ``setup`` is the main exchange's time to first byte in seconds; a
    helper is expected to take as long. ``spare`` is how many retries are left.
    """

    main: Exchange
    version: Version
    bounds: list[int]
    setup: float
    width: int  # exchanges at once
    spare: int
    waiting: list[int]  # segments to request now
    fetching: dict[int, Exchange]  # by segment
    later: list[int] = field(default_factory=list)  # segments for the next exchange that finishes
    due: dict[int, float] = field(default_factory=dict)  # when some of those may be requested (the clock's seconds)
    done: set[int] = field(default_factory=set)  # finished segments
    idle: int = 0  # exchanges that started nothing because the host is paused

    @property
    def total(self) -> int:
        return self.bounds[-1]

    @property
    def is_whole(self) -> bool:
        return len(self.done) == len(self.bounds) - 1

    @property
    def is_multiplexed(self) -> bool:
        """Would a helper share the main exchange's connection, and so its bandwidth?"""
        return self.main.head is not None and self.main.head.version not in ("1.0", "1.1")

    def end_of(self, start: int) -> int:
        """Return the offset at which the segment ends."""
        return self.bounds[self.bounds.index(start) + 1]

    def helpers(self) -> Iterator[Exchange]:
        """Return the helpers in flight."""
        return (each for each in self.fetching.values() if each is not self.main)

    def begin(self, start: int, helper: Exchange) -> None:
        """Record that a helper fetches the segment."""
        self.fetching[start] = helper

    def finish(self, exchange: Exchange, now: float) -> None:
        """Record that a segment is complete, and choose what to fetch next."""
        del self.fetching[exchange.offset]
        self.done.add(exchange.offset)
        if not self.resume(now, done=1):
            self._relieve(_speed(exchange, now), now)

    def resume(self, now: float, done: int = 0) -> bool:
        """Queue the first due segments, one for each exchange that is idle or ``done``; False: there is none."""
        slots = max(1, self.idle + done)
        ready = [start for start in self.later if self.due.get(start, now) <= now][:slots]
        for start in ready:
            self.later.remove(start)
            self.due.pop(start, None)
            self.waiting.append(start)
        self.idle = min(self.idle, slots - len(ready))
        return bool(ready)

    def put_off(self, until: float) -> None:
        """Request no segment before a moment (the clock's seconds), because the host is paused."""
        self.idle += len(self.waiting)
        for start in self.waiting:
            insort(self.later, start)
            self.due[start] = until
        self.waiting.clear()

    def rests_until(self) -> float | None:
        """Return when the next segment is due (the clock's seconds); None: some exchange is in flight."""
        return None if self.fetching else min(self.due.values())

    @property
    def tries(self) -> int:
        """How many segments were retried."""
        return self.width - self.spare

    def retry(self, exchange: Exchange, failure: Failure, due: float | None) -> bool:
        """Queue what a failed exchange did not fetch for another request; False: it cannot be retried.

        ``due`` is when a segment without any bytes may be requested again (the clock's seconds); None: it may not.
        """
        start = next(each for each, known in self.fetching.items() if known is exchange)
        is_part = exchange.draft is not None and SMALLEST_PART <= exchange.received < self.end_of(start) - start
        # An answer with bytes other than those requested ends the split.
        is_passing = failure.is_transient and failure.error in (_BUSY if exchange.is_unfit else _BROKEN)
        if not (self.spare and is_passing):
            return False
        if is_part:
            self._divide(start, exchange.size)
            self.done.add(start)
        elif due is not None and exchange is not self.main:  # everything depends on the main exchange's answer
            insort(self.later, start)
            self.due[start] = due
        else:
            return False
        self.spare -= 1
        del self.fetching[start]
        return True

    def whole_until(self) -> int:
        """Return the offset up to which the body has no gap."""
        for start, end in zip(self.bounds, self.bounds[1:], strict=False):
            if start not in self.done:
                return self.main.size if start == 0 else start
            last = end
        return last

    def prefix(self) -> Part | None:
        """Return what can be resumed when the split is cancelled."""
        draft = self.main.draft
        return None if draft is None else Part(draft, self.whole_until(), self.version, self.main.head)

    def _relieve(self, pace: float, now: float) -> None:
        """Take from the segment that would end last what a helper of this ``pace`` (bytes/s) could fetch by then."""
        latest = 0.0
        found: tuple[int, int] | None = None
        for start, exchange in self.fetching.items():
            speed, left = _speed(exchange, now), self.end_of(start) - exchange.size
            given = int((left - speed * self.setup) / (1 + speed / pace))
            # Without Content-Length only the end of an answer shows that it was complete.
            is_sure = exchange.head is not None and exchange.head.length is not None
            if exchange.received and is_sure and given >= SMALLEST_RELIEF and left / speed > latest:
                latest, found = left / speed, (start, self.end_of(start) - given)
        if found is not None:
            start, bound = found
            self.fetching[start].leave_rest_from(bound)
            self._divide(start, bound)

    def _divide(self, start: int, bound: int) -> None:
        self.bounds.insert(self.bounds.index(start) + 1, bound)
        self.waiting.append(bound)


def _speed(exchange: Exchange, now: float) -> float:
    return max(1, exchange.received) / max(1e-3, now - exchange.began)  # bytes/s


def plan(main: Exchange, most: int, *, now: float) -> Split | None:
    """Divide a body among at most ``most`` exchanges; None: one exchange fetches all of it.

    Only a body with a strong validator, from a server that announces ranges, is divided.
    """
    head = main.head
    version = version_of(head) if head is not None and offers_ranges(head) else None
    if version is None or version.total is None:
        return None
    width = min(most, version.total // SMALLEST_SEGMENT)
    if width < 2:
        return None
    segments = max(width, min(width * SEGMENTS_EACH, version.total // SMALLEST_EXTRA))
    bounds = [version.total * segment // segments for segment in range(segments + 1)]
    return Split(
        main,
        version,
        bounds,
        setup=max(0.0, now - main.began),
        width=width,
        spare=width,
        waiting=bounds[1:width],
        later=bounds[width:-1],
        fetching={0: main},
    )
