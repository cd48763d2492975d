"""The pace of requests to a throttling host: learned from its answers, and rising slowly.

Like TCP's congestion control: slow start up to the pace that worked, then additive increase, and a
multiplicative decrease per incident (RFC 5681). Times are the clock's seconds, paces starts per second.
"""

from __future__ import annotations

from math import inf

from worker.engine.recent_answers import tolerated

_FIRST = 2.0  # of a host without good answers before
_LOWEST = 0.05
_KEPT, _RESUMED = 0.9, 0.7  # of the pace that worked: the end of quick growth, and its start
_QUICK = 0.5  # starts/s added per good answer: growth by 1.6 per second
_SLOW = 0.03  # of the pace, added per second
_BOLDER = 10.0  # seconds until growth doubles; it rises with their square


class Pace:
    """The pace of requests to one host; ``rate`` is infinite while the host has shown no limit.

    ``answered`` counts good answers since it was ``resumed``, ``refused`` throttled ones since it asked for a pause.
    """

    __slots__ = ("_ceiling", "_limited_at", "_next_start", "_worked", "answered", "good", "rate", "refused", "resumed")

    def __init__(self, now: float) -> None:
        self.rate = self._ceiling = inf
        self.resumed = now
        self.answered = 0
        self.refused = self.good = 0  # ``good`` counts good answers to requests in flight, until the probe's
        self._worked = 0.0  # the pace of those; 0: unknown
        self._next_start = -inf
        self._limited_at = -inf

    @property
    def learned(self) -> float | None:
        return None if self._ceiling == inf else self.rate

    def reserve(self, now: float) -> float:
        """Reserve a start: 0, or the seconds after which to ask again."""
        if now < self._next_start:
            self._limited_at = now
            return self._next_start - now
        gap = 1.0 / self.rate
        self._next_start = max(self._next_start, now - gap) + gap  # at most one missed start is made up for
        return 0.0

    def suspect(self, good: int, worked: float) -> None:
        """Note that the host asked for a pause; later answers show whether it limits the pace.

        Lately ``good`` answers came, at the pace that ``worked``.
        """
        if not self.refused:
            self.good, self._worked = good, worked
        self.refused += 1

    def slow_down(self, now: float, worked: float, *, is_open: bool) -> None:
        """Fall below the pace that ``worked`` (0: unknown), after an incident."""
        if self.rate != inf:
            worked = _RESUMED * self.rate
            if is_open and now - self.resumed >= 1.0:
                worked = min(self.rate, self.answered / (now - self.resumed))
        self._keep_below(worked)

    def resume(self, now: float) -> None:
        """Continue after a pause whose probe was answered."""
        if self.rate == inf and self.refused > max(1.0, tolerated(self.good)):
            self._keep_below(self._worked)
        self.refused = self.answered = 0
        self.resumed = self._next_start = now

    def grow(self, now: float) -> None:
        """Note a good answer."""
        self.answered += 1
        if self.rate < self._ceiling:
            self.rate = min(self.rate + _QUICK, self._ceiling)
        elif now - self._limited_at < 1.0:  # an unused pace is not raised
            self.rate = self._ceiling = self.rate + _SLOW * (1 + ((now - self.resumed) / _BOLDER) ** 2)

    def release(self) -> None:
        """Let the pace rise quickly, because the host turned out to have no limit."""
        self._ceiling = inf

    def take_over(self, learned: float | None) -> None:
        """Start with another process's pace, if none was learned here."""
        if self.rate == inf:
            self.rate, self._ceiling = learned or _FIRST, learned or inf

    def _keep_below(self, worked: float) -> None:
        if worked:
            self._ceiling = max(_LOWEST, _KEPT * worked)
            self.rate = max(_LOWEST, _RESUMED * self._ceiling)
        elif self.rate == inf:
            self.rate = _FIRST
