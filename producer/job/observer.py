"""Observes a job for its displays: asks the cluster every few seconds, and builds the job's status."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from contract.ledger.health import Census, WorkerHealth
from contract.ledger.ports import Looking
from contract.ledger.values import JobRecord, JobState, OpenBatches, Waiting
from producer.cluster.client import UNREACHABLE
from producer.job.hold_up import NOTHING, Facts, HoldUp, what_holds_up
from producer.job.live_progress import LiveProgress
from producer.job.rates import Rates, Sample
from producer.job.status import ErrorCount, HostCost, HostWait, JobStatus, WorkerLine, state_of
from producer.job.troubles import Troubles

STOPPING = "stopping"

_ASKED_EVERY = 2.0  # seconds between two queries
_ASKED_RARELY = 5.0  # likewise, if only occasional lines are printed
_ASKED_FIRST = 0.5  # likewise, until the embedded worker has reported
_SHOWN_HOSTS = 5
_SHOWN_RATES = 20  # seconds of history
_MOST_WAITS = 20  # paused hosts, the one that ends first being first
_FLOWS = 2.0  # seconds: with an outcome in that time, outcomes are coming


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the loop knows about its job; ``redis`` says in half a sentence why nothing is sent to Redis."""

    record: JobRecord | None
    totals: Mapping[str, int] | None
    redis: str = ""

    @property
    def is_complete(self) -> bool:
        """Was the whole list read?"""
        return self.record is not None and self.record.is_sealed


