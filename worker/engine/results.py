"""The results of a run: outcomes, leftovers, and how many URLs have neither yet."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from contract.records.batches import BatchEntry
from contract.records.outcomes import Ending, ErrorClass, Outcome
from worker.engine.backlog import Backlog
from worker.engine.transfer import Transfer
from worker.engine.waits import Waits


@dataclass(frozen=True, slots=True)
class Leftover:
    """A URL that a run hands back, to be tried again ``after`` this many seconds.

    ``host`` is the host and port whose pause it waits for; empty if there is none.
    """

    entry: BatchEntry
    after: float = 0.0
    host: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a run has settled so far: outcomes and leftovers. ``rest`` are the URLs it continues with.

    ``busy`` is the sum of the outcomes' own times in seconds.
    """

    outcomes: Sequence[Outcome]
    leftovers: Sequence[Leftover]
    rest: Sequence[BatchEntry]
    busy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a run: URLs, outcomes by ending, and body bytes received."""

    total: int
    bytes: int
    ok: int
    kept: int
    failed: int
    refused: int
    errors: Mapping[ErrorClass, int] = field(default_factory=dict)
    waits: Waits = field(default_factory=Waits)


class Results:
    """Thread-safe."""

    def __init__(self, entries: Sequence[BatchEntry], *, backlog: Backlog, wake: Callable[[], None]) -> None:
        """``wake`` is called, from any thread, when the backlog has room again, and when all is settled."""
        self.outcomes: list[Outcome] = []
        self._left: list[tuple[float, Leftover]] = []  # each with the time it is due
        self._first_due = inf  # the earliest of these times
        self.busy = 0.0  # seconds; the sum of the URLs' own times
        self.unsettled = len(entries)
        self._fetching = len(entries)  # URLs that have neither an outcome nor a complete body
        self._resting = 0  # of these, URLs that need no slot: quiet, waiting, or held back by their host's limit
        self._bytes = 0
        self._open: dict[str, BatchEntry | Transfer] = {entry.url: entry for entry in entries}  # by URL: no outcome yet
        self._counts: Counter[Ending] = Counter()
        self._errors: Counter[ErrorClass] = Counter()
        self._waits: dict[object, Waits] = {}  # by lane
        self._lock = threading.Lock()
        self._change = threading.Condition(self._lock)
        self._backlog = backlog
        self._wake = wake
        backlog.change(len(entries))

    # ---------------------------------------------------------------------------------------- queries

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most this many seconds; True once every URL is settled or handed back."""
        with self._lock:
            return self._change.wait_for(lambda: self.unsettled == 0, timeout)

    def pop_settled(self, now: float) -> Settled | None:
        """Remove and return what is settled; None if nothing or everything is.

        None also if a URL is in the batch twice: it could not be known which one is left.
        """
        with self._lock:
            if not (self.outcomes or self._left) or not self.unsettled or len(self._open) != self.unsettled:
                return None
            rest = [each.leftover(now, 0.0) if isinstance(each, Transfer) else each for each in self._open.values()]
            settled = Settled(self.outcomes, self.leftovers(now), rest, self.busy)
            self._bytes -= sum(outcome.bytes or 0 for outcome in settled.outcomes if outcome.ending is Ending.OK)
            self.outcomes, self._left, self._first_due, self.busy = [], [], inf, 0.0
            self._counts.clear()
            self._errors.clear()
        return settled

    def leftovers(self, now: float) -> Sequence[Leftover]:
        """Return the URLs that are handed back, each with the seconds it still has to wait."""
        return [replace(each, after=max(0.0, due - now)) for due, each in self._left]

    def is_due(self, now: float) -> bool:
        """Is a leftover due now?"""
        return self._first_due <= now

    @property
    def fetching(self) -> int:
        """How many unfetched URLs hold or need a slot in the window."""
        return max(0, self._fetching - self._resting)

    @property
    def is_straggling(self) -> bool:
        """Do all URLs that are left need no slot, so that none of them will settle soon?"""
        return self.unsettled <= self._resting

    @property
    def progress(self) -> Progress:
        counts, waits = self._counts, Waits()
        for each in list(self._waits.values()):
            waits.add(each)
        return Progress(
            total=sum(counts.values()) + self.unsettled + len(self._left),
            bytes=max(0, self._bytes),
            ok=counts[Ending.OK],
            kept=counts[Ending.KEPT],
            failed=counts[Ending.FAILED],
            refused=counts[Ending.REFUSED],
            errors=self._errors.copy(),
            waits=waits,
        )

    # ---------------------------------------------------------------------------------------------- updates

    def begin(self, transfers: Iterable[Transfer]) -> None:
        """Note that these are being fetched."""
        for each in transfers:
            self._open[each.entry.url] = each

    def came(self, entries: Sequence[BatchEntry]) -> None:
        """Note that these have a complete body; their transfers are no longer needed."""
        with self._lock:
            for entry in entries:
                self._open[entry.url] = entry
            self._fetched(len(entries))

    def end(self, outcomes: Sequence[Outcome], *, were_fetching: bool = False) -> None:
        """Record outcomes; ``were_fetching``: ``came`` was not called for them."""
        with self._lock:
            if were_fetching:
                self._fetched(len(outcomes))
            still = self._open
            for outcome in outcomes:
                still.pop(outcome.url, None)
            # Updated at once: single items of a Counter take ten times as long.
            self._counts.update([outcome.ending for outcome in outcomes])
            self._errors.update([outcome.error for outcome in outcomes if outcome.error is not None])
            self.busy += sum([outcome.timing.total for outcome in outcomes])
            self.outcomes += outcomes
            self._settled(len(outcomes))

    def hand_back(self, leftovers: Sequence[Leftover], now: float, *, were_fetched: bool = False) -> None:
        """Record URLs that another batch will fetch; ``were_fetched``: they had a body, which was not published."""
        with self._lock:
            if not were_fetched:
                self._fetched(len(leftovers))
            for leftover in leftovers:
                self._open.pop(leftover.entry.url, None)
                self._left.append((now + leftover.after, leftover))
                self._first_due = min(self._first_due, now + leftover.after)
            self._settled(len(leftovers))

    def rest(self, more: int) -> None:
        """Note a change in the number of URLs that need no slot in the window."""
        with self._lock:
            before, self._resting = self.fetching, self._resting + more
            self._change_backlog(before)

    def note_waits(self, lane: object, waits: Waits) -> None:
        """Record what a lane's URLs wait for."""
        self._waits[lane] = waits

    def arrive(self, more: int) -> None:
        """Add body bytes that have arrived."""
        with self._lock:
            self._bytes += more

    def _fetched(self, more: int) -> None:
        before = self.fetching
        self._fetching -= more
        self._change_backlog(before)

    def _change_backlog(self, before: int) -> None:
        if self._backlog.change(self.fetching - before):
            self._wake()

    def _settled(self, more: int) -> None:
        self.unsettled -= more
        if self.unsettled == 0:
            self._change.notify_all()
            self._wake()
