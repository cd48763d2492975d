"""One batch being fetched: its transfers go out to the lanes, its files are settled in groups, its URLs all end."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from contract.batches import BatchEntry, Expected
from contract.credentials import NO_CREDENTIALS, Credentials
from contract.naming import output_name, output_path
from contract.outcomes import Ending, ErrorClass, Outcome
from contract.policy import Digest, JobPolicy
from contract.urls import RefusedUrl, parse
from worker.engine.digests import Hasher
from worker.engine.exchange import bug, local_trouble
from worker.engine.failures import Failure, Kind
from worker.engine.ports import Clock, Disk, DiskTrouble, Draft
from worker.engine.promises import Promise
from worker.engine.retry import RetryPolicy
from worker.engine.transfer import Transfer

if TYPE_CHECKING:
    from worker.engine.lane import Lane

GROUP = 256  # files that are settled together at most wait for this many
GROUP_WAIT = 0.2  # seconds a finished file waits for others to be settled with
STALLED_WAIT = 5.0  # seconds the URLs of a stalled run wait: for another worker, or for a disk that takes files again
_DISK_PAUSE = 1.0  # seconds between two looks at our disk
_CHECKED_TOGETHER = 64  # known files looked at by one call on another thread


@dataclass(frozen=True, slots=True)
class Leftover:
    """A URL this run hands back; ``after`` is how many seconds it should wait before it is tried again."""

    entry: BatchEntry
    after: float = 0.0


class _Whole(NamedTuple):
    """A body that waits for its name, and the outcome its URL has when it gets it."""

    entry: BatchEntry
    name: str
    draft: Draft
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is; ``bytes`` counts body bytes as they arrive, ``done`` the URLs that have an outcome."""

    done: int
    total: int
    bytes: int
    ok: int
    kept: int
    failed: int
    refused: int


