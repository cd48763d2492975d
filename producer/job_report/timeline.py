"""A job's course: what began and ended in each stretch of time, in as many stretches as a chart can show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from producer.job.tally import Histogram

_MOST_BINS = 240
_NARROWEST = 1 / 16  # seconds


@dataclass(slots=True)
class Bin:
    """What happened in one stretch of time; ``totals`` are the seconds of the URLs that ended in it."""

    began: int = 0
    stored: int = 0
    unstored: int = 0
    bytes: int = 0
    totals: Histogram = field(default_factory=Histogram)

    def take_in(self, other: Bin) -> None:
        self.began += other.began
        self.stored += other.stored
        self.unstored += other.unstored
        self.bytes += other.bytes
        for bucket, number in other.totals.buckets.items():
            self.totals.buckets[bucket] = self.totals.buckets.get(bucket, 0) + number


class Timeline:
    """Bins of equal width, in seconds; the width doubles whenever there would be too many. Rows come in any order."""

    def __init__(self) -> None:
        self.width = _NARROWEST
        self._bins: dict[int, Bin] = {}
        self._lowest = self._highest = 0

    def add(self, started: float, seconds: float, size: int, *, is_stored: bool) -> None:
        """Add a URL whose first request went out at ``started`` (Unix time)."""
        self._at(started).began += 1
        ended = self._at(started + seconds)
        ended.stored += is_stored
        ended.unstored += not is_stored
        ended.bytes += size
        ended.totals.add(seconds)

    def columns(self) -> dict[str, list[float | None]]:
        """Return what a chart shows, a value per bin: rates per second, percentiles in seconds, URLs under way."""
        bins = [self._bins.get(index, Bin()) for index in self._range()]
        under_way, level = 0, list[float | None]()
        for each in bins:
            under_way += each.began
            level.append(under_way)  # the most there can have been in this stretch
            under_way -= each.stored + each.unstored
        return {
            "time": [index * self.width for index in self._range()],
            "stored": self._rates(bins, lambda each: each.stored),
            "unstored": self._rates(bins, lambda each: each.unstored),
            "bytes": self._rates(bins, lambda each: each.bytes),
            "under_way": level,
            **{f"p{share}": [each.totals.percentile(share / 100) for each in bins] for share in (50, 95, 99)},
        }

    def _range(self) -> range:
        return range(self._lowest, self._highest + 1) if self._bins else range(0)

    def _rates(self, bins: list[Bin], of: Callable[[Bin], int]) -> list[float | None]:
        return [of(each) / self.width for each in bins]

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
        self.width *= 2
        self._lowest //= 2
        self._highest //= 2
        narrow, self._bins = self._bins, {}
        for index, each in narrow.items():
            self._bins.setdefault(index // 2, Bin()).take_in(each)
