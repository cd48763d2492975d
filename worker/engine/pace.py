"""At what pace a host is asked that throttles: learned from its answers, and rising slowly.

It is what TCP does with a congested link: slow start up to the pace that worked, then additive increase, and a
multiplicative decrease per incident (RFC 5681). Times are the clock's seconds, paces starts per second.
"""

from __future__ import annotations

from math import inf, sqrt

_FIRST = 2.0  # of a host that answered nothing well before
_LOWEST = 0.05
_KEPT, _RESUMED = 0.9, 0.7  # of the pace that worked: up to where growth is quick, and where it begins
_QUICK = 0.5  # starts/s more per good answer: 1.6 times as many per second
_SLOW = 0.03  # of the pace more per second
_BOLDER = 10.0  # twice as much after so many seconds, and as the square of them
_SAMPLE = 20  # good answers that tell a pace; of fewer nothing is learned but to begin anew
_TOLERATED = 0.03  # throttled answers of good ones: so few are about single URLs
PERIOD = 2.0  # seconds over which answers are counted


class Tally:
    """Counts events by host over the last two to four seconds."""

    def __init__(self) -> None:
        self.began = -inf
        self.now: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def counts(self, now: float) -> dict[str, int]:
        """Return where to count an event of this moment, by host."""
        if now - self.began >= PERIOD:
            self._before = self.now if now - self.began < 2 * PERIOD else {}
            self.began, self.now = now, {}
        return self.now

    def count(self, key: str, now: float) -> int:
        if now - self.began >= 2 * PERIOD:
            return 0
        return self.now.get(key, 0) + self._before.get(key, 0)

    def pace(self, key: str, now: float) -> float:
        """Return events per second; 0: there are too few to tell.

        Of a host known for less than a second, all of them count as that second's.
        """
        count = self.count(key, now)
        span = now - self.began + (PERIOD if key in self._before else 0.0)
        return count / max(1.0, span) if count >= _SAMPLE else 0.0


class Pace:
    """How quickly one host may be asked; ``rate`` is infinite while it has shown no limit.

    ``answered`` counts good answers since it was ``resumed``; ``refused`` throttled ones since it asked for a pause.
    """

    __slots__ = ("_ceiling", "_limited_at", "_next_start", "_worked", "answered", "good", "rate", "refused", "resumed")

    def __init__(self, now: float) -> None:
        self.rate = self._ceiling = inf
        self.resumed = now
        self.answered = 0
        self.refused = self.good = 0  # until the probe's, good ones of what was in flight as well
        self._worked = 0.0  # the pace at which those came; 0: it is not known
        self._next_start = -inf
        self._limited_at = -inf

    @property
    def learned(self) -> float | None:
        return None if self._ceiling == inf else self.rate

    def turn(self, now: float) -> float:
        """Take a start: 0, or the seconds after which to ask again."""
        if now < self._next_start:
            self._limited_at = now
            return self._next_start - now
        gap = 1.0 / self.rate
        self._next_start = max(self._next_start, now - gap) + gap  # one that is late may be caught up with, no more
        return 0.0

    def suspect(self, good: int, worked: float) -> None:
        """The host asks for a pause; whether it limits its pace, what else comes of the incident shows.

        Of late ``good`` answers came, at the pace that ``worked``.
        """
        if not self.refused:
            self.good, self._worked = good, worked
        self.refused += 1

    def slow_down(self, now: float, worked: float, *, is_open: bool) -> None:
        """An incident: fall below the pace that ``worked`` (0: it is not known)."""
        if self.rate != inf:
            worked = _RESUMED * self.rate
            if is_open and now - self.resumed >= 1.0:
                worked = min(self.rate, self.answered / (now - self.resumed))
        self._keep_below(worked)

    def resume(self, now: float) -> None:
        """The pause is over, and its probe answered."""
        if self.rate == inf and self.refused > max(1.0, tolerated(self.good)):
            self._keep_below(self._worked)
        self.refused = self.answered = 0
        self.resumed = self._next_start = now

    def grow(self, now: float) -> None:
        """A good answer came."""
        self.answered += 1
        if self.rate < self._ceiling:
            self.rate = min(self.rate + _QUICK, self._ceiling)
        elif now - self._limited_at < 1.0:  # what is not used up is no reason to have more
            self.rate = self._ceiling = self.rate + _SLOW * (1 + ((now - self.resumed) / _BOLDER) ** 2)

    def release(self) -> None:
        """It turns out to have shown no limit: let it rise quickly."""
        self._ceiling = inf

    def take_over(self, learned: float | None) -> None:
        """Begin where another process is, if nothing was learned here."""
        if self.rate == inf:
            self.rate, self._ceiling = learned or _FIRST, learned or inf

    def _keep_below(self, worked: float) -> None:
        if worked:
            self._ceiling = max(_LOWEST, _KEPT * worked)
            self.rate = max(_LOWEST, _RESUMED * self._ceiling)
        elif self.rate == inf:
            self.rate = _FIRST


def is_frequent(throttled: int, good: int) -> bool:
    """Are so many throttled answers beside so many good ones more than those about single URLs?"""
    return throttled > _TOLERATED * good


def tolerated(good: int) -> float:
    """Return how many throttled answers beside so many good ones may be about single URLs, and chance (two sigma)."""
    expected = _TOLERATED * good
    return expected + 2.0 * sqrt(expected)
