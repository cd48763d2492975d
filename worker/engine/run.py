"""One batch being fetched: its transfers go out to the lanes, and its URLs all end."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from contract.records.batches import BatchEntry
from contract.records.credentials import NO_CREDENTIALS, Credentials
from contract.records.outcomes import Ending, ErrorClass, Outcome
from contract.records.policy import Digest, JobPolicy
from contract.urls.lines import RefusedUrl, parse
from contract.urls.naming import output_name
from worker.engine.digests import Hasher
from worker.engine.exchange import bug, local_trouble
from worker.engine.failures import Kind
from worker.engine.group_commit import GroupCommit, Whole
from worker.engine.http.retry import RetryPolicy
from worker.engine.ports import Clock, DiskTrouble, Store
from worker.engine.proof import needs_reading, read_back
from worker.engine.transfer import Transfer
from worker.engine.waits import Waits

if TYPE_CHECKING:
    from worker.engine.lane import Lane

STALLED_WAIT = 5.0  # seconds the URLs of a stalled run wait: for another worker, or for a disk that takes files again
_DISK_PAUSE = 1.0  # seconds between two looks at our disk
_CHECKED_TOGETHER = 64  # known files looked at by one call on another thread


@dataclass(frozen=True, slots=True)
class Leftover:
    """A URL this run hands back; ``after`` is how many seconds it should wait before it is tried again.

    ``host`` is the host and port that asks it to wait; empty where none does.
    """

    entry: BatchEntry
    after: float = 0.0
    host: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """What of a run is settled, taken out of it: outcomes and leftovers; ``rest`` are the URLs it goes on with.

    ``busy`` is in seconds: the sum of the outcomes' own times.
    """

    outcomes: Sequence[Outcome]
    leftovers: Sequence[Leftover]
    rest: Sequence[BatchEntry]
    busy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is: URLs, those that have an outcome by ending, and body bytes as they arrive."""

    total: int
    bytes: int
    ok: int
    kept: int
    failed: int
    refused: int
    errors: Mapping[ErrorClass, int] = field(default_factory=dict)
    waits: Waits = field(default_factory=Waits)