class Run:
    """A batch from start to the last outcome or leftover. Public methods may be called from any thread."""

    def __init__(
        self,
        entries: Sequence[BatchEntry],
        policy: JobPolicy,
        *,
        queued: float,
        worker: str,
        disk: Disk,
        clock: Clock,
        submit: Callable[[Callable[[], None]], object],
        may_publish: Callable[[], bool],
        start_hash: Callable[[], Hasher] | None,
        credentials: Credentials = NO_CREDENTIALS,
        roomy: int = 0,
        tell: Callable[[], None] = lambda: None,
    ) -> None:
        """``tell`` is called, from any thread, when only ``roomy`` URLs are left to fetch, and when all is settled."""
        self.policy = policy
        self.retry = RetryPolicy.of(policy)
        self.queued = queued
        self.worker = worker
        self.disk = disk
        self.start_hash = start_hash
        self.credentials = credentials
        self.outcomes: list[Outcome] = []
        self.leftovers: list[Leftover] = []
        self.bytes = 0
        self.busy = 0.0  # seconds; the sum of the URLs' own times
        self.stalled: str | None = None  # what our own disk suffers from: take no more work
        self.abandoned = False
        self.drain_at: float | None = None  # the clock's seconds
        self._entries = entries
        self._clock = clock
        self._submit = submit
        self._may_publish = may_publish
        self._starts_until = clock.now() + policy.batch_seconds
        self._is_stopping = False
        self._lanes: Sequence[Lane] = ()
        self._counts: Counter[Ending] = Counter()
        self._lock = threading.Lock()
        self._change = threading.Condition(self._lock)
        self._fetching = len(entries)  # URLs that are neither over nor waiting to be settled
        self._unsettled = len(entries)
        self._roomy = roomy
        self._tell = tell
        self._group: list[_Whole] = []
        self._group_since = 0.0
        self._is_settling = False
        self._disk_seen = clock.now()

    # ------------------------------------------------------------------------------------------ for the task

    def launch(self, lanes: Sequence[Lane]) -> None:
        """Spread the URLs over the lanes; URLs whose file is known already are looked at first."""
        self._lanes = lanes
        known = [entry for entry in self._entries if entry.known is not None]
        self._admit([entry for entry in self._entries if entry.known is None])
        for start in range(0, len(known), _CHECKED_TOGETHER):
            self._submit(partial(self._look, known[start : start + _CHECKED_TOGETHER]))
        self._entries = ()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most this many seconds; True once every URL is settled or handed back."""
        with self._lock:
            return self._change.wait_for(lambda: self._unsettled == 0, timeout)

    def stop(self, within: float) -> None:
        """Start no more; after ``within`` seconds what is still in flight is handed back."""
        self.drain_at = self._clock.now() + within
        self._is_stopping = True
        self._wake_lanes()

    def abandon(self) -> None:
        """The batch belongs to somebody else now: publish nothing more, remove what is unpublished."""
        self.abandoned = True
        self.stop(0.0)

    @property
    def fetching(self) -> int:
        """How many URLs are not fetched yet, in flight or waiting."""
        return self._fetching

    @property
    def progress(self) -> Progress:
        counts = self._counts
        return Progress(
            done=sum(counts.values()),
            total=sum(counts.values()) + self._unsettled + len(self.leftovers),
            bytes=self.bytes,
            ok=counts[Ending.OK],
            kept=counts[Ending.KEPT],
            failed=counts[Ending.FAILED],
            refused=counts[Ending.REFUSED],
        )

    # ------------------------------------------------------------------------------------------ for the lanes

    def is_starting(self, now: float) -> bool:
        """May another transfer of this batch start?"""
        return not self._is_stopping and self.stalled is None and now < self._starts_until

    def is_settled(self) -> bool:
        return self._unsettled == 0

    def must_end(self, now: float) -> bool:
        """Must transfers in flight be given up?"""
        return self.abandoned or (self.drain_at is not None and now >= self.drain_at)

    def stall(self, reason: str) -> None:
        """Our own disk failed: start no more."""
        self.stalled = self.stalled or reason
        self._wake_lanes()

    def publish(self, transfer: Transfer) -> None:
        """Take a transfer whose body is whole; it is settled with its group."""
        if self._needs_reading(transfer):
            self._submit(partial(self._examine, transfer))
        else:
            self._join_group(transfer)

    def conclude(self, transfer: Transfer, now: float) -> None:
        """Take a transfer that is over without a file."""
        refused = transfer.failure is not None and transfer.failure.kind is Kind.REFUSED
        outcome = transfer.outcome(Ending.REFUSED if refused else Ending.FAILED, now)
        transfer.let_go()
        with self._lock:
            self._fetched_one()
            self._record(outcome)
        self._settle_if_due(all_fetched_only=True)

    def hand_back(self, entry: BatchEntry, after: float = 0.0) -> None:
        """Take a URL that is to be fetched by another batch."""
        with self._lock:
            self._fetched_one()
            self._give_back(entry, after)
        self._settle_if_due(all_fetched_only=True)

    def tick(self, now: float) -> None:
        """Settle files that waited long enough for company, and look at our disk."""
        if self._group and now - self._group_since >= GROUP_WAIT:
            self._settle_if_due(is_overdue=True)
        if now - self._disk_seen >= _DISK_PAUSE:
            self._disk_seen = now
            if trouble := self.disk.trouble():
                self.stall(trouble)

    # ---------------------------------------------------------------------------------------------- admission

    def _admit(self, entries: Sequence[BatchEntry]) -> None:
        lanes = self._lanes
        shares: list[list[Transfer]] = [[] for _ in lanes]
        for index, entry in enumerate(entries):
            place = parse(entry.url)
            if isinstance(place, RefusedUrl):
                self._refuse(entry, place)
                continue
            # A limit per host holds within a lane, so a limited host stays in one.
            chosen = hash(place.host) if self.policy.per_host else index
            shares[chosen % len(lanes)].append(Transfer(self, entry, place))
        for lane, share in zip(lanes, shares, strict=True):
            if share:
                lane.post(partial(lane.admit, self, share))

    def _refuse(self, entry: BatchEntry, refused: RefusedUrl) -> None:
        outcome = Outcome(
            url=entry.url,
            name=output_name(entry.url.encode("utf-8", "surrogatepass")),
            ending=Ending.REFUSED,
            error=ErrorClass.REFUSED_URL,
            detail=refused.reason,
            worker=self.worker,
        )
        with self._lock:
            self._fetched_one()
            self._record(outcome)

    def _look(self, entries: Sequence[BatchEntry]) -> None:
        """Settle the URLs whose file is on the disk as an earlier manifest knew it; admit the others."""
        missing: list[BatchEntry] = []
        for entry in entries:
            try:
                outcome = None if self.abandoned else self._kept(entry)
            except Exception:  # a bug costs a download; it must not hold the batch for ever
                outcome = None
            if outcome is None:
                missing.append(entry)
                continue
            with self._lock:
                self._fetched_one()
                self._record(outcome)
        self._admit(missing)
        self._settle_if_due(all_fetched_only=True)

    def _kept(self, entry: BatchEntry) -> Outcome | None:
        name, known = output_name(entry.url), entry.known
        if known is None or not self.disk.holds(name, self.policy.layout, known.size, known.digest):
            return None
        algorithm, _, digest = known.digest.partition(":")
        is_sha256 = algorithm == Digest.SHA256
        return Outcome(
            url=entry.url,
            name=name,
            ending=Ending.KEPT,
            path=output_path(name, self.policy.layout),
            bytes=known.size,
            sha256=digest if is_sha256 else None,
            digest=None if is_sha256 else known.digest,
            worker=self.worker,
        )

    # --------------------------------------------------------------------------------------------- settlement

    def _needs_reading(self, transfer: Transfer) -> bool:
        if transfer.promises or transfer.entry.expected is not None:
            return True
        return transfer.digest is None and self.policy.digest is not Digest.NONE

    def _examine(self, transfer: Transfer) -> None:
        """Hash a body on this thread and compare it with what the list promised."""
        try:
            failure = None if self.abandoned else self._read_back(transfer)
        except DiskTrouble as trouble:
            failure = local_trouble(trouble)
        except Exception as error:  # a bug must not hold the batch for ever
            failure = bug(error)
        if failure is None:
            self._join_group(transfer)
        else:
            transfer.reject(transfer, failure)

    def _read_back(self, transfer: Transfer) -> Failure | None:
        expected = transfer.entry.expected or Expected()
        if expected.size is not None and expected.size != transfer.size:
            return _mismatch("size", "the list", str(expected.size), str(transfer.size))
        promises = list(transfer.promises)
        if expected.sha256:
            promises.append(Promise("sha256", expected.sha256, "the list"))
        if expected.md5:
            promises.append(Promise("md5", expected.md5, "the list"))
        algorithms = {promise.algorithm for promise in promises}
        if self.policy.digest is not Digest.NONE:
            algorithms.add(self.policy.digest.value)
        assert transfer.draft is not None
        found = self.disk.digest(transfer.draft, sorted(algorithms))
        transfer.digest = found.get(self.policy.digest)
        for promise in promises:
            if found[promise.algorithm] != promise.digest:
                return _mismatch(promise.algorithm, promise.source, promise.digest, found[promise.algorithm])
        return None

    def _join_group(self, transfer: Transfer) -> None:
        assert transfer.draft is not None
        # Now, and not when it has its name: by then thousands of others would have swept it from the processor's cache.
        outcome = transfer.outcome(Ending.OK, transfer.finished)
        transfer.let_go()
        whole = _Whole(transfer.entry, transfer.name, transfer.draft, outcome)
        with self._lock:
            self._fetched_one()
            if not self._group:
                self._group_since = self._clock.now()
            self._group.append(whole)
            is_due = self._fetching == 0 or len(self._group) >= GROUP
        if is_due:
            self._settle_if_due()

    def _settle_if_due(self, *, is_overdue: bool = False, all_fetched_only: bool = False) -> None:
        """Group commit: while one group is being settled, the next one gathers."""
        with self._lock:
            if self._is_settling or not self._group:
                return
            is_full = len(self._group) >= GROUP and not all_fetched_only
            if not (is_overdue or is_full or self._fetching == 0):
                return
            self._is_settling = True
        self._submit(self._settle)

    def _settle(self) -> None:
        while True:
            with self._lock:
                group, self._group = self._group, []
            self._settle_group(group)
            with self._lock:
                if not self._group or (self._fetching > 0 and len(self._group) < GROUP):
                    self._is_settling = False
                    return

    def _settle_group(self, group: Sequence[_Whole]) -> None:
        pairs = [(each.draft, each.name) for each in group]
        policy = self.policy
        try:
            named = self.disk.publish(pairs, policy.layout, policy.sync, self._may_name)
        except DiskTrouble as trouble:
            self.stall(str(trouble))
            named = False
        except Exception as error:  # a bug must not hold the batch for ever
            self._end_group(group, bug(error))
            return
        if named:
            self._end_group(group, None)
        else:
            self._return_group(group)

    def _may_name(self) -> bool:
        return not self.abandoned and self._may_publish()

    def _end_group(self, group: Sequence[_Whole], failure: Failure | None) -> None:
        outcomes = []
        for _, _, draft, outcome in group:
            found = failure or _unnamed(draft)
            if found is not None:
                draft.discard()
                outcome = outcome.failed_after_all(found.error, found.detail)
            outcomes.append(outcome)
        with self._lock:
            for outcome in outcomes:
                self._record(outcome)

    def _return_group(self, group: Sequence[_Whole]) -> None:
        for whole in group:
            whole.draft.discard()
        with self._lock:
            for whole in group:
                self._give_back(whole.entry, 0.0)

    def _record(self, outcome: Outcome) -> None:
        """Count an outcome; the caller holds the lock."""
        self.outcomes.append(outcome)
        self.busy += outcome.timing.total
        self._counts[outcome.ending] += 1
        self._settled_one()

    def _give_back(self, entry: BatchEntry, after: float) -> None:
        if self.stalled is not None:  # at once, it would come back at once
            after = max(after, STALLED_WAIT)
        self.leftovers.append(Leftover(entry, after))
        self._settled_one()

    def _fetched_one(self) -> None:
        self._fetching -= 1
        if self._fetching == self._roomy:
            self._tell()

    def _settled_one(self) -> None:
        self._unsettled -= 1
        if self._unsettled == 0:
            self._change.notify_all()
            self._tell()

    def _wake_lanes(self) -> None:
        for lane in self._lanes:
            lane.wake()


def _unnamed(draft: Draft) -> Failure | None:
    if draft.obstacle is None:
        return None
    return Failure(error=ErrorClass.LOCAL_DISK, kind=Kind.PERMANENT, detail=draft.obstacle)


def _mismatch(what: str, source: str, promised: str, found: str) -> Failure:
    detail = f"The body's {what} is {found[:80]}; {source} promised {promised[:80]}."
    # Once more, because a broken transfer is likelier than a wrong promise.
    return Failure(error=ErrorClass.DIGEST, kind=Kind.TRANSIENT, detail=detail, tries=2)
