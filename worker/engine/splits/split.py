"""A large body fetched in several ranges at once, all of one version.

The first exchange (the *main* one) asked for the whole body and stops where the first helper began. Helpers ask for
ranges with If-Range and count only if their answers are exact. As soon as one of them is not, the split is off: the
main exchange goes on to the end and writes over whatever helpers wrote, or the body is continued from where it is
whole.

There are a few shares for each exchange, and they are fetched from the front to the end: no slow connection holds up
much, and most of the body can be continued when the rest is lost. When none is left, whoever is done takes over part of
the one that would end last. A share whose connection broke, or was not to be had, is asked for again a few times: many
servers allow fewer connections than they are asked for. One that was refused is *due* when the server wants to be asked
again: from then on it is there for whoever is done, and if nobody is at work, the split rests until then.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from contract.records.outcomes import ErrorClass
from worker.engine.exchange import Exchange
from worker.engine.failures import Failure
from worker.engine.http.ranges import SMALLEST_PART, Part, Version, offers_ranges, version_of

SMALLEST_SHARE = 512 * 1024  # bytes; a range worth a request of its own
TURNS = 4  # shares for each exchange where they are large; one more costs every exchange a round trip
SMALLEST_TURN = 2 * 1024 * 1024  # bytes; smaller bodies have one share for each exchange
SMALLEST_RELIEF = 256 * 1024  # bytes; less is not worth taking over

_BUSY = frozenset({ErrorClass.HTTP_4XX, ErrorClass.HTTP_5XX, ErrorClass.NOT_READY})
_BROKEN = frozenset({ErrorClass.TRUNCATED, ErrorClass.TOO_SLOW, ErrorClass.CONNECT})


@dataclass(slots=True, eq=False)
class Split:
    """Who fetches which share: ``bounds`` are offsets, share i reaches from bounds[i] up to bounds[i + 1].

    ``setup`` is how long the main exchange took to its first byte, in seconds; a helper takes as long. ``spare`` is how
    many shares may still be asked for again.
    """

    main: Exchange
    version: Version
    bounds: list[int]
    setup: float
    width: int  # exchanges at once
    spare: int
    waiting: list[int]  # where shares begin that are to be fetched now
    fetching: dict[int, Exchange]  # by where their shares begin
    later: list[int] = field(default_factory=list)  # where shares begin that are to be fetched by whoever is done
    due: dict[int, float] = field(default_factory=dict)  # when some of those may be asked for (the clock's seconds)
    done: set[int] = field(default_factory=set)  # where finished shares begin
    idle: int = 0  # exchanges that began nothing, because the host wants to be left alone

    @property
    def total(self) -> int:
        return self.bounds[-1]

    @property
    def is_whole(self) -> bool:
        return len(self.done) == len(self.bounds) - 1

    @property
    def is_multiplexed(self) -> bool:
        """Would a helper share the main exchange's connection, and what a server gives to one?"""
        return self.main.head is not None and self.main.head.version not in ("1.0", "1.1")

    def end_of(self, start: int) -> int:
        """Return where the share that begins there ends."""
        return self.bounds[self.bounds.index(start) + 1]

    def helpers(self) -> Iterator[Exchange]:
        """Return the helpers in flight."""
        return (each for each in self.fetching.values() if each is not self.main)

    def begin(self, start: int, helper: Exchange) -> None:
        """A helper fetches the share that begins there."""
        self.fetching[start] = helper

    def finish(self, exchange: Exchange, now: float) -> None:
        """A share is whole: what else can be fetched now?"""
        del self.fetching[exchange.offset]
        self.done.add(exchange.offset)
        if not self.take_up(now, done=1):
            self._relieve(_speed(exchange, now), now)

    def take_up(self, now: float, done: int = 0) -> bool:
        """Have the first shares fetched that are there for whoever is ``done``, or idle; False: none is, by now."""
        slots = max(1, self.idle + done)
        ready = [start for start in self.later if self.due.get(start, now) <= now][:slots]
        for start in ready:
            self.later.remove(start)
            self.due.pop(start, None)
            self.waiting.append(start)
        self.idle = min(self.idle, slots - len(ready))
        return bool(ready)

    def put_off(self, until: float) -> None:
        """Fetch nothing more of it before a moment: its host wants to be left alone."""
        self.idle += len(self.waiting)
        for start in self.waiting:
            insort(self.later, start)
            self.due[start] = until
        self.waiting.clear()

    def rests_until(self) -> float | None:
        """Return when the next share is due (the clock's seconds) if nobody is at work; None: somebody is."""
        return None if self.fetching else min(self.due.values())

    @property
    def tries(self) -> int:
        """How often an exchange failed whose share was asked for again."""
        return self.width - self.spare

    def takes_back(self, exchange: Exchange, failure: Failure, due: float | None) -> bool:
        """May what an exchange still owes be asked for again? Then it is one of those that wait.

        ``due`` is when the server may be asked again for a share it gave nothing of (the clock's seconds); None: it may
        not.
        """
        start = next(each for each, known in self.fetching.items() if known is exchange)
        is_part = exchange.draft is not None and SMALLEST_PART <= exchange.received < self.end_of(start) - start
        # An answer that carries other bytes than were asked for ends the split.
        is_passing = failure.is_transient and failure.error in (_BUSY if exchange.is_unfit else _BROKEN)
        if not (self.spare and is_passing):
            return False
        if is_part:
            self._divide(start, exchange.size)
            self.done.add(start)
        elif due is not None and exchange is not self.main:  # the main exchange's answer is what all rests on
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
        """Return what can be continued when the split is off."""
        draft = self.main.draft
        return None if draft is None else Part(draft, self.whole_until(), self.version, self.main.head)

    def _relieve(self, pace: float, now: float) -> None:
        """Have the share that would end last give away what a helper of this ``pace`` (bytes/s) can fetch by then."""
        latest = 0.0
        found: tuple[int, int] | None = None
        for start, exchange in self.fetching.items():
            speed, left = _speed(exchange, now), self.end_of(start) - exchange.size
            given = int((left - speed * self.setup) / (1 + speed / pace))
            # Of an answer without Content-Length only its end shows that it was what it said.
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
    """Divide a body among ``most`` exchanges at most; None: it stays with one.

    Only a body with a strong validator and announced ranges is divided.
    """
    head = main.head
    version = version_of(head) if head is not None and offers_ranges(head) else None
    if version is None or version.total is None:
        return None
    width = min(most, version.total // SMALLEST_SHARE)
    if width < 2:
        return None
    shares = max(width, min(width * TURNS, version.total // SMALLEST_TURN))
    bounds = [version.total * share // shares for share in range(shares + 1)]
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
