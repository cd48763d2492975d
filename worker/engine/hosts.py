"""What hosts ask for: which one is paused until when, and who asks it first thereafter.

A throttling answer is the host's where it says when to come again, or where several URLs got one: then the host is
paused for all of them. A pause without a time of its own follows a curve that doubles per incident; answers to requests
begun before an incident belong to it. Where a URL turns out to be the reason itself (``evidence``), it waits alone.
After a pause one request probes; when it is answered, the others follow at the pace that was learned (``pace``).

One object serves all lanes of a process. What it learns of a longer pause is news for other processes, and theirs for
it; while they hear of one another, one of them probes for all. Times are the clock's seconds.
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

URLS, WITHIN = 3, 10.0  # so many different URLs throttled within so many seconds are the host's affair
LONGEST_ASKED = 86_400.0  # seconds; what asks for more is bounded by the patience of whoever asked
_JITTER, _JITTER_OF_ASKED = 0.25, 0.1  # of a pause at most, always upwards
_OF_PATIENCE = 0.9  # so that there is some left for what comes after the pause, made longer by chance
_LONGEST_JITTER = 5.0
_MANY_HOT = 1_000  # records; when there are as many they are looked through
_MOST_KNOWN = 20_000  # hosts remembered for having answered, and as suspects


class Hosts:
    """May be called from any thread. ``hot`` holds the hosts that there is anything to ask about."""

    def __init__(self, random: Callable[[], float]) -> None:
        self.hot: dict[str, HostRecord] = {}
        self._most_hot = _MANY_HOT
        self._random = random
        self._lock = threading.Lock()
        self._good = Tally()
        self._throttled = Tally()
        self._known: dict[str, None] = {}  # hosts that have answered well
        self._suspects: dict[str, dict[str, float]] = {}  # when which URL was throttled, of hosts that are not hot
        self._changed: set[str] = set()  # hosts there is news of for other processes
        self._wanted: set[str] = set()  # hosts whose shared pause is over, to be probed by one process
        self.is_governed = False  # other processes are heard of

    def may_start(self, key: str, now: float, name: str = "", *, is_segment: bool = False) -> float:
        """Take a start at a host: 0, or the seconds after which to ask again; infinite: it is given up.

        Segments of a body that is being fetched keep to the pause and its probe, not to the pace: they are few at once.
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
                wait = record.pace.turn(now)
                return 0.0 if is_segment else wait
            if record.is_shared and self.is_governed and not record.may_probe(now):
                self._wanted.add(key)
                return LOOK
            return record.probing.take(name, now)

    def is_wanted(self, key: str, name: str, now: float) -> bool:
        """May this URL be the one to probe with? One that was throttled tells less, but where it is to be tried."""
        record = self.hot.get(key)
        return record is None or record.is_open or now < record.until or record.probing.wants(name)

    def answered(self, key: str, begun: float, now: float, name: str = "") -> None:
        """A host gave a good answer to a request that was ``begun`` then, for the URL of this ``name``."""
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
        """The body of a good answer has begun to come, which may take long: where that is the probe, no other waits."""
        record = self.hot.get(key)
        if record is not None and not record.is_open and begun >= record.stepped:
            with self._lock:
                self._pass(key, record, name, begun, now)

    def unanswered(self, key: str, *, begun: float, now: float) -> None:
        """A request led to nothing that tells how the host is: another may probe."""
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
        """Take a throttling answer; True: it is the host's and costs the URL no attempt.

        ``asked`` is what the host asked for, in seconds; of more than a day ``patience`` decides, so that one answer
        which can hardly be meant does not set all of the host aside. ``excused`` is when this URL was first throttled:
        where the host has answered others since, and says nothing, it is the URL's own affair.
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
        """Is there anything to tell other processes, or to ask them for?"""
        return bool(self._changed or self._wanted)

    def news(self, now: float) -> tuple[Sequence[HostState], Sequence[str]]:
        """Return the states of hosts other processes should know, and the hosts this one would probe."""
        with self._lock:
            changed, self._changed = self._changed, set()
            wanted, self._wanted = self._wanted, set()
            return [self.hot[key].state(key, now) for key in changed if key in self.hot], list(wanted)

    def keep_news(self, states: Sequence[HostState]) -> None:
        """They could not be told: they are for the next time."""
        with self._lock:
            self._changed.update(state.host for state in states)

    def grant(self, key: str, now: float) -> None:
        """This process is the one to probe."""
        with self._lock:
            record = self.hot.get(key)
            if record is not None:
                record.grant(now)

    def learn(self, state: HostState, now: float) -> None:
        """Take over what another process knows of a host."""
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
        """Is an answer that asks for a pause about the host? None: it begins or continues one."""
        probing, is_answering = record.probing, record.is_open and record.pace.answered > 0
        is_probe = not record.is_open and probing.is_first
        if record.evidence.is_own(name, record.good_at, now, is_open=is_answering, is_probe=is_probe):
            if not record.is_open:
                probing.again(now)
            return False
        if not record.is_open and probing.takes_failure(name):
            if probing.ends_trial(now):
                self._open(key, record, now)
            self._note_by_url(key, record)
            return True
        # What went out with a trial that opened the host tells no more.
        is_settled = record.is_open and record.stepped <= begun < record.pace.resumed
        return True if is_settled else None

    def _concerns_host(self, key: str, record: HostRecord | None, url: str, excused: float, now: float) -> bool:
        if record is not None and record.is_curved:
            return record.good_at <= excused
        is_few = self._throttled.count(key, now) <= tolerated(self._good.count(key, now))
        return not is_few and self._is_incident(key, url, now)

    def _is_incident(self, key: str, url: str, now: float) -> bool:
        """Is this the third URL of late?"""
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
        """An incident: pause the host, and take its pace back."""
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
        """It answered well: it is opened after its probe, and after what that was followed by."""
        if record.is_open:
            return
        if record.probing.passes(name, begun, now):
            self._open(key, record, now)
        self._note_by_url(key, record)

    def _note_by_url(self, key: str, record: HostRecord) -> None:
        """A host that turns out to throttle by URL has shown no limit, and others are to know."""
        if record.evidence.is_by_url and not record.is_by_url:
            record.pace.release()
            self._changed.add(key)
        record.is_by_url = record.evidence.is_by_url

    def _open(self, key: str, record: HostRecord, now: float) -> None:
        """Its probe is answered."""
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
        """Begin a record; when they have become many, those nobody asks for any more go."""
        if len(self.hot) >= self._most_hot:
            for each in [each for each, record in self.hot.items() if record.is_forgotten(now)]:
                del self.hot[each]
            self._most_hot = max(_MANY_HOT, 2 * len(self.hot))
        record = self.hot[key] = HostRecord(now)
        return record

    def _note_late(self, key: str, record: HostRecord, asked: float | None, now: float) -> None:
        """Take the answer to a request that was in flight when the incident was: no news, but for what it asks."""
        record.pace.refused += 1
        if asked is not None:
            record.asks = True
            if now + asked > record.until:  # else the chance that the pause was made longer by is enough for all
                record.until = now + self._longer(asked)
            if record.is_shared or record.until - now >= SHARED_FROM:
                record.is_shared = True
                self._changed.add(key)
