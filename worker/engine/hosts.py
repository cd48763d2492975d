"""Throttling hosts: which are paused until when, and which request probes them afterwards.

A throttling answer concerns the host if it says when to retry, or if several URLs got one; then all URLs of the host
are paused. Without a given time, the pause follows a curve that doubles per incident; answers to requests sent before
an incident belong to it. A URL that turns out to be the reason itself (``evidence``) waits alone. After a pause one
request probes; once it is answered, the others follow at the learned pace (``pace``).

One object serves all lanes of a process. Longer pauses are shared between processes; while they reach one another, one
of them probes for all. Times are the clock's seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from math import inf

from contract.records.hosts import HostState
from contract.urls.naming import output_name
from worker.engine.host_record import HostRecord, Pause
from worker.engine.probing import LOOK
from worker.engine.recent_answers import PERIOD, RecentAnswers

LONGEST_ASKED = 86_400.0  # seconds; longer requests are bounded by the job's patience
_JITTER, _JITTER_OF_ASKED = 0.25, 0.1  # of a pause, at most; always lengthening it
_OF_PATIENCE = 0.9  # leaves some patience after the pause and its jitter
_LONGEST_JITTER = 5.0
_MANY_HOT = 1_000  # records; then outdated ones are removed


class Hosts:
    """Thread-safe. ``hot`` holds the records of throttling hosts; others need no call."""

    def __init__(self, random: Callable[[], float]) -> None:
        self.hot: dict[str, HostRecord] = {}
        self._most_hot = _MANY_HOT
        self._random = random
        self._lock = threading.Lock()
        self._recent = RecentAnswers()
        self._good = self._recent.good
        self._changed: set[str] = set()  # hosts with news for other processes
        self._wanted: set[str] = set()  # hosts whose shared pause is over, to be probed by one process
        self.is_governed = False  # the ledger answers: other processes can be reached

    def may_start(self, key: str, now: float, name: str = "", *, is_segment: bool = False) -> float:
        """Reserve a start at a host: 0, or the seconds after which to ask again; infinite: the host is given up.

        Segments of a body that is being fetched wait for pause and probe, but not for the pace: they are few.
        """
        with self._lock:
            record = self._record(key, now)
            if record is None:
                return 0.0
            if record.given_up:
                return inf
            if now < record.until:
                return record.until - now
            if not record.is_open and record.probing.is_stuck(now) and not record.probing.wants(name):
                record.end_pause(now)
            if record.is_open:
                wait = record.pace.reserve(now)
                return 0.0 if is_segment else wait
            if record.is_shared and self.is_governed and not record.may_probe(now):
                self._wanted.add(key)
                return LOOK
            return record.probing.reserve(name, now)

    def is_wanted(self, key: str, name: str, now: float) -> bool:
        """Is this URL suited as the next probe? A throttled one is not, unless it is to be tried."""
        record = self.hot.get(key)
        return record is None or record.is_open or now < record.until or record.probing.wants(name)

    def answered(self, key: str, begun: float, now: float, name: str = "") -> None:
        """Record a host's good answer to a request ``begun`` then, for the URL of this ``name``."""
        good = self._good
        counts = good.now if now - good.began < PERIOD else good.counts(now)
        if key in counts:
            counts[key] += 1
        else:
            counts[key] = 1
            self._recent.remember(key)
        if key in self.hot:
            with self._lock:
                record = self.hot.get(key)
                if record is not None:
                    record.answered(name, begun, now)

    def answers(self, key: str, begun: float, now: float, name: str = "") -> None:
        """Note that the body of a good answer has begun: if it is the probe's, no other URL waits for its end."""
        record = self.hot.get(key)
        if record is not None and not record.is_open:
            with self._lock:
                record.probe_answered(name, begun, now)

    def unanswered(self, key: str, *, begun: float, now: float) -> None:
        """Allow another probe, because a request said nothing about the host."""
        with self._lock:
            record = self.hot.get(key)
            if record is not None and begun >= record.stepped:
                record.probing.again(now)

    def blame(
        self,
        key: str,
        url: str,
        *,
        begun: float,
        asked: float | None,
        excused: float,
        now: float,
        status: int | None = None,
        patience: float = inf,
    ) -> bool:
        """Record a throttling answer; True: it concerns the host and costs the URL no attempt.

        ``asked`` is the wait the host asked for, in seconds; more than a day is bounded by ``patience``, because it is
        unlikely to be intended. ``excused`` is when this URL was first throttled: if the host gives no time and has
        answered others since, the answer concerns the URL.
        """
        name, told = output_name(url), asked
        if asked is not None and asked > LONGEST_ASKED:
            asked = min(asked, _OF_PATIENCE * patience)
        with self._lock:
            record = self._record(key, now)
            if asked is not None and record is not None:
                is_the_hosts = record.throttled(name, begun, now)
                if is_the_hosts is not None:
                    return is_the_hosts
            self._recent.count_throttled(key, now)
            if record is not None and begun < record.stepped:
                record.note_late(asked, now, self._longer)
                return True
            if asked is None:
                self._recent.suspect(key, url, now)
                if not self._concerns_host(key, record, excused, now):
                    if record is not None:
                        record.probing.again(now)
                    return False
            if record is None:
                record = self._begin(key, now)
                if asked is not None:
                    record.evidence.suspect(name, now)
            if asked is not None or record.pace.answered == 0 or self._recent.is_frequent(key, now):
                record.name, record.status, record.asked = name, status, told
                self._step(key, record, asked, now)
            return True

    def pause(self, key: str, now: float) -> Pause | None:
        """Return a host's pause; None: it has none."""
        record = self.hot.get(key)
        return record.pause_at(now) if record is not None else None

    # ------------------------------------------------------------------------------------- with other processes

    @property
    def has_news(self) -> bool:
        """Is there news for other processes, or a host to be probed?"""
        return bool(self._changed or self._wanted)

    def news(self, now: float) -> tuple[Sequence[HostState], Sequence[str]]:
        """Return the changed states of hosts, and the hosts that this process would probe."""
        with self._lock:
            changed, wanted = list(self._changed), list(self._wanted)
            self._changed.clear()
            self._wanted.clear()
            return [self.hot[key].state(key, now) for key in changed if key in self.hot], wanted

    def keep_news(self, states: Sequence[HostState]) -> None:
        """Keep states that could not be sent for the next exchange."""
        with self._lock:
            self._changed.update(state.host for state in states)

    def grant(self, key: str, now: float) -> None:
        """Let this process probe the host for all."""
        with self._lock:
            record = self.hot.get(key)
            if record is not None:
                record.grant(now)

    def learn(self, state: HostState, now: float) -> None:
        """Adopt another process's state of a host."""
        with self._lock:
            record = self._record(state.host, now)
            if state.is_by_url:
                record = record or self._begin(state.host, now)
                record.evidence.by_url.believe()
            if state.is_open:
                if record is not None:
                    record.learn_open(now)
            else:
                record = record or self._begin(state.host, now)
                record.take_over(state, now)

    def _concerns_host(self, key: str, record: HostRecord | None, excused: float, now: float) -> bool:
        if record is not None and record.is_curved:
            return record.good_at <= excused
        return self._recent.point_at_host(key, now)

    def _step(self, key: str, record: HostRecord, asked: float | None, now: float) -> None:
        """Record an incident: pause the host and lower its pace."""
        curve = record.next_pause()
        pause = self._longer(curve, _JITTER) if asked is None else self._longer(asked)
        if asked is not None and record.pace.rate == inf:
            record.pace.suspect(self._good.count(key, now), self._good.pace(key, now))
        else:
            record.pace.slow_down(now, self._good.pace(key, now), is_open=record.is_open)
        record.step(pause, now, asks=asked is not None, has_answered=self._recent.has_answered(key))

    def _longer(self, seconds: float, jitter: float = _JITTER_OF_ASKED) -> float:
        return seconds + min(seconds * jitter, _LONGEST_JITTER) * self._random()

    def _record(self, key: str, now: float) -> HostRecord | None:
        record = self.hot.get(key)
        if record is not None and record.is_forgotten(now):
            self.hot.pop(key, None)
            return None
        return record

    def _begin(self, key: str, now: float) -> HostRecord:
        """Create a record; if there are many, remove outdated ones."""
        if len(self.hot) >= self._most_hot:
            for each in [each for each, record in self.hot.items() if record.is_forgotten(now)]:
                del self.hot[each]
            self._most_hot = max(_MANY_HOT, 2 * len(self.hot))
        record = self.hot[key] = HostRecord(now, partial(self._changed.add, key))
        return record
