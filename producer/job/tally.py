"""Sums up a job's rows in constant memory: counts, sizes, durations, slow hosts."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import msgspec
from msgspec import Struct

from contract.records import wire
from contract.records.outcomes import ENDINGS, Ending, ErrorClass
from contract.records.sums import NOTHING, STEPS, UNKNOWN, Sums, host_of, in_buckets

_MOST_HOSTS = 500


class _Phases(Struct, frozen=True, gc=False):
    ttfb: float = 0.0
    total: float = 0.0


class _Counted(Struct, gc=False, rename={"ending": "outcome"}):
    """The fields of a row that are counted; the others are skipped undecoded."""

    url: str
    ending: Ending
    name: str | None = None
    error: str | None = None
    detail: str | None = None
    bytes: int | None = None
    timing: _Phases = _Phases()


_STORED = (Ending.OK, Ending.KEPT)
_ROW = msgspec.json.Decoder(_Counted)


class Histogram:
    """Durations in buckets whose width grows with the value; accurate enough for percentiles of any number."""

    def __init__(self, buckets: Mapping[int, int] | None = None) -> None:
        self.buckets: dict[int, int] = dict(buckets or {})

    def add(self, seconds: float) -> None:
        self.add_all((seconds,))

    def add_all(self, values: Iterable[float]) -> None:
        self.add_buckets(in_buckets(values))

    def add_buckets(self, found: Mapping[int, int]) -> None:
        """Add values that ``in_buckets`` has counted."""
        for bucket, count in found.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count

    def percentile(self, fraction: float) -> float | None:
        """Return the value that this fraction (0 to 1) of all values does not exceed; None without values."""
        left = ceil(fraction * sum(self.buckets.values()))
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                return 0.0 if bucket == NOTHING else float(2.0 ** ((bucket + 0.5) / STEPS))
        return None


@dataclass(slots=True)
class Host:
    """What was fetched from one host. ``seconds`` is the sum of its URLs' own times."""

    name: str
    urls: int = 0
    seconds: float = 0.0
    failed: int = 0

    @property
    def mean(self) -> float:
        return self.seconds / self.urls if self.urls else 0.0


