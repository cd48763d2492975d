"""How fast a job goes, now and over the last minute, and the time left at that rate."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

_SAMPLED_EVERY = 1.0  # seconds
_KEPT = 61.0  # seconds of samples
_RATE_OVER = 10.0  # seconds over which a shown rate is measured
_LEFT_OVER = 30.0  # seconds over which the rate for the time left is measured
_BASIS_SECONDS, _BASIS_ROWS = 5.0, 20  # least basis for the time left: with less, it would be a guess


@dataclass(frozen=True, slots=True)
class Sample:
    """Totals at one moment: rows and bytes, rows by error class and by worker."""

    at: float  # seconds of a monotonic clock
    rows: int = 0
    fetched: int = 0
    errors: Mapping[str, int] | None = None
    workers: Mapping[str, int] | None = None


class Rates:
    """Keeps one sample per second of the last minute.

    Totals can shrink when a worker dies, but no rate is ever negative.
    """

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()
        self._changed = 0.0  # when the last rows came, or the first sample
        self._rows: int | None = None
        self.has_moved = False  # rows have come since the first sample

    def is_due(self, now: float) -> bool:
        return not self._samples or now - self._samples[-1].at >= _SAMPLED_EVERY

    def note(self, sample: Sample) -> None:
        """Record a sample; one recorded before it ``is_due`` only shows whether there are new rows."""
        if self._rows is None or sample.rows > self._rows:
            self.has_moved = self._rows is not None
            self._changed = sample.at
        self._rows = sample.rows
        if self.is_due(sample.at):
            self._samples.append(sample)
            while sample.at - self._samples[0].at > _KEPT:
                self._samples.popleft()

    def idle(self, now: float) -> float:
        """Return the seconds since the last rows came, or since the first sample."""
        return now - self._changed if self._samples else 0.0

    def now(self, sample: Sample) -> tuple[float, float] | None:
        """Return URLs/s and bytes/s over the ten seconds up to this sample; None if there is no earlier one."""
        then = self._before(sample.at - _RATE_OVER)
        if then is None or sample.at - then.at < _SAMPLED_EVERY / 2:
            return None
        since = sample.at - then.at
        return max(0, sample.rows - then.rows) / since, max(0, sample.fetched - then.fetched) / since

    def worker_rate(self, worker: str, sample: Sample) -> float | None:
        """Return a worker's URLs/s over the same time."""
        then = self._before(sample.at - _RATE_OVER)
        if then is None or then.workers is None or sample.workers is None or sample.at - then.at < _SAMPLED_EVERY / 2:
            return None
        return max(0, sample.workers.get(worker, 0) - then.workers.get(worker, 0)) / (sample.at - then.at)

    def lately(self, error: str, sample: Sample) -> int:
        """Return how many rows of this error class came in the last minute, or since the first sample."""
        first = self._samples[0] if self._samples else sample
        return max(0, (sample.errors or {}).get(error, 0) - (first.errors or {}).get(error, 0))

    def history(self, most: int) -> tuple[Sequence[float], Sequence[float]]:
        """Return URLs/s and bytes/s for each of the last seconds, the latest last."""
        urls: list[float] = []
        sizes: list[float] = []
        samples = list(self._samples)[-most - 1 :]
        for before, after in pairwise(samples):
            since = max(after.at - before.at, 1e-9)
            urls.append(max(0, after.rows - before.rows) / since)
            sizes.append(max(0, after.fetched - before.fetched) / since)
        return urls, sizes

    def left(self, rows: int, sample: Sample) -> float | None:
        """Return the seconds that this many more rows will take; None without a sufficient basis."""
        then = self._before(sample.at - _LEFT_OVER)
        if then is None:
            return None
        since, came = sample.at - then.at, sample.rows - then.rows
        if since < _BASIS_SECONDS or came < _BASIS_ROWS:
            return None
        return rows * since / came

    def _before(self, moment: float) -> Sample | None:
        """Return the latest sample at or before that time; if all are later, the first."""
        found = None
        for each in self._samples:
            if found is not None and each.at > moment:
                break
            found = each
        return found
