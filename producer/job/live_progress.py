"""What people see of a job: the outcomes collected so far, and those that its open batches already have."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

from contract.errors import MessageError
from contract.records.snapshots import ProgressSnapshot
from producer.job.tally import Tally

_BELIEVED_FOR = 10.0  # seconds: a worker silent for longer is gone, with the outcomes it had
_MOST_OVER = 1_000  # closed batches remembered, because a snapshot may arrive late


class LiveProgress:
    """Keeps the tally, and the last snapshot of every open batch."""

    def __init__(self, tally: Tally, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.tally = tally
        self._clock = clock
        self._seen: dict[str, tuple[float, ProgressSnapshot]] = {}
        self._over: dict[str, None] = {}  # oldest first

    def add_snapshot(self, text: bytes) -> None:
        """Take a worker's snapshot; one that cannot be read is from another version, and ignored."""
        try:
            snapshot = ProgressSnapshot.from_wire(text)
        except MessageError:
            return
        if snapshot.batch not in self._over:
            self._seen[snapshot.batch] = (self._clock(), snapshot)

    def end(self, batches: Iterable[str]) -> None:
        """The outcomes of these batches are now in the tally."""
        for batch in batches:
            self._seen.pop(batch, None)
            self._over[batch] = None
        while len(self._over) > _MOST_OVER:
            del self._over[next(iter(self._over))]

    @property
    def counts(self) -> dict[str, int]:
        counts = dict(self.tally.counts)
        for snapshot in self._open():
            for ending, count in snapshot.counts.items():
                counts[ending] += count
        return counts

    @property
    def errors(self) -> Mapping[str, int]:
        """Outcomes by error class."""
        errors = Counter(self.tally.errors)
        for snapshot in self._open():
            errors.update(snapshot.errors)
        return errors

    @property
    def has_snapshots(self) -> bool:
        return bool(self._open())

    def sum(self, what: Literal["flying", "quiet", "unresolved", "retrying", "throttled"]) -> int:
        """Add up a field of the open batches' snapshots."""
        return sum(getattr(snapshot, what) for snapshot in self._open())

    @property
    def slow_hosts(self) -> Mapping[str, int]:
        """Quiet and unresolved URLs of open batches by host, the host with the most first."""
        hosts: Counter[str] = Counter()
        for snapshot in self._open():
            hosts.update(snapshot.hosts)
        return dict(hosts.most_common())

    @property
    def throttling(self) -> Mapping[str, float]:
        """Hosts that URLs of open batches wait for because they throttle, with the seconds until the next request."""
        left: dict[str, float] = {}
        for host, seconds in (item for snapshot in self._open() for item in snapshot.throttling.items()):
            left[host] = min(seconds, left.get(host, seconds))
        return left

    def rows_of(self, batch: str) -> int:
        """Return how many outcomes an open batch has, by its last snapshot."""
        seen = self._seen.get(batch)
        return sum(seen[1].counts.values()) if seen is not None else 0

    def keep_only(self, batches: Collection[str]) -> None:
        """Forget the snapshots of all other batches, if the ledger counts what is closed."""
        for batch in [batch for batch in self._seen if batch not in batches]:
            del self._seen[batch]

    @property
    def rows(self) -> int:
        return sum(self.counts.values())

    @property
    def fetched(self) -> int:
        """Bytes; those of open batches include partial bodies."""
        return self.tally.fetched + sum(snapshot.fetched for snapshot in self._open())

    def _open(self) -> list[ProgressSnapshot]:
        since = self._clock() - _BELIEVED_FOR
        for batch in [batch for batch, (at, _) in self._seen.items() if at < since]:
            del self._seen[batch]
        return [snapshot for _, snapshot in self._seen.values()]
