"""A batch that a runner holds: its claim, lease and run, and what is reported when it is closed."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from operator import itemgetter

from contract.ledger.values import Child, Claim
from contract.records.batches import pack_entries
from contract.records.outcomes import Ending, Outcome
from contract.records.reports import BatchReport
from contract.records.snapshots import ProgressSnapshot
from worker.batch.lease import Lease
from worker.engine.results import Leftover
from worker.engine.run import Run
from worker.events import HandedOff

_PART_PAUSE = 5.0  # seconds between two early closes of a batch, unless nothing but its stragglers is left
_SOON = 2.0  # seconds; leftovers due earlier are handed off now, to be parked with others of their host
_WORTH_A_CLOSE = 32  # outcomes that justify an early close before that

_SHOWN_HOSTS = 5  # in a snapshot

_GRACE = 300.0  # seconds after its deadlines until a batch counts as stuck

_A_PIECE = 4  # URLs that wait for one host; fewer share a piece with those of other hosts

_TOGETHER, _AT_LEAST = 1.25, 1.0  # leftovers due within this factor plus so many seconds are grouped


@dataclass(slots=True)
class HeldBatch:
    """``claim`` changes when the batch is closed early: its stragglers continue under the claim that replaces it."""

    claim: Claim
    lease: Lease
    run: Run
    started: float = field(default_factory=time.time)  # Unix seconds
    began: float = field(default_factory=time.monotonic)
    is_parted: bool = False
    is_halted: bool = False  # its job was paused or cancelled; transfers in flight drain

    def may_part(self, now: float) -> bool:
        """Is it worth closing the batch early, for its outcomes or for leftovers that are due?"""
        if self.lease.is_lost or not self.run.unfinished:
            return False
        outcomes = len(self.run.outcomes)
        if now - self.began >= _PART_PAUSE:
            return outcomes > 0 or self.is_due
        return outcomes >= _WORTH_A_CLOSE and (not self.is_parted or self.run.is_straggling)

    @property
    def is_due(self) -> bool:
        """Will one of its leftovers be due soon?"""
        return self.run.is_due(within=_SOON)

    @property
    def longest(self) -> float:
        """Seconds until it counts as stuck: the time for starting transfers, one transfer's deadline, and a margin."""
        return self.claim.policy.batch_seconds + self.claim.policy.timeout + _GRACE

    def continue_as(self, kept: Claim) -> None:
        self.claim, self.started, self.began, self.is_parted = kept, time.time(), time.monotonic(), True

    def report(
        self, worker: str, outcomes: Sequence[Outcome], handed_off: Sequence[str], *, busy: float
    ) -> BatchReport:
        claim, finished = self.claim, time.time()
        return BatchReport(
            job=claim.job,
            batch=claim.batch,
            worker=worker,
            pid=os.getpid(),
            queued=claim.queued,
            started=self.started,
            finished=finished,
            elapsed=finished - self.started,
            busy=busy,
            outcomes=outcomes,
            handed_off=handed_off,
        )

    def snapshot(self) -> ProgressSnapshot:
        seen = self.run.progress
        counts = {"ok": seen.ok, "kept": seen.kept, "failed": seen.failed, "refused": seen.refused}
        return ProgressSnapshot(
            self.claim.batch,
            counts,
            seen.bytes,
            errors={str(error): count for error, count in seen.errors.items()},
            flying=seen.waits.flying,
            quiet=seen.waits.quiet,
            unresolved=seen.waits.unresolved,
            hosts=dict(seen.waits.hosts.most_common(_SHOWN_HOSTS)),
            retrying=seen.waits.retrying,
            throttled=seen.waits.throttled,
            throttling=dict(nsmallest(_SHOWN_HOSTS, seen.waits.throttling.items(), key=itemgetter(1))),
        )


def children_of(leftovers: Sequence[Leftover], *, parks: bool) -> list[Child]:
    """Group leftovers into batches: one to run at once, and one for each time at which others are due.

    Leftovers that wait for a host are parked (if the job's edition ``parks``): a piece for each host with several URLs,
    and one for all others that are due together. Those that are due by now are parked too; otherwise each hand-off
    would open a batch of its own for them.
    """
    waiting = sorted((each for each in leftovers if each.host and parks), key=lambda each: each.after)
    others = [each for each in leftovers if not (each.host and parks)]
    now = [leftover for leftover in others if leftover.after <= 0]
    later = sorted((each for each in others if each.after > 0), key=lambda each: each.after)
    of_hosts = Counter(each.host for each in waiting)
    some = [[each for each in waiting if each.host == host] for host, urls in of_hosts.items() if urls >= _A_PIECE]
    few = [each for each in waiting if of_hosts[each.host] < _A_PIECE]
    groups = [*([now] if now else []), *_due_together(later)]
    return [*map(_child, groups), *(_child(group, parks=True) for group in [*some, *_due_together(few)])]


def _child(group: Sequence[Leftover], *, parks: bool = False) -> Child:
    """Describe the batch, or parked piece, of a group sorted by due time."""
    hosts = Counter(each.host for each in group) if parks else {}
    return Child(pack_entries(each.entry for each in group), len(group), max(0.0, group[-1].after), hosts)


def _due_together(later: Sequence[Leftover]) -> Iterator[list[Leftover]]:
    """Group leftovers sorted by due time, so that the first of a group need not wait long for the last."""
    group: list[Leftover] = []
    for leftover in later:
        if group and leftover.after > group[0].after * _TOGETHER + _AT_LEAST:
            yield group
            group = []
        group.append(leftover)
    if group:
        yield group


def handed_off_of(leftovers: Sequence[Leftover], *, straggling: int = 0) -> HandedOff:
    """Count the URLs that a close hands off."""
    later = sum(leftover.after > 0 for leftover in leftovers)
    return HandedOff(at_once=len(leftovers) - later, later=later, straggling=straggling)


def line_of(report: BatchReport, handed_off: int) -> str:
    """Summarise a batch in a line, of which Flower shows about 50 characters.

    Example: ``163 ok, 7 failed (http-4xx 5, truncated 1), 12 handed off, 5.3 MB in 3.3 s``.
    """
    counts = report.counts()
    parts = [f"{counts[ending]} {ending}" + _classes(report, ending) for ending in Ending if counts[ending]]
    if handed_off:
        parts.append(f"{handed_off} handed off")
    return f"{', '.join(parts) or '0 URLs'}, {_size(report.sums.fetched)} in {report.elapsed:.1f} s"


def _size(stored: int) -> str:
    if stored < 1000:
        return f"{stored} B"
    return f"{stored / 1e6:.1f} MB" if stored >= 1e6 else f"{stored / 1e3:.1f} KB"


def _classes(report: BatchReport, ending: Ending) -> str:
    """Return the error classes of these outcomes with their counts, the most frequent first."""
    if not report.sums.errors:
        return ""
    found = Counter([outcome.error for outcome in report.outcomes if outcome.ending is ending and outcome.error])
    return f" ({', '.join(f'{error} {count}' for error, count in found.most_common())})" if found else ""
