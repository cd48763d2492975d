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
from math import inf

from contract.records.hosts import HostState
from contract.urls.naming import output_name
from worker.engine.host_record import SHARED_FROM, HostRecord, Pause
from worker.engine.pace import PERIOD, Tally, is_frequent, tolerated
from worker.engine.probing import LOOK

URLS, WITHIN = 3, 10.0  # this many different URLs throttled within this many seconds concern the host
LONGEST_ASKED = 86_400.0  # seconds; longer requests are bounded by the job's patience
_JITTER, _JITTER_OF_ASKED = 0.25, 0.1  # of a pause, at most; always lengthening it
_OF_PATIENCE = 0.9  # leaves some patience after the pause and its jitter
_LONGEST_JITTER = 5.0
_MANY_HOT = 1_000  # records; then outdated ones are removed
_MOST_KNOWN = 20_000  # hosts remembered for having answered, and as suspects


class Hosts:
    """Thread-safe. ``hot`` holds the records of throttling hosts; others need no call."""

    def __init__(self, random: Callable[[], float]) -> None:
        self.hot: dict[str, HostRecord] = {}
        self._most_hot = _MANY_HOT
        self._random = random
        self._lock = threading.Lock()
        self._good = Tally()
        self._throttled = Tally()
        self._known: dict[str, None] = {}  # hosts that have answered well
        self._suspects: dict[str, dict[str, float]] = {}  # throttled URLs and their times, of hosts that are not hot
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
                self._open(key, record, now)
            if record.is_open:
                wait = record.pace.reserve(now)
                return 0.0 if is_segment else wait
            if record.is_shared and self.is_governed and not record.may_probe(now):
                self._wanted.add(key)
                return LOOK
            return record.probing.take(name, now)

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
            self._remember(key)
        if key in self.hot:
            with self._lock:
                record = self.hot.get(key)
                if record is None:
                    return
                record.evidence.answered(name)
                if begun >= record.stepped:
                    self._pass(key, record, name, begun, now)
                    record.answer(now)
                else:
                    record.pace.good += 1

    def answers(self, key: str, begun: float, now: float, name: str = "") -> None:
        """Note that the body of a good answer has begun: if it is the probe's, no other URL waits for its end."""
        record = self.hot.get(key)
        if record is not None and not record.is_open and begun >= record.stepped:
            with self._lock:
                self._pass(key, record, name, begun, now)

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
        told = asked
        if asked is not None and asked > LONGEST_ASKED:
            asked = min(asked, _OF_PATIENCE * patience)
        with self._lock:
            record = self._record(key, now)
            if asked is not None and record is not None:
                is_the_hosts = self._is_the_hosts(key, record, output_name(url), begun, now)
                if is_the_hosts is not None:
                    return is_the_hosts
            counts = self._throttled.counts(now)
            counts[key] = counts.get(key, 0) + 1
            if record is not None and begun < record.stepped:
                self._note_late(key, record, asked, now)
                return True
            if asked is None and not self._concerns_host(key, record, url, excused, now):
                if record is not None:
                    record.probing.again(now)
                return False
            if record is None:
                record = self._begin(key, now)
                if asked is not None:
                    record.evidence.suspect(output_name(url), now)
            if asked is not None or record.pace.answered == 0 or self._is_frequent(key, now):
                record.name, record.status, record.asked = output_name(url), status, told
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
            changed, self._changed = self._changed, set()
            wanted, self._wanted = self._wanted, set()
            return [self.hot[key].state(key, now) for key in changed if key in self.hot], list(wanted)

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
                record.evidence.believe()
            if state.is_open:
                if record is not None and not record.is_open and now >= record.until:
                    record.open(now)
                    record.answer(now)
                return
            if record is None:
                record = self._begin(state.host, now)
            record.take_over(state, now)

    def _is_the_hosts(self, key: str, record: HostRecord, name: str, begun: float, now: float) -> bool | None:
        """Does an answer that asks for a pause concern the host? None: it begins or prolongs a pause."""
        probing, is_answering = record.probing, record.is_open and record.pace.answered > 0
        is_probe = not record.is_open and probing.is_first and begun >= record.stepped
        is_first = record.evidence.is_by_first and not record.evidence.is_suspect(name)
        if record.evidence.is_own(name, record.good_at, now, is_open=is_answering, is_probe=is_probe):
            if not record.is_open:
                probing.again(now)
            return False
        if is_first:
            record.pace.release()
            record.pace.grow(now)  # such an answer shows no limit
            if not record.is_open:
                probing.again(now)
            return True
        if not record.is_open and probing.takes_failure(name):
            if probing.ends_trial(now):
                self._open(key, record, now)
            self._note_by_url(key, record)
            return True
        # Requests sent together with a trial that opened the host no longer count.
        is_settled = record.is_open and record.stepped <= begun < record.pace.resumed
        return True if is_settled else None

    def _concerns_host(self, key: str, record: HostRecord | None, url: str, excused: float, now: float) -> bool:
        if record is not None and record.is_curved:
            return record.good_at <= excused
        is_few = self._throttled.count(key, now) <= tolerated(self._good.count(key, now))
        return not is_few and self._is_incident(key, url, now)

    def _is_incident(self, key: str, url: str, now: float) -> bool:
        """Is this the third URL throttled lately?"""
        if len(self._suspects) >= _MOST_KNOWN:
            self._suspects.clear()
        urls = self._suspects.setdefault(key, {})
        urls[url] = now
        for each in [each for each, at in urls.items() if now - at > WITHIN]:
            del urls[each]
        if len(urls) < URLS:
            return False
        del self._suspects[key]
        return True

    def _is_frequent(self, key: str, now: float) -> bool:
        return is_frequent(self._throttled.count(key, now), self._good.count(key, now))

    def _step(self, key: str, record: HostRecord, asked: float | None, now: float) -> None:
        """Record an incident: pause the host and lower its pace."""
        curve = record.next_pause()
        pause = self._longer(curve, _JITTER) if asked is None else self._longer(asked)
        if asked is not None and record.pace.rate == inf:
            record.pace.suspect(self._good.count(key, now), self._good.pace(key, now))
        else:
            record.pace.slow_down(now, self._good.pace(key, now), is_open=record.is_open)
        record.step(pause, now, asks=asked is not None, has_answered=key in self._known)
        if record.is_shared:
            self._changed.add(key)

    def _longer(self, seconds: float, jitter: float = _JITTER_OF_ASKED) -> float:
        return seconds + min(seconds * jitter, _LONGEST_JITTER) * self._random()

    def _pass(self, key: str, record: HostRecord, name: str, begun: float, now: float) -> None:
        """Handle a good answer: open the host after its probe and trials."""
        if record.is_open:
            return
        if record.probing.passes(name, begun, now):
            self._open(key, record, now)
        self._note_by_url(key, record)

    def _note_by_url(self, key: str, record: HostRecord) -> None:
        """Release the pace of a host that turns out to throttle by URL, and share that."""
        if record.evidence.is_by_url and not record.is_by_url:
            record.pace.release()
            self._changed.add(key)
        record.is_by_url = record.evidence.is_by_url

    def _open(self, key: str, record: HostRecord, now: float) -> None:
        """End a host's pause."""
        if not record.is_open:
            if record.is_shared:
                self._changed.add(key)
            record.open(now)

    def _remember(self, key: str) -> None:
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = None

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
        record = self.hot[key] = HostRecord(now)
        return record

    def _note_late(self, key: str, record: HostRecord, asked: float | None, now: float) -> None:
        """Record an answer to a request sent before the incident: only the wait it asks for is new."""
        record.pace.refused += 1
        if asked is not None:
            record.asks = True
            if now + asked > record.until:  # else the jitter of the pause covers it
                record.until = now + self._longer(asked)
            if record.is_shared or record.until - now >= SHARED_FROM:
                record.is_shared = True
                self._changed.add(key)
