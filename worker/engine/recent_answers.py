"""How hosts answered lately: tells throttling hosts from single URLs if no answer says when to retry."""

from __future__ import annotations

from math import inf, sqrt

PERIOD = 2.0  # seconds over which answers are counted
_SAMPLE = 20  # good answers from which a pace can be learned
_TOLERATED = 0.03  # of the good answers; so few throttled ones concern single URLs
_URLS, _WITHIN = 3, 10.0  # this many different URLs throttled within this many seconds concern the host
_MOST_KNOWN = 20_000  # hosts remembered for having answered, and for their throttled URLs


class Tally:
    """Counts events by host over the last two to four seconds."""

    def __init__(self) -> None:
        self.began = -inf
        self.now: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def counts(self, now: float) -> dict[str, int]:
        """Return the current counts by host, to be incremented."""
        if now - self.began >= PERIOD:
            self._before = self.now if now - self.began < 2 * PERIOD else {}
            self.began, self.now = now, {}
        return self.now

    def count(self, key: str, now: float) -> int:
        if now - self.began >= 2 * PERIOD:
            return 0
        return self.now.get(key, 0) + self._before.get(key, 0)

    def pace(self, key: str, now: float) -> float:
        """Return events per second; 0: too few to tell.

        Events of less than a second count as one second's.
        """
        count = self.count(key, now)
        span = now - self.began + (PERIOD if key in self._before else 0.0)
        return count / max(1.0, span) if count >= _SAMPLE else 0.0


class RecentAnswers:
    """The answers of all hosts; the caller counts the ``good`` ones, because most are."""

    def __init__(self) -> None:
        self.good = Tally()
        self._throttled = Tally()
        self._known: dict[str, None] = {}  # hosts that have answered well
        self._urls: dict[str, dict[str, float]] = {}  # by host: the last suspected URLs and when, the latest last

    def remember(self, key: str) -> None:
        """Note that a host has answered well."""
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = None

    def has_answered(self, key: str) -> bool:
        """Has the host ever answered well?"""
        return key in self._known

    def count_throttled(self, key: str, now: float) -> None:
        counts = self._throttled.counts(now)
        counts[key] = counts.get(key, 0) + 1

    def suspect(self, key: str, url: str, now: float) -> None:
        """Record a throttled URL, unless the host throttles no more often than single URLs and chance explain."""
        if self._throttled.count(key, now) <= tolerated(self.good.count(key, now)):
            return
        if len(self._urls) >= _MOST_KNOWN:
            self._urls.clear()
        urls = self._urls.setdefault(key, {})
        urls.pop(url, None)
        urls[url] = now
        if len(urls) > _URLS:
            del urls[next(iter(urls))]

    def is_frequent(self, key: str, now: float) -> bool:
        """Does the host throttle more often than single URLs explain?"""
        return self._throttled.count(key, now) > _TOLERATED * self.good.count(key, now)

    def point_at_host(self, key: str, now: float) -> bool:
        """Were several of its suspected URLs throttled lately?"""
        times = self._urls.get(key, {}).values()
        return len(times) == _URLS and now - next(iter(times)) <= _WITHIN


def tolerated(good: int) -> float:
    """Return how many throttled answers single URLs and chance (two sigma) explain."""
    expected = _TOLERATED * good
    return expected + 2.0 * sqrt(expected)
