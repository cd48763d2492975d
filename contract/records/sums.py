"""What outcomes add up to: counted once, by whoever has them decoded, and sent with the report of their batch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import floor, log2
from typing import Protocol

from msgspec import Struct

from contract.records.outcomes import Ending, ErrorClass

STEPS = 32  #: buckets per doubling of a duration: percentiles are accurate to 1.1 %
NOTHING = -1000  #: the bucket for a duration of zero
UNKNOWN = "unknown"  #: counts as the error class of a row that has none

_OK, _KEPT = Ending.OK, Ending.KEPT  # looking up an enum's member is slow


class Times(Protocol):
    """The times of a URL that are counted, in seconds."""

    @property
    def ttfb(self) -> float: ...

    @property
    def total(self) -> float: ...


class Counted(Protocol):
    """The part of an outcome that is counted."""

    @property
    def url(self) -> str: ...

    @property
    def ending(self) -> Ending: ...

    @property
    def error(self) -> str | None: ...

    @property
    def bytes(self) -> int | None: ...

    @property
    def timing(self) -> Times: ...


class Sums(Struct, frozen=True):
    """Outcomes by ending and by error class, bytes of bodies that were fetched and kept, and how long URLs took.

    ``ttfb`` and ``total`` count fetched URLs by the buckets of ``in_buckets``. ``hosts`` has for each host how many of
    its URLs were tried, the sum of their times in seconds, and how many failed.
    """

    counts: Mapping[str, int]
    errors: Mapping[str, int]
    fetched: int
    kept: int
    ttfb: Mapping[int, int]
    total: Mapping[int, int]
    hosts: Mapping[str, tuple[int, float, int]]

    @classmethod
    def of(cls, outcomes: Sequence[Counted]) -> Sums:
        good = [outcome for outcome in outcomes if outcome.ending is _OK]
        timings = [outcome.timing for outcome in good]
        rest = [outcome for outcome in outcomes if outcome.ending is not _OK]
        return cls(
            counts=dict(Counter([str(outcome.ending) for outcome in outcomes])),
            errors=dict(Counter([str(outcome.error or UNKNOWN) for outcome in rest if outcome.ending is not _KEPT])),
            fetched=sum([outcome.bytes or 0 for outcome in good]),
            kept=sum([outcome.bytes or 0 for outcome in rest if outcome.ending is _KEPT]),
            ttfb=in_buckets([timing.ttfb for timing in timings]),
            total=in_buckets([timing.total for timing in timings]),
            hosts=_by_host([*good, *filter(_was_tried, rest)]),
        )

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


def in_buckets(durations: Iterable[float]) -> dict[int, int]:
    """Count durations (seconds) by buckets, whose width grows with the value; NOTHING is the bucket of zero."""
    ordered = sorted(durations)
    start = bisect_right(ordered, 0.0)
    found = {NOTHING: start} if start else {}
    while start < len(ordered):  # a step for each bucket: a logarithm for each duration takes four times as long
        bucket = floor(log2(ordered[start]) * STEPS)
        end = bisect_left(ordered, 2.0 ** ((bucket + 1) / STEPS), start + 1)
        found[bucket] = found.get(bucket, 0) + end - start
        start = end
    return found


def host_of(url: str) -> str:
    """Return the host and port of a URL, as they are shown; "?" if it has none."""
    parts = url.split("/", 3)
    return parts[2].lower() if len(parts) > 2 and parts[2] else "?"


def _by_host(tried: Iterable[Counted]) -> dict[str, tuple[int, float, int]]:
    times: dict[str, list[float]] = defaultdict(list)
    failed: Counter[str] = Counter()
    for outcome in tried:
        host = host_of(outcome.url)
        times[host].append(outcome.timing.total)
        if outcome.ending is not _OK:
            failed[host] += 1
    return {host: (len(took), sum(took), failed[host]) for host, took in times.items()}


def _was_tried(outcome: Counted) -> bool:
    return outcome.ending is Ending.FAILED and outcome.error != ErrorClass.CANCELLED
