"""Sums up rows in one pass and in constant memory."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from contract.records.outcomes import ENDINGS, Ending
from producer.job.tally import Histogram
from producer.job_report.rows import PHASES, Row
from producer.job_report.timeline import Timeline

_MOST_HOSTS = 10_000
_MOST_NAMES = 500  # workers, classes of errors, statuses of one: more than any job has
_MOST_EXAMPLES = 3
_SLOWEST = 30


@dataclass(slots=True)
class HostFigures:
    """What one host cost. ``seconds`` is the sum of its URLs' own times."""

    name: str
    urls: int = 0
    unstored: int = 0
    bytes: int = 0
    seconds: float = 0.0
    longest: float = 0.0


@dataclass(frozen=True, slots=True)
class Example:
    """A URL without its text: its host, the md5 by which its row is found, and what the row says."""

    host: str
    name: str
    detail: str


@dataclass(slots=True)
class ErrorFigures:
    """How often an error class occurred, with which statuses, and its first example."""

    count: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)


@dataclass(frozen=True, slots=True, order=True)
class Slow:
    """A URL that took long. ``phases`` are those of its last attempt, ``before`` the time before it; seconds."""

    total: float
    row: int  # breaks ties
    host: str
    name: str
    phases: Sequence[float]
    before: float
    attempts: int
    ending: str


class Figures:
    """Adds up rows. ``first`` and ``last`` are the Unix times of the first request and the last end, 0 without any."""

    def __init__(self) -> None:
        self.endings: dict[str, int] = dict.fromkeys(ENDINGS, 0)
        self.errors: dict[str, ErrorFigures] = {}
        self.phases = {name: Histogram() for name in ("queued", *PHASES, "total")}
        self.timeline = Timeline()
        self.workers: Counter[str] = Counter()
        self.unreadable = 0  # lines
        self.bytes = 0
        self.fetched = 0  # URLs for which a request was sent
        self.retried = 0  # URLs
        self.requests = 0.0  # seconds: the sum of all attempts
        self.first = self.last = 0.0
        self.forgotten_hosts = 0
        self._hosts: dict[str, HostFigures] = {}
        self._slowest: list[Slow] = []

    @property
    def rows(self) -> int:
        return sum(self.endings.values())

    @property
    def wall(self) -> float:
        """Seconds from the first request to the last end."""
        return self.last - self.first

    def add(self, rows: Iterable[Row | None]) -> None:
        for row in rows:
            if row is None:
                self.unreadable += 1
                continue
            self.endings[row.outcome] += 1
            if row.error is not None:
                self._add_error(row, row.error)
            if row.started is not None and row.outcome is not Ending.KEPT:
                self._add_fetched(row, row.started.timestamp())

    def hosts(self, most: int) -> Sequence[HostFigures]:
        """Return the hosts that cost most: by URLs that were not stored, then by time."""
        return heapq.nlargest(most, self._hosts.values(), key=lambda host: (host.unstored, host.seconds))

    @property
    def host_count(self) -> int:
        return len(self._hosts) + self.forgotten_hosts

    def slowest(self) -> Sequence[Slow]:
        return sorted(self._slowest, reverse=True)

    def errors_by_count(self) -> Mapping[str, ErrorFigures]:
        return dict(sorted(self.errors.items(), key=lambda item: (-item[1].count, item[0])))

    # ------------------------------------------------------------------ one row

    def _add_error(self, row: Row, error: str) -> None:
        if error not in self.errors and len(self.errors) >= _MOST_NAMES:
            return
        figures = self.errors.setdefault(error, ErrorFigures())
        figures.count += 1
        if row.http_status is not None and len(figures.statuses) < _MOST_NAMES:
            figures.statuses[row.http_status] += 1
        if len(figures.examples) < _MOST_EXAMPLES:
            figures.examples.append(Example(row.host, row.name or "", row.detail or ""))

    def _add_fetched(self, row: Row, started: float) -> None:
        timing = row.timing
        ended = started + timing.total
        self.fetched += 1
        self.bytes += row.bytes or 0
        self.retried += len(row.attempts) > 1
        self.requests += sum([attempt.seconds for attempt in row.attempts])
        self.first = min(self.first or started, started)
        self.last = max(self.last, ended)
        for name, histogram in self.phases.items():
            histogram.add(getattr(timing, name))
        self.timeline.add(started, timing.total, row.bytes or 0, transfer=timing.transfer, is_stored=row.is_stored)
        if row.worker is not None and (row.worker in self.workers or len(self.workers) < _MOST_NAMES):
            self.workers[row.worker] += 1
        host = row.host
        self._add_host(host, row)
        if len(self._slowest) < _SLOWEST or timing.total > self._slowest[0].total:
            self._add_slow(host, row)

    def _add_host(self, name: str, row: Row) -> None:
        host = self._hosts.get(name)
        if host is None:
            if len(self._hosts) >= _MOST_HOSTS:
                self._forget_hosts()
            host = self._hosts[name] = HostFigures(name)
        host.urls += 1
        host.unstored += not row.is_stored
        host.bytes += row.bytes or 0
        host.seconds += row.timing.total
        host.longest = max(host.longest, row.timing.total)

    def _forget_hosts(self) -> None:
        """Forget some hosts: of very many, those that cost most are kept."""
        kept = self.hosts(_MOST_HOSTS // 2)
        self.forgotten_hosts += len(self._hosts) - len(kept)
        self._hosts = {host.name: host for host in kept}

    def _add_slow(self, host: str, row: Row) -> None:
        phases = [getattr(row.timing, name) for name in PHASES]
        before = max(0.0, row.timing.total - sum(phases))
        ending = row.error or row.outcome
        slow = Slow(row.timing.total, -self.rows, host, row.name or "", phases, before, len(row.attempts), ending)
        (heapq.heappush if len(self._slowest) < _SLOWEST else heapq.heappushpop)(self._slowest, slow)