class Tally:
    """Adds up rows. ``started`` and ``finished`` are Unix seconds of the first and last batch, 0 before any."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(ENDINGS, 0)
        self.errors: dict[str, int] = {}
        self.examples: dict[str, str] = {}  # the first of each error class: which URL or line, and what to do
        self.fetched = 0  # bytes of bodies stored by this job
        self.kept = 0  # bytes of bodies that were stored already
        self.busy = 0.0  # seconds: the sum of all URLs' own times
        self.worked = 0.0  # seconds of earlier spans
        self.started = 0.0
        self.finished = 0.0
        self.batches = 0
        self.workers: dict[str, int] = {}
        self.ttfb = Histogram()
        self.total = Histogram()
        self._hosts: dict[str, Host] = {}

    @property
    def rows(self) -> int:
        return sum(self.counts.values())

    @property
    def tried(self) -> int:
        """URLs that were fetched, or failed: not those that were cancelled."""
        return self.counts["ok"] + self.counts["failed"] - self.errors.get(ErrorClass.CANCELLED, 0)

    @property
    def elapsed(self) -> float:
        """Seconds from the first batch's start to the last one's end, excluding the time when the job was not run."""
        return self.worked + max(0.0, self.finished - self.started)

    def add_batch(self, *, started: float, finished: float, busy: float, worker: str, urls: int) -> None:
        """Add one batch that a worker ran."""
        self.batches += 1
        self.busy += busy
        self.started = min(self.started or started, started)
        self.finished = max(self.finished, finished)
        if worker in self.workers or len(self.workers) < _MOST_HOSTS:
            self.workers[worker] = self.workers.get(worker, 0) + urls

    def add(self, sums: Sums) -> None:
        """Add rows that were counted already."""
        for ending, count in sums.counts.items():
            self.counts[ending] += count
        for error, count in sums.errors.items():
            self.errors[error] = self.errors.get(error, 0) + count
        self.fetched += sums.fetched
        self.kept += sums.kept
        self._add_times(sums)

    def add_rows(self, rows: Iterable[bytes]) -> None:
        """Add manifest rows, given as JSON.

        Raises:
            MessageError: one is not a row.
        """
        read = _read(rows)
        self.add(Sums.of(read))
        for row in read:
            error = row.error or UNKNOWN
            if row.ending not in _STORED and error not in self.examples:
                self.examples[error] = _example(row)

    def lacks_example(self, sums: Sums) -> bool:
        """Must these rows be read, for the first example of an error class?"""
        return not sums.errors.keys() <= self.examples.keys()

    def add_times(self, rows: Sequence[bytes]) -> None:
        """Add the times of manifest rows that are counted already.

        Raises:
            MessageError: one is not a row.
        """
        self._add_times(Sums.of(_read(rows)))

    def _add_times(self, sums: Sums) -> None:
        self.ttfb.add_buckets(sums.ttfb)
        self.total.add_buckets(sums.total)
        for name, (urls, seconds, failed) in sums.hosts.items():
            self._add_host(name, urls, seconds, failed)

    def _add_host(self, name: str, urls: int, seconds: float, failed: int) -> None:
        host = self._hosts.get(name)
        if host is None:
            if len(self._hosts) >= _MOST_HOSTS:
                self._drop_quickest()
            host = self._hosts[name] = Host(name)
        host.urls += urls
        host.seconds += seconds
        host.failed += failed

    def slowest_hosts(self, most: int) -> Sequence[Host]:
        """Return the hosts whose URLs took longest on average."""
        return sorted(self._hosts.values(), key=lambda host: host.mean, reverse=True)[:most]

    def costliest_hosts(self, most: int) -> Sequence[Host]:
        """Return the hosts whose URLs took longest in total."""
        return heapq.nlargest(most, self._hosts.values(), key=lambda host: host.seconds)

    @property
    def known_hosts(self) -> int:
        """How many hosts are remembered? Not all, if there are very many."""
        return len(self._hosts)

    def begin_span(self) -> None:
        """Exclude the time until the next batch from ``elapsed``: the job was not run."""
        self.worked, self.started, self.finished = self.elapsed, 0.0, 0.0

    def _drop_quickest(self) -> None:
        """Forget some hosts: of very many, those that are slow or cost much are kept."""
        kept = [*self.slowest_hosts(_MOST_HOSTS // 2), *self.costliest_hosts(_MOST_HOSTS // 4)]
        self._hosts = {host.name: host for host in kept}

    # ------------------------------------------------------------------ kept in the journal

    def to_record(self) -> dict[str, Any]:
        """Return everything but the times."""
        return {
            "counts": self.counts,
            "errors": self.errors,
            "examples": self.examples,
            "sums": [self.fetched, self.kept, self.busy, self.worked, self.started, self.finished, self.batches],
            "workers": self.workers,
        }

    def times_record(self) -> dict[str, Any]:
        """Return how long URLs took: ten times as much as the rest, but rows can be read again for it."""
        return {
            "ttfb": list(self.ttfb.buckets.items()),
            "total": list(self.total.buckets.items()),
            "hosts": [[host.name, host.urls, host.seconds, host.failed] for host in self.slowest_hosts(20)],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], times: Mapping[str, Any] | None = None) -> Tally:
        """Read both records; without ``times``, an earlier version wrote the other, and they are in it."""
        times = record if times is None else times
        tally = cls()
        tally.counts.update(record["counts"])
        tally.errors = dict(record["errors"])
        tally.examples = dict(record.get("examples", {}))
        tally.fetched, tally.kept, tally.busy, tally.worked, tally.started, tally.finished, tally.batches = record[
            "sums"
        ]
        tally.workers = dict(record["workers"])
        tally.ttfb = Histogram({int(bucket): count for bucket, count in times["ttfb"]})
        tally.total = Histogram({int(bucket): count for bucket, count in times["total"]})
        tally._hosts = {name: Host(name, urls, seconds, failed) for name, urls, seconds, failed in times["hosts"]}
        return tally


def _read(rows: Iterable[bytes]) -> list[_Counted]:
    try:
        return [_ROW.decode(text) for text in rows]
    except (msgspec.DecodeError, UnicodeError):
        return [wire.read(_ROW, text, "A row") for text in rows]


def _example(row: _Counted) -> str:
    """Say where and why. Refused lines have a number; of a URL only the host is shown: the rest may be secret."""
    detail = row.detail or "no detail is known"
    if row.error == ErrorClass.REFUSED_URL:
        return detail
    return f"{host_of(row.url)} ({row.name}): {detail}"
