"""What a job's rows add up to, in flat memory: counts, sizes, how long things took, which hosts were slow."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contract.records import wire

ENDINGS = ("ok", "kept", "failed", "refused")

_STEPS = 32  # histogram buckets per doubling: a percentile is right within 1.1 %
_MOST_HOSTS = 500

# What is counted of a row, found in its text: a fifth of the time it takes to read the row as JSON. Quotes within
# strings are escaped, so none of these keys can be part of one.
_COUNTED = re.compile(
    r'\{"url":"(?:[^/"\\]*//([^/"\\]*))?.*?"outcome":"([a-z]+)","error":(?:null|"([^"]*)").*?,"bytes":(?:null|(\d+)),'
    r'.*"ttfb":([0-9.e+-]+),"transfer":[0-9.e+-]+,"total":([0-9.e+-]+),'
)


class Histogram:
    """Seconds in buckets whose width grows with the value; exact enough for percentiles, whatever their number."""

    def __init__(self, buckets: Mapping[int, int] | None = None) -> None:
        self.buckets: dict[int, int] = dict(buckets or {})

    def add(self, seconds: float) -> None:
        bucket = int(math.log2(seconds) * _STEPS // 1) if seconds > 0 else -1000
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def percentile(self, share: float) -> float | None:
        """Return the value that this share (0 to 1) of all values do not exceed; None without values."""
        left = math.ceil(share * sum(self.buckets.values()))
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                return 0.0 if bucket == -1000 else float(2.0 ** ((bucket + 0.5) / _STEPS))
        return None


@dataclass(slots=True)
class Host:
    """What was fetched from one host. ``seconds`` adds up the URLs' own times."""

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
        self.fetched = 0  # bytes of bodies stored by this job
        self.kept = 0  # bytes of bodies that were there already
        self.busy = 0.0  # seconds, all URLs' own times added up
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
    def elapsed(self) -> float:
        """Seconds from the first batch's start to the last one's end, without the time nobody ran the job."""
        return self.worked + max(0.0, self.finished - self.started)

    def add_batch(self, *, started: float, finished: float, busy: float, worker: str, urls: int) -> None:
        """Count one batch that a worker ran."""
        self.batches += 1
        self.busy += busy
        self.started = min(self.started or started, started)
        self.finished = max(self.finished, finished)
        if worker in self.workers or len(self.workers) < _MOST_HOSTS:
            self.workers[worker] = self.workers.get(worker, 0) + urls

    def add_rows(self, rows: Iterable[str]) -> None:
        """Count manifest rows, given as JSON text."""
        counts, errors, search = self.counts, self.errors, _COUNTED.match
        add_ttfb, add_total, add_host = self.ttfb.add, self.total.add, self._add_host
        for row in rows:
            found = search(row)
            host, ending, error, size, ttfb, total = found.groups() if found else _read_row(row)
            counts[ending] += 1
            if ending == "ok":
                seconds = float(total)
                self.fetched += int(size or 0)
                add_ttfb(float(ttfb))
                add_total(seconds)
                add_host(host, seconds, 0)
            elif ending == "kept":
                self.kept += int(size or 0)
            else:
                errors[error or "unknown"] = errors.get(error or "unknown", 0) + 1
                if ending == "failed":
                    add_host(host, float(total), 1)

    def slowest_hosts(self, most: int) -> Sequence[Host]:
        """Return the hosts whose URLs took longest on average."""
        return sorted(self._hosts.values(), key=lambda host: host.mean, reverse=True)[:most]

    def begin_span(self) -> None:
        """Leave out of ``elapsed`` the time until the next batch: nobody worked on the job."""
        self.worked, self.started, self.finished = self.elapsed, 0.0, 0.0

    def _add_host(self, name: str | None, seconds: float, failed: int) -> None:
        name = (name or "?").lower()
        host = self._hosts.get(name)
        if host is None:
            if len(self._hosts) >= _MOST_HOSTS:
                self._drop_quickest()
            host = self._hosts[name] = Host(name)
        host.urls += 1
        host.seconds += seconds
        host.failed += failed

    def _drop_quickest(self) -> None:
        """Make room: of many hosts, the slow ones are worth remembering."""
        kept = sorted(self._hosts.values(), key=lambda host: host.mean, reverse=True)[: _MOST_HOSTS // 2]
        self._hosts = {host.name: host for host in kept}

    # ------------------------------------------------------------------ kept in the journal

    def to_record(self) -> dict[str, Any]:
        return {
            "counts": self.counts,
            "errors": self.errors,
            "sums": [self.fetched, self.kept, self.busy, self.worked, self.started, self.finished, self.batches],
            "workers": self.workers,
            "ttfb": list(self.ttfb.buckets.items()),
            "total": list(self.total.buckets.items()),
            "hosts": [[host.name, host.urls, host.seconds, host.failed] for host in self.slowest_hosts(20)],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Tally:
        tally = cls()
        tally.counts.update(record["counts"])
        tally.errors = dict(record["errors"])
        tally.fetched, tally.kept, tally.busy, tally.worked, tally.started, tally.finished, tally.batches = record[
            "sums"
        ]
        tally.workers = dict(record["workers"])
        tally.ttfb = Histogram({int(bucket): count for bucket, count in record["ttfb"]})
        tally.total = Histogram({int(bucket): count for bucket, count in record["total"]})
        tally._hosts = {name: Host(name, urls, seconds, failed) for name, urls, seconds, failed in record["hosts"]}
        return tally


def _read_row(text: str) -> tuple[str | None, str, str | None, str, str, str]:
    """Read what is counted of a row that another program wrote, or wrote differently."""
    row = wire.from_json(text)
    timing = row.get("timing") or {}
    url = str(row["url"])
    host = url.split("/", 3)[2] if url.count("/") > 1 else None
    numbers = (str(row.get("bytes") or 0), str(timing.get("ttfb", 0.0)), str(timing.get("total", 0.0)))
    return (host, str(row["outcome"]), row.get("error"), *numbers)