class Observer:
    """Observes one job. ``look`` may be called often, and queries when it is time to; ``status`` never queries."""

    def __init__(
        self,
        job: str,
        *,
        ledger: Looking,
        health: WorkerHealth,
        live: LiveProgress,
        resumed_by: str,
        troubles: Troubles | None = None,
        every: float | None,
        is_own: bool,
        age: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``every`` is the seconds between queries (None: never); ``is_own``: the only worker is embedded; ``troubles``
        reports workers that cannot work; ``resumed_by`` is the command that ends a pause; ``age`` is the job's age in
        seconds.
        """
        self.stage = ""  # shown in place of the job's state
        self.census: Census | None = None
        self.batches: OpenBatches | None = None
        self._job = job
        self._ledger = ledger
        self._health = health
        self._live = live
        self._troubles = troubles
        self._every = every
        self._is_own = is_own
        self._resumed_by = resumed_by
        self._clock = clock
        self._wall = wall
        self._rates = Rates()
        self._line_came = clock()
        self._begun = self._line_came - age
        self._is_closely = every is not None and every <= _ASKED_EVERY
        self._census_every = _ASKED_EVERY if self._is_closely else _ASKED_RARELY
        self._census_asked = float("-inf")
        self._asked = float("-inf") if self._is_closely else clock()
        self._state: JobState | None = None  # as last seen in the record
        self._waiting: Sequence[Waiting] = ()  # hosts that URLs of the job waited for at the last query
        self._waits_asked = 0.0
        self._lines = -1
        self._seen = Seen(record=None, totals=None)

    def look(self, seen: Seen) -> None:
        """Update what is known and query the cluster if it is time; while it is unreachable, the last answer stays."""
        now = self._clock()
        self._seen = seen
        self._note_state(seen.record)
        lines = (seen.totals or {}).get("lines", 0)
        if lines != self._lines:
            self._lines, self._line_came = lines, now
        if self._every is not None and self._rates.is_due(now):
            self._rates.note(self._sample(now))
        try:
            self._ask(now)
        except UNREACHABLE:
            pass

    def ask(self, seen: Seen) -> None:
        """Query the cluster now.

        Raises:
            redis.exceptions.RedisError: it does not answer.
        """
        self._seen = seen
        self._ask(self._clock())

    @property
    def examples(self) -> Mapping[str, str]:
        """Return one URL or line of each error class."""
        return self._live.tally.examples

    def status(self) -> JobStatus:
        """Return the job's status, as far as known here."""
        now = self._clock()
        sample, record, batches, live = self._sample(now), self._seen.record, self.batches, self._live
        self._rates.note(sample)
        hold_up = self._hold_up(now)
        rates = self._rates.now(sample) or (None, None)
        history = self._rates.history(_SHOWN_RATES)
        known = self._known()
        return JobStatus(
            job=self._job,
            label=record.label if record is not None else "",
            state=self.stage or state_of(record, batches),
            elapsed=now - self._begun,
            done=sample.rows,
            known=known,
            is_complete=self._seen.is_complete,
            counts=live.counts,
            fetched=sample.fetched,
            rate=rates[0],
            bytes_rate=rates[1],
            rates=history[0],
            bytes_rates=history[1],
            left=self._left(known, sample, hold_up),
            errors=[
                ErrorCount(error, total, self._rates.lately(error, sample))
                for error, total in sorted(live.errors.items(), key=lambda item: (-item[1], item[0]))
            ],
            hosts=self._hosts(),
            more_hosts=max(0, live.tally.known_hosts - _SHOWN_HOSTS),
            waits=self._waits(now),
            workers=self._workers(sample),
            waiting=batches.waiting if batches is not None else 0,
            running=batches.running if batches is not None else record.running if record is not None else 0,
            deferred=batches.deferred if batches is not None else 0,
            undrained=record.undrained if record is not None else 0,
            flying=0 if self._is_still else live.sum("flying"),
            quiet=0 if self._is_still else live.sum("quiet"),
            unresolved=0 if self._is_still else live.sum("unresolved"),
            hold_up=hold_up,
        )

    # ------------------------------------------------------------------ asking

    def _note_state(self, record: JobRecord | None) -> None:
        """Query a job again that was paused, resumed or cancelled: what is known of it is out of date."""
        state = record.state if record is not None else self._state
        if self._state not in (None, state):
            self._asked = float("-inf")
        self._state = state

    def _ask(self, now: float) -> None:
        is_awaited = self._is_own and self.census is not None and not self.census.present
        if now - self._census_asked >= (_ASKED_FIRST if is_awaited else self._census_every):
            self._census_asked = now
            self.census = self._health.census()
            if self._troubles is not None:
                self._troubles.update(self.census.troubles)
        if self._every is not None and now - self._asked >= self._every:
            self._asked = now
            self._ask_what_is_open(now)

    def _ask_what_is_open(self, now: float) -> None:
        if not self._is_closely and self._is_flowing(now):  # nothing holds it up
            self.batches, self._waiting = None, ()
            return
        self.batches = self._ledger.open_batches(self._job)
        self._waiting = self._ledger.waits(self._job, _MOST_WAITS) if self.batches.deferred else ()
        self._waits_asked = self._clock()

    def _is_flowing(self, now: float) -> bool:
        return self._rates.has_moved and self._rates.idle(now) < _FLOWS

    # ------------------------------------------------------------------ putting together

    def _sample(self, now: float) -> Sample:
        live = self._live
        return Sample(now, live.rows, live.fetched, live.errors, self._rows_by_worker())

    def _rows_by_worker(self) -> Mapping[str, int]:
        rows = dict(self._live.tally.workers)
        for worker, held in (self.batches.held if self.batches is not None else {}).items():
            rows[worker] = rows.get(worker, 0) + sum(self._live.rows_of(batch) for batch in held.batches)
        return rows

    def _known(self) -> int | None:
        totals = self._seen.totals
        return totals.get("urls", 0) + totals.get("refused", 0) if totals is not None else None

    def _waits(self, now: float) -> Sequence[HostWait]:
        """Return each host once, with the earliest time of its next request."""
        waits: dict[str, HostWait] = {}
        for each in self._waiting:
            host, left = _shown(each.host), max(0.0, each.seconds - (now - self._waits_asked))
            known = waits.get(host, HostWait(host, left, 0))
            waits[host] = HostWait(host, min(left, known.left), (known.urls or 0) + each.urls)
        return sorted(waits.values(), key=lambda wait: wait.left)

    def _hold_up(self, now: float) -> HoldUp:
        seen, live = self._seen, self._live
        if self.stage == STOPPING:
            return HoldUp(STOPPING, "Stopping: waiting for transfers in flight.")
        if seen.record is not None and seen.record.is_finished:
            return NOTHING
        idle = self._rates.idle(now)
        facts = Facts(
            batches=self.batches,
            census=self.census,
            is_own=self._is_own,
            resumed_by=self._resumed_by,
            is_complete=seen.is_complete,
            redis=seen.redis,
            idle=idle,
            is_flowing=self._is_flowing(now),
            list_idle=now - self._line_came,
            waits={wait.host: wait.left for wait in self._waits(now)},
            has_snapshots=live.has_snapshots,
            flying=live.sum("flying"),
            quiet=live.sum("quiet"),
            unresolved=live.sum("unresolved"),
            retrying=live.sum("retrying"),
            throttled=live.sum("throttled"),
            throttling={_shown(host): left for host, left in live.throttling.items()},
            slow_hosts=self._slow_hosts(),
        )
        return what_holds_up(facts, self._at)

    def _at(self, left: float) -> str:
        return time.strftime("%H:%M:%S", time.localtime(self._wall() + left))

    def _left(self, known: int | None, sample: Sample, hold_up: HoldUp) -> float | None:
        """Return the time left; None if that would be a guess. It is at least the longest wait for a host."""
        if known is None or not self._seen.is_complete or hold_up.stops or sample.rows >= known:
            return None
        if self._is_all_silent():
            return None
        left = self._rates.left(known - sample.rows, sample)
        due = self.batches.due if self.batches is not None else None
        return left if left is None or due is None else max(left, due)

    @property
    def _is_still(self) -> bool:
        """Does no worker hold a batch? Then the last snapshots say what was in flight before."""
        return self.batches is not None and not self.batches.running

    def _is_all_silent(self) -> bool:
        """Does nothing wait for a worker, and is everything in flight silent? Then past rates predict nothing."""
        batches, live = self.batches, self._live
        is_all_held = batches is not None and not batches.waiting
        return is_all_held and live.sum("quiet") > 0 and live.sum("flying") <= live.sum("quiet")

    def _hosts(self) -> Sequence[HostCost]:
        slow = self._slow_hosts()
        costs = [
            HostCost(host.name, host.urls, host.mean, host.failed, slow.pop(host.name, 0))
            for host in self._live.tally.costliest_hosts(_SHOWN_HOSTS)
        ]
        silent = [HostCost(host, 0, None, 0, number) for host, number in slow.items()]
        # Silent URLs cost time now, but have no outcome yet.
        return sorted([*costs, *silent], key=lambda cost: (-cost.silent, -(cost.mean or 0) * cost.urls))[:_SHOWN_HOSTS]

    def _slow_hosts(self) -> Counter[str]:
        slow: Counter[str] = Counter()
        for host, number in ({} if self._is_still else self._live.slow_hosts).items():
            slow[_shown(host)] += number
        return slow

    def _workers(self, sample: Sample) -> Sequence[WorkerLine]:
        census, held = self.census, self.batches.held if self.batches is not None else {}
        if census is None:
            return []
        lines = []
        for worker in sorted({*census.workers, *census.troubles, *held}):
            trouble, has = census.troubles.get(worker), held.get(worker)
            line = WorkerLine(
                worker=worker,
                batches=None if self.batches is None else len(has.batches) if has is not None else 0,
                urls=None if self.batches is None else has.urls if has is not None else 0,
                rate=self._rates.worker_rate(worker, sample) if self._live.tally.rows else None,
                heard=census.workers.get(worker),
                trouble=trouble.reason if trouble is not None else "",
                takes_work=trouble is None or trouble.takes_work,
            )
            lines.append(line)
        return lines


def _shown(key: str) -> str:
    """Return a host as in its URLs: with its port only if that is not the scheme's default."""
    return key.removesuffix(":80").removesuffix(":443")