class Run:
    """A batch from start to the last outcome or leftover. Public methods may be called from any thread."""

    def __init__(
        self,
        entries: Sequence[BatchEntry],
        policy: JobPolicy,
        *,
        queued: float,
        worker: str,
        store: Store,
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
        self.store = store
        self.start_hash = start_hash
        self.credentials = credentials
        self.outcomes: list[Outcome] = []
        self.leftovers: list[Leftover] = []
        self.bytes = 0
        self.busy = 0.0  # seconds; the sum of the URLs' own times
        self.stalled: str | None = None  # what our own disk suffers from: take no more work
        self.short_of_space: str | None = None  # why a large body waits while others are fetched
        self.abandoned = False
        self.drain_at: float | None = None  # the clock's seconds
        self._entries = entries
        self._open: dict[str, BatchEntry | Transfer] = {entry.url: entry for entry in entries}  # by URL: no outcome yet
        self._clock = clock
        self._submit = submit
        self.began = clock.now()
        self._starts_until = self.began + policy.batch_seconds
        self._parted_bytes = 0  # of outcomes that were taken out
        self._is_stopping = False
        self._lanes: Sequence[Lane] = ()
        self._counts: Counter[Ending] = Counter()
        self._errors: Counter[ErrorClass] = Counter()
        self._waits: dict[Lane, Waits] = {}
        self._lock = threading.Lock()
        self._change = threading.Condition(self._lock)
        self._fetching = len(entries)  # URLs that are neither over nor waiting to be settled
        self._resting = 0  # of these, URLs that need no place: quiet, waiting, or kept back by their host's limit
        self._unsettled = len(entries)
        self._roomy = roomy
        self._tell = tell
        self._may_publish = may_publish
        self._group_commit = GroupCommit(store=store, now=clock.now, submit=submit)
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

    def abandon(self) -> None:
        """The batch belongs to somebody else now: publish nothing more, remove what is unpublished."""
        self.abandoned = True
        self.stop(0.0)

    def part(self) -> Part | None:
        """Take out what is settled, and go on with the rest as a run of its own; None: nothing is, or everything.

        Nor where a URL stands twice in the batch: what is left of it could not be told.
        """
        now = self._clock.now()
        with self._lock:
            if not self.outcomes or not self._unsettled or len(self._open) != self._unsettled:
                return None
            rest = [each.leftover(now, 0.0) if isinstance(each, Transfer) else each for each in self._open.values()]
            part = Part(self.outcomes, self.leftovers, rest, self.busy)
            self._parted_bytes += sum(outcome.bytes or 0 for outcome in part.outcomes if outcome.ending is Ending.OK)
            self.outcomes, self.leftovers, self.busy = [], [], 0.0
            self._counts.clear()
            self._errors.clear()
            self._starts_until = now + self.policy.batch_seconds
        return part

    @property
    def unfinished(self) -> int:
        """How many URLs have no outcome and are not handed back."""
        return self._unsettled

    @property
    def fetching(self) -> int:
        """How many URLs are not fetched yet and hold a place in the window, or would take one."""
        return max(0, self._fetching - self._resting)

    @property
    def progress(self) -> Progress:
        counts, waits = self._counts, Waits()
        for each in list(self._waits.values()):
            waits.add(each)
        return Progress(
            total=sum(counts.values()) + self._unsettled + len(self.leftovers),
            bytes=max(0, self.bytes - self._parted_bytes),
            ok=counts[Ending.OK],
            kept=counts[Ending.KEPT],
            failed=counts[Ending.FAILED],
            refused=counts[Ending.REFUSED],
            errors=self._errors.copy(),
            waits=waits,
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

    def note_waits(self, lane: Lane, waits: Waits) -> None:
        """Take what the URLs that a lane has wait for."""
        self._waits[lane] = waits

    def rest(self, more: int) -> None:
        """So many more URLs than before need no place in the window; negative: fewer."""
        with self._lock:
            before, self._resting = self.fetching, self._resting + more
            if before > self._roomy >= self.fetching:
                self._tell()

    def publish(self, transfer: Transfer) -> None:
        """Take a transfer whose body is whole; it is settled with its group."""
        if needs_reading(transfer):
            self._submit(partial(self._examine, transfer))
        else:
            self._join(transfer)

    def conclude(self, transfer: Transfer, now: float) -> None:
        """Take a transfer that is over without a file."""
        refused = transfer.failure is not None and transfer.failure.kind is Kind.REFUSED
        outcome = self._outcome(transfer, Ending.REFUSED if refused else Ending.FAILED, now)
        with self._lock:
            self._fetched_one()
            self._record(outcome)
        self._group_commit.settle_if_due(self)

    def hand_back(
        self, entries: Sequence[BatchEntry], after: float = 0.0, *, host: str = "", were_fetched: bool = False
    ) -> None:
        """Take URLs that another batch is to fetch; ``were_fetched`` where it is their files that got no names."""
        if self.stalled is not None:  # at once, it would come back at once
            after = max(after, STALLED_WAIT)
        with self._lock:
            for entry in entries:
                if not were_fetched:
                    self._fetched_one()
                self._open.pop(entry.url, None)
                self.leftovers.append(Leftover(entry, after, host))
                self._settled_one()
        self._group_commit.settle_if_due(self)

    def tick(self, now: float) -> None:
        """Settle files that waited long enough for company, and look at our disk."""
        self._group_commit.tick(self, now)
        if now - self._disk_seen >= _DISK_PAUSE:
            self._disk_seen = now
            if trouble := self.store.trouble():
                self.stall(trouble)

    # ---------------------------------------------------------------------------------------- for its group_commit

    def may_name(self) -> bool:
        """May files still get their names? Asked right before they do."""
        return not self.abandoned and self._may_publish()

    def end(self, outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of files that have their names, or can have none."""
        with self._lock:
            for outcome in outcomes:
                self._record(outcome)

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
            self._open[entry.url] = transfer = Transfer(self, entry, place)
            shares[chosen % len(lanes)].append(transfer)
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
        self._group_commit.settle_if_due(self)

    def _kept(self, entry: BatchEntry) -> Outcome | None:
        name, known = output_name(entry.url), entry.known
        path = None if known is None else self.store.holds(name, known.size, known.digest)
        if known is None or path is None:
            return None
        algorithm, _, digest = known.digest.partition(":")
        is_sha256 = algorithm == Digest.SHA256
        return Outcome(
            url=entry.url,
            name=name,
            ending=Ending.KEPT,
            path=path,
            bytes=known.size,
            sha256=digest if is_sha256 else None,
            digest=None if is_sha256 else known.digest,
            worker=self.worker,
        )

    # ------------------------------------------------------------------------------------------------ endings

    def _examine(self, transfer: Transfer) -> None:
        """Read a body back on this thread; it joins the others, or is rejected."""
        try:
            failure = None if self.abandoned else read_back(transfer)
        except DiskTrouble as trouble:
            failure = local_trouble(trouble)
        except Exception as error:  # a bug must not hold the batch for ever
            failure = bug(error)
        if failure is None:
            self._join(transfer)
        else:
            transfer.reject(transfer, failure)

    def _join(self, transfer: Transfer) -> None:
        draft = transfer.draft
        assert draft is not None
        # Now, and not when it has its name: by then thousands of others would have swept it from the processor's cache.
        outcome = self._outcome(transfer, Ending.OK, transfer.finished)
        if outcome.ending is Ending.OK:
            self._open[transfer.entry.url] = transfer.entry  # what else there is of it is no longer needed
            self._group_commit.join(Whole(transfer.entry, draft, outcome))
            with self._lock:
                self._fetched_one()
        else:
            draft.discard()
            with self._lock:
                self._fetched_one()
                self._record(outcome)
        self._group_commit.settle_if_due(self)

    def _outcome(self, transfer: Transfer, ending: Ending, now: float) -> Outcome:
        """Return a transfer's outcome and drop what refers back to it; a bug in writing it costs its own URL only."""
        try:
            outcome = transfer.outcome(ending, now)
        except Exception as error:
            transfer.failure = bug(error)
            transfer.let_go()  # what could not be written down came from there
            return transfer.outcome(Ending.FAILED, now)
        transfer.let_go()
        return outcome

    def _record(self, outcome: Outcome) -> None:
        """Count an outcome; the caller holds the lock."""
        self._open.pop(outcome.url, None)
        self.outcomes.append(outcome)
        self.busy += outcome.timing.total
        self._counts[outcome.ending] += 1
        if outcome.error is not None:
            self._errors[outcome.error] += 1
        self._settled_one()

    def _fetched_one(self) -> None:
        self._fetching -= 1
        if self.fetching == self._roomy:
            self._tell()

    def _settled_one(self) -> None:
        self._unsettled -= 1
        if self._unsettled == 0:
            self._change.notify_all()
            self._tell()
