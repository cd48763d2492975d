"""A job over time: what began and ended in each bin, with as many bins as a chart can show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from producer.job.tally import Histogram

_MOST_BINS = 240
_NARROWEST = 1 / 4  # seconds; in a narrower one, a few URLs that end together would look like a high rate


@dataclass(slots=True)
class Flow:
    """What began less what ended in one bin; ``offsets`` is the same sum of their seconds from its beginning."""

    change: float = 0.0
    offsets: float = 0.0

    def add(self, amount: float, offset: float) -> None:
        self.change += amount
        self.offsets += amount * offset


@dataclass(slots=True)
class Bin:
    """What happened in one bin; ``totals`` are the durations in seconds of the URLs that ended in it."""

    stored: int = 0
    unstored: int = 0
    bytes: int = 0  # of bodies that came within this one bin
    arriving: Flow = field(default_factory=Flow)  # bytes per second of bodies that took longer
    under_way: Flow = field(default_factory=Flow)  # URLs
    totals: Histogram = field(default_factory=Histogram)

    def merge(self, other: Bin, later: float) -> None:
        """Add a bin that begins ``later`` seconds after this one."""
        self.stored += other.stored
        self.unstored += other.unstored
        self.bytes += other.bytes
        for own, theirs in ((self.arriving, other.arriving), (self.under_way, other.under_way)):
            own.offsets += theirs.offsets + later * theirs.change
            own.change += theirs.change
        for bucket, number in other.totals.buckets.items():
            self.totals.buckets[bucket] = self.totals.buckets.get(bucket, 0) + number


class Timeline:
    """Bins of equal width, in seconds; the width doubles whenever there would be too many. Rows come in any order."""

    def __init__(self) -> None:
        self.width = _NARROWEST
        self._bins: dict[int, Bin] = {}
        self._lowest = self._highest = 0

    def add(self, started: float, seconds: float, size: int, *, transfer: float, is_stored: bool) -> None:
        """Add a URL whose first request went out at ``started`` (Unix time).

        It took ``seconds``, and its body came during the last ``transfer`` of them.
        """
        end = started + seconds
        self._at(started).under_way.add(1, started % self.width)
        ended = self._at(end)
        ended.under_way.add(-1, end % self.width)
        ended.stored += is_stored
        ended.unstored += not is_stored
        ended.totals.add(seconds)
        begin = max(started, end - transfer)
        if begin // self.width == end // self.width:
            ended.bytes += size
        else:
            rate = size / (end - begin)
            self._at(begin).arriving.add(rate, begin % self.width)
            ended.arriving.add(-rate, end % self.width)

    def columns(self) -> dict[str, list[float | None]]:
        """Return what a chart shows, a value per bin: rates per second, percentiles in seconds, URLs under way."""
        bins = [self._bins.get(index, Bin()) for index in self._range()]
        arriving = self._levels([each.arriving for each in bins])
        return {
            "time": [index * self.width for index in self._range()],
            "stored": self._rates(bins, lambda each: each.stored),
            "unstored": self._rates(bins, lambda each: each.unstored),
            "bytes": [each.bytes / self.width + rate for each, rate in zip(bins, arriving, strict=True)],
            "under_way": [*self._levels([each.under_way for each in bins])],
            **{f"p{share}": [each.totals.percentile(share / 100) for each in bins] for share in (50, 95, 99)},
        }

    def _range(self) -> range:
        return range(self._lowest, self._highest + 1) if self._bins else range(0)

    def _rates(self, bins: list[Bin], of: Callable[[Bin], int]) -> list[float | None]:
        return [of(each) / self.width for each in bins]

    def _levels(self, flows: list[Flow]) -> list[float]:
        """Return how much there was in each bin on average: what was there for half of a bin counts half."""
        levels, before = list[float](), 0.0
        for flow in flows:
            levels.append(max(0.0, before + flow.change - flow.offsets / self.width))  # never -1e-16 of rounding
            before += flow.change
        return levels

    def _at(self, time: float) -> Bin:
        index = int(time // self.width)
        found = self._bins.get(index)
        if found is not None:
            return found
        self._lowest = min(self._lowest, index) if self._bins else index
        self._highest = max(self._highest, index) if self._bins else index
        self._bins[index] = Bin()
        while self._highest - self._lowest >= _MOST_BINS:
            self._double()
        return self._bins[int(time // self.width)]

    def _double(self) -> None:
        half, self.width = self.width, self.width * 2
        self._lowest //= 2
        self._highest //= 2
        narrow, self._bins = self._bins, {}
        for index, each in narrow.items():
            self._bins.setdefault(index // 2, Bin()).merge(each, half * (index % 2))
