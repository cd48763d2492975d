"""One batch being fetched: from its entries to the last outcome or leftover."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from contract.records.batches import BatchEntry
from contract.records.credentials import NO_CREDENTIALS, Credentials
from contract.records.outcomes import Ending, ErrorClass, Outcome
from contract.records.policy import Digest, JobPolicy
from contract.urls.lines import Parsed, RefusedUrl, parse
from contract.urls.naming import output_name
from worker.engine.backlog import Backlog
from worker.engine.course import Course
from worker.engine.digests import Hasher
from worker.engine.exchange import local_trouble
from worker.engine.failures import Failure, bug
from worker.engine.group_commit import GroupCommit, Whole
from worker.engine.http.retry import RetryPolicy
from worker.engine.ports import Clock, DiskTrouble, Store
from worker.engine.proof import read_back
from worker.engine.results import Leftover, Progress, Results, Settled
from worker.engine.terms import Terms
from worker.engine.transfer import Transfer

STALLED_WAIT = 5.0  # seconds the URLs of a stalled run wait: for another worker, or for a disk that takes files again
_DISK_PAUSE = 1.0  # seconds between two checks of the disk
_CHECKED_TOGETHER = 64  # known files checked per call on another thread

Proof = Failure | str | None  # the result of reading a body back: a failure, or its digest


class Inbox(Protocol):
    """A lane, as a run knows it."""

    def give(self, run: Run, transfers: Sequence[Transfer]) -> None:
        """Have the lane fetch these; any thread may ask."""


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
        backlog: Backlog | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """``wake`` is called, from any thread, when ``backlog`` has room again, and when all is settled.

        ``backlog`` is shared by the runs of a process; by default the run has its own.
        """
        began = clock.now()
        self.terms = Terms(
            policy=policy,
            retry=RetryPolicy.of(policy),
            credentials=credentials,
            queued=queued,
            began=began,
            worker=worker,
            store=store,
            start_hash=start_hash,
        )
        self.course = Course(began + policy.batch_seconds)
        self.results = Results(entries, backlog=backlog or Backlog(), wake=wake)
        self._entries = entries
        self._lanes: Sequence[Inbox] = ()
        self._clock = clock
        self._submit = submit
        self._may_publish = may_publish
        self._group_commit = GroupCommit(store=store, now=clock.now, submit=submit)
        self._disk_seen = began

    # ------------------------------------------------------------------------------------------ for the task

    def launch(self, lanes: Sequence[Inbox]) -> None:
        """Spread the URLs over the lanes; those whose file an earlier manifest knows are checked first."""
        self._lanes = lanes
        known = [entry for entry in self._entries if entry.known is not None]
        self._admit([entry for entry in self._entries if entry.known is None])
        for start in range(0, len(known), _CHECKED_TOGETHER):
            self._submit(partial(self._look, known[start : start + _CHECKED_TOGETHER]))
        self._entries = ()

    def end_all(self, reason: str) -> None:
        """End every URL without a transfer, because this worker cannot do what the policy says."""
        outcomes = [
            Outcome(
                url=entry.url,
                name=output_name(entry.url),
                ending=Ending.FAILED,
                error=ErrorClass.UNSUPPORTED,
                detail=reason,
                attempts=entry.attempts,
                worker=self.terms.worker,
            )
            for entry in self._entries
        ]
        self._entries = ()
        self.results.end(outcomes, were_fetching=True)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most this many seconds; True once every URL is settled or handed back."""
        return self.results.wait(timeout)

    def stop(self, within: float) -> None:
        """Start no more; after ``within`` seconds what is still in flight is handed back."""
        self.course.stop(self._clock.now() + within)

    def abandon(self) -> None:
        """Another worker holds the batch now: publish nothing more, remove what is unpublished."""
        self.course.abandon(self._clock.now())

    def pop_settled(self) -> Settled | None:
        """Take out what is settled, and continue with the rest; None: nothing is, or everything."""
        now = self._clock.now()
        settled = self.results.pop_settled(now)
        if settled is not None:
            self.course.renew(now + self.policy.batch_seconds)
        return settled

    @property
    def outcomes(self) -> Sequence[Outcome]:
        return self.results.outcomes

    @property
    def leftovers(self) -> Sequence[Leftover]:
        """The URLs handed back, each with the seconds it still has to wait."""
        return self.results.leftovers(self._clock.now())

    def is_due(self, within: float = 0.0) -> bool:
        """Will a leftover be due within this many seconds?"""
        return self.results.is_due(self._clock.now() + within)

    @property
    def busy(self) -> float:
        """Seconds: the sum of the outcomes' own times."""
        return self.results.busy

    @property
    def unfinished(self) -> int:
        """How many URLs have no outcome and are not handed back."""
        return self.results.unsettled

    @property
    def fetching(self) -> int:
        """How many unfetched URLs hold or need a slot in the window."""
        return self.results.fetching

    @property
    def is_straggling(self) -> bool:
        """Do all URLs that are left need no slot, so that none of them will settle soon?"""
        return self.results.is_straggling

    @property
    def progress(self) -> Progress:
        return self.results.progress

    @property
    def stalled(self) -> str | None:
        """The disk's trouble, if no work should be taken."""
        return self.course.stalled

    @property
    def short_of_space(self) -> str | None:
        """Why a large body waits while others are fetched."""
        return self.course.short_of_space

    # ------------------------------------------------------------------------------------------ for the lanes

    def publish(self, bodies: Sequence[Whole]) -> None:
        """Accept proven bodies, which are published with their group."""
        self.results.came([whole.entry for whole in bodies])  # first: they may be settled as soon as they have joined
        self._group_commit.join(bodies)
        self._group_commit.settle_if_due(self)

    def conclude(self, outcome: Outcome) -> None:
        """Record the outcome of a URL that ended without a body."""
        self.results.end([outcome], were_fetching=True)
        self._group_commit.settle_if_due(self)

    def prove(self, transfer: Transfer, deliver: Callable[[Proof], None]) -> None:
        """Read a complete body back on another thread, and call ``deliver`` there with the result."""
        self._submit(partial(self._prove, transfer, deliver))

    def give_back(self, entry: BatchEntry, after: float, *, host: str = "") -> None:
        """Hand back a URL for another batch."""
        self.results.hand_back([Leftover(entry, self._wait_of(after), host)], self._clock.now())
        self._group_commit.settle_if_due(self)

    def tick(self, now: float) -> None:
        """Publish a group that has waited long enough, and check the disk."""
        self._group_commit.tick(self, now)
        if now - self._disk_seen >= _DISK_PAUSE:
            self._disk_seen = now
            if trouble := self.terms.store.trouble():
                self.stall(trouble)

    # ---------------------------------------------------------------------------------- for its group commit

    @property
    def policy(self) -> JobPolicy:
        return self.terms.policy

    def may_name(self) -> bool:
        """May bodies still be published? Called right before they are."""
        return not self.course.abandoned and self._may_publish()

    def stall(self, reason: str) -> None:
        """Start no more transfers, because the disk failed."""
        self.course.stall(reason)

    def end(self, outcomes: Sequence[Outcome]) -> None:
        """Record the outcomes of bodies that were published or cannot be."""
        self.results.end(outcomes)

    def hand_back(self, entries: Sequence[BatchEntry]) -> None:
        """Hand back URLs whose bodies were not published, for another batch."""
        after = self._wait_of(0.0)
        left = [Leftover(entry, after) for entry in entries]
        self.results.hand_back(left, self._clock.now(), were_fetched=True)
        self._group_commit.settle_if_due(self)

    # ---------------------------------------------------------------------------------------------- admission

    def _admit(self, entries: Sequence[BatchEntry]) -> None:
        lanes, terms = self._lanes, self.terms
        chosen_for: list[list[Transfer]] = [[] for _ in lanes]
        for index, entry in enumerate(entries):
            url = parse(entry.url)
            if not isinstance(url, Parsed):
                self._refuse(entry, url)
                continue
            # A limit per host holds within a lane, so a limited host stays in one.
            chosen = hash(url.host) if terms.policy.per_host else index
            transfer = Transfer(terms, entry, url)
            chosen_for[chosen % len(lanes)].append(transfer)
        for lane, transfers in zip(lanes, chosen_for, strict=True):
            self.results.begin(transfers)
            if transfers:
                lane.give(self, transfers)

    def _refuse(self, entry: BatchEntry, refused: RefusedUrl) -> None:
        outcome = Outcome(
            url=entry.url,
            name=output_name(entry.url.encode("utf-8", "surrogatepass")),
            ending=Ending.REFUSED,
            error=ErrorClass.REFUSED_URL,
            detail=refused.reason,
            worker=self.terms.worker,
        )
        self.results.end([outcome], were_fetching=True)

    def _look(self, entries: Sequence[BatchEntry]) -> None:
        """Settle the URLs whose file is still as an earlier manifest describes it; admit the others."""
        missing: list[BatchEntry] = []
        for entry in entries:
            try:
                outcome = None if self.course.abandoned else self._kept(entry)
            except Exception:  # a bug costs a download, but must not block the batch
                outcome = None
            if outcome is None:
                missing.append(entry)
            else:
                self.results.end([outcome], were_fetching=True)
        self._admit(missing)
        self._group_commit.settle_if_due(self)

    def _kept(self, entry: BatchEntry) -> Outcome | None:
        name, known = output_name(entry.url), entry.known
        path = None if known is None else self.terms.store.holds(name, known.size, known.digest)
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
            worker=self.terms.worker,
        )

    # ------------------------------------------------------------------------------------------------- inside

    def _prove(self, transfer: Transfer, deliver: Callable[[Proof], None]) -> None:
        fetched, terms = transfer.fetched, self.terms
        proof: Proof = None
        try:
            if fetched is not None and not self.course.abandoned:
                proof = read_back(fetched, transfer.entry.expected, terms.policy.digest)
        except DiskTrouble as trouble:
            proof = local_trouble(trouble)
        except Exception as error:  # a bug must not block the batch for ever
            proof = bug(error)
        deliver(proof)

    def _wait_of(self, after: float) -> float:
        """Return the seconds a URL waits: of a stalled run a while, or it would come back at once."""
        return max(after, STALLED_WAIT) if self.course.stalled is not None else after
