"""What a person is shown of a job: the outcomes that are here, and those that its open batches have already."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

from contract.errors import MessageError
from contract.records.snapshots import ProgressSnapshot
from producer.job.tally import Tally

_BELIEVED_FOR = 10.0  # seconds: a worker that says nothing for so long is gone, and what it had with it
_MOST_OVER = 1_000  # batches remembered to be over: a snapshot of one may come late


class LiveProgress:
    """Keeps the tally, and the last snapshot of every batch that is open."""

    def __init__(self, tally: Tally, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.tally = tally
        self._clock = clock
        self._seen: dict[str, tuple[float, ProgressSnapshot]] = {}
        self._over: dict[str, None] = {}  # oldest first

    def take(self, text: bytes) -> None:
        """Take what a worker told; what cannot be read is of another version, and not worth a word."""
        try:
            snapshot = ProgressSnapshot.from_wire(text)
        except MessageError:
            return
        if snapshot.batch not in self._over:
            self._seen[snapshot.batch] = (self._clock(), snapshot)

    def end(self, batches: Iterable[str]) -> None:
        """These batches' outcomes are in the tally now."""
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

    def sum(self, what: Literal["flying", "quiet", "unresolved", "retrying"]) -> int:
        """Add up what open batches tell."""
        return sum(getattr(snapshot, what) for snapshot in self._open())

    @property
    def slow_hosts(self) -> Mapping[str, int]:
        """Quiet and unresolved URLs of open batches by host, the host with most first."""
        hosts: Counter[str] = Counter()
        for snapshot in self._open():
            hosts.update(snapshot.hosts)
        return dict(hosts.most_common())

    def rows_of(self, batch: str) -> int:
        """Return how many outcomes an open batch has, as far as it told."""
        seen = self._seen.get(batch)
        return sum(seen[1].counts.values()) if seen is not None else 0

    def keep_only(self, batches: Collection[str]) -> None:
        """Forget the snapshots of all batches but these, where what is closed is counted by the ledger."""
        for batch in [batch for batch in self._seen if batch not in batches]:
            del self._seen[batch]

    @property
    def rows(self) -> int:
        return sum(self.counts.values())

    @property
    def fetched(self) -> int:
        """Bytes; those of open batches include what came of bodies that broke off."""
        return self.tally.fetched + sum(snapshot.fetched for snapshot in self._open())

    def _open(self) -> list[ProgressSnapshot]:
        since = self._clock() - _BELIEVED_FOR
        for batch in [batch for batch, (at, _) in self._seen.items() if at < since]:
            del self._seen[batch]
        return [snapshot for _, snapshot in self._seen.values()]
