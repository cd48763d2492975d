"""Watches another command's job: by the ledger, the workers' snapshots, and the journal if there is one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contract.ledger.values import JobRecord
from producer.cluster.client import UNREACHABLE, Cluster
from producer.job.control import resume_command
from producer.job.live_progress import LiveProgress
from producer.job.observer import Observer, Seen
from producer.job.status import JobStatus
from producer.job.tally import Tally
from producer.storage.last_job import read_facts

_ASKED_EVERY = 2.0  # seconds between two queries of the job's record
_SNAPSHOT_WITHIN = 1.1  # seconds within which every longer batch publishes a snapshot


class JobWatch:
    """Read-only. ``journal`` is the folder with the job's journal, if it is here; it knows more than the ledger."""

    def __init__(self, cluster: Cluster, record: JobRecord, *, journal: Path | None, is_own: bool) -> None:
        self.record = record
        self.is_own = is_own  # the server is that of a run, and ends with it
        self.is_unreachable = False  # the cluster did not answer when it was asked last
        self._cluster = cluster
        self._journal = journal
        self._totals: Mapping[str, int] | None = None
        self._live = LiveProgress(Tally())
        self._channel = cluster.channel(record.job, self._live.add_snapshot)
        self._redis = ""
        self._asked = time.monotonic()
        self._observer = Observer(
            record.job,
            ledger=cluster.ledger,
            health=cluster.health,
            live=self._live,
            is_own=is_own,
            resumed_by=resume_command(record.job, journal.parent if journal is not None and is_own else None),
            every=_ASKED_EVERY,
            age=max(0.0, time.time() - record.created),
        )
        self._update(record)

    def begin(self) -> None:
        """Listen for snapshots for a moment, if there can be any."""
        self._observer.ask(self._seen())
        if self.record.is_finished or not self.record.running:
            return
        self._channel.subscribe()
        self._listen(_SNAPSHOT_WITHIN)
        self._look()

    def follow(self, seconds: float) -> None:
        """Watch for this many seconds; while the cluster is unreachable, the last state is kept."""
        if not self._channel.is_subscribed:
            self._channel.subscribe()
        self._listen(seconds)
        self._look()

    def status(self) -> JobStatus:
        return self._observer.status()

    def close(self) -> None:
        self._channel.close()

    def _listen(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._channel.wait(left)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._asked >= _ASKED_EVERY:
            self._asked = now
            try:
                self._ask()
                self.is_unreachable = False
            except UNREACHABLE:
                self.is_unreachable = True
        self._observer.look(self._seen())
        if self._observer.batches is not None:
            held = {batch for has in self._observer.batches.held.values() for batch in has.batches}
            self._live.keep_only(held)

    def _ask(self) -> None:
        record = self._cluster.ledger.job(self.record.job)
        if record is not None:
            self._update(record)
        if not self.record.is_sealed:
            memory = self._cluster.ledger.memory()
            self._redis = memory.fullness if memory.is_full else ""

    def _seen(self) -> Seen:
        return Seen(record=self.record, totals=self._totals, redis=self._redis)

    def _update(self, record: JobRecord) -> None:
        self.record = record
        facts = read_facts(self._journal) if self._journal is not None else None
        tally = _tally_of(record, facts)
        self._live.tally = tally
        self._totals = _totals_of(record, facts)


def _tally_of(record: JobRecord, facts: Mapping[str, Any] | None) -> Tally:
    """Return what is known about the outcomes; more, if the job has a journal."""
    if facts is not None and facts.get("job") == record.job and facts.get("tally"):
        return Tally.from_record(facts["tally"], facts.get("times"))
    tally = Tally()
    tally.counts.update({ending: record.counts[ending] for ending in tally.counts})
    tally.errors = dict(record.errors)
    tally.fetched = record.counts["bytes"]
    return tally


def _totals_of(record: JobRecord, facts: Mapping[str, Any] | None) -> Mapping[str, int] | None:
    if record.totals is not None:
        return record.totals
    if facts is not None and facts.get("job") == record.job and "urls" in facts:
        return {name: int(facts.get(name, 0)) for name in ("lines", "urls", "refused", "duplicates")}
    return None
