"""What hosts ask for: which one is paused until when, and at what pace it is asked again.

A throttling answer is the host's where it says when to come again, or where several URLs got one: then the host is
paused for all of them. A pause without a time of its own follows a curve that doubles per incident; answers to requests
begun before an incident belong to it. After a pause one request probes; when it is answered, the others follow at the
pace that was learned, which rises slowly. It is what TCP does with a congested link: slow start up to the pace that
worked, then additive increase, and a multiplicative decrease per incident (RFC 5681).

One object serves all lanes of a process. What it learns of a longer pause is news for other processes, and theirs for
it; while they hear of one another, one of them probes for all. Times are the clock's seconds, paces starts per second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, sqrt

from contract.records.hosts import HostState

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0  # of the curve; what a host asks for may be longer
URLS, WITHIN = 3, 10.0  # so many different URLs throttled within so many seconds are the host's affair
GIVES_UP_AFTER, GIVES_UP_IN = 6, 600.0  # incidents, or seconds since the first, of a host that only throttles
LONGEST_ASKED = 86_400.0  # seconds; what asks for more is bounded by the patience of whoever asked
REMEMBERED = 600.0  # seconds after its last pause until a host's record is forgotten

SHARED_FROM = 5.0  # seconds of a pause that other processes are let know of
_JITTER, _JITTER_OF_ASKED = 0.25, 0.1  # of a pause at most, always upwards
_OF_PATIENCE = 0.9  # so that there is some left for what comes after the pause, made longer by chance
_LONGEST_JITTER = 5.0
_FORGIVEN = 3  # good answers since the last pause: then the curve begins anew
_PROBE_LASTS = 5.0  # seconds until another may probe, where nothing became of the probe: what it asked for may be slow
_GRANT_LASTS = 30.0  # seconds a process may probe for all
_PROBE_LOOK = 0.25  # seconds between two looks whether it is over, and between probes that tell nothing
_FIRST_PACE = 2.0  # of a host that answered nothing well before
_LOWEST_PACE = 0.05
_KEPT, _RESUMED = 0.9, 0.7  # of the pace that worked: up to where growth is quick, and where it begins
_QUICK = 0.5  # starts/s more per good answer: 1.6 times as many per second
_SLOW, _BOLDER = (
    0.03,
    10.0,
)  # of the pace more per second; twice as much after so many seconds, and as the square of them
_SAMPLE = 20  # good answers that tell a pace; of fewer nothing is learned but to begin anew
_TOLERATED = 0.03  # throttled answers of good ones: so few are about single URLs
_PERIOD = 2.0  # seconds over which answers are counted
_MANY_HOT = 1_000  # records; when there are as many they are looked through
_MOST_KNOWN = 20_000  # hosts remembered for having answered, and as suspects


@dataclass(frozen=True, slots=True)
class Pause:
    """A host's pause: seconds left, since when nothing but throttling came from it, and whether it is given up.

    ``status`` is that of the answer it began with, ``asked`` the seconds that one asked for.
    """

    left: float
    since: float
    is_given_up: bool
    status: int | None = None
    asked: float | None = None


class _Tally:
    """Counts events by host over the last two to four seconds."""

    def __init__(self) -> None:
        self.began = -inf
        self.now: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def counts(self, now: float) -> dict[str, int]:
        """Return where to count an event of this moment, by host."""
        if now - self.began >= _PERIOD:
            self._before = self.now if now - self.began < 2 * _PERIOD else {}
            self.began, self.now = now, {}
        return self.now

    def count(self, key: str, now: float) -> int:
        if now - self.began >= 2 * _PERIOD:
            return 0
        return self.now.get(key, 0) + self._before.get(key, 0)

    def rate(self, key: str, now: float) -> float:
        """Return events per second; of a host known for less than a second, all of them count as that second's."""
        span = now - self.began + (_PERIOD if key in self._before else 0.0)
        return self.count(key, now) / max(1.0, span)


class _Record:
    """A host that throttles, or did of late."""

    __slots__ = (
        "answered", "asked", "asks", "ceiling", "first", "given_up", "good", "good_at", "granted_until", "incidents",
        "is_curved", "is_open", "is_shared", "limited_at", "next_start", "pace", "pause", "probed", "refused",
        "resumed", "since", "status", "stepped", "streak", "until", "worked",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.until = now
        self.stepped = -inf  # when the last incident was
        self.streak = 0  # incidents in succession
        self.pause = 0.0
        self.first = self.since = now
        self.incidents = 0  # since it last answered well
        self.asks = False  # it has said when to come again
        self.status: int | None = None  # of the answer the last pause began with
        self.asked: float | None = None  # the seconds that one asked for
        self.is_curved = False  # several of its URLs were throttled without a word about that
        self.given_up = False
        self.is_open = True  # no pause, or its probe was answered
        self.probed = -inf
        self.is_shared = False  # others know of the pause
        self.granted_until = -inf  # this process is the one to probe
        self.resumed = now
        self.answered = 0  # good answers since then
        self.good_at = -inf  # when the last one was
        self.pace = self.ceiling = inf  # it has shown no limit
        self.refused = self.good = 0  # throttled answers since it asked for a pause, and good ones until its probe's
        self.worked = 0.0  # the pace at which those came; 0: it is not known
        self.next_start = -inf
        self.limited_at = -inf


class Hosts:
    """May be called from any thread. ``hot`` holds the hosts that there is anything to ask about."""

    def __init__(self, random: Callable[[], float]) -> None:
        self.hot: dict[str, _Record] = {}
        self._most_hot = _MANY_HOT
        self._random = random
        self._lock = threading.Lock()
        self._good = _Tally()
        self._throttled = _Tally()
        self._known: dict[str, None] = {}  # hosts that have answered well
        self._suspects: dict[str, dict[str, float]] = {}  # when which URL was throttled, of hosts that are not hot
        self._changed: set[str] = set()  # hosts there is news of for other processes
        self._wanted: set[str] = set()  # hosts whose shared pause is over, to be probed by one process
        self.is_governed = False  # other processes are heard of

    def may_start(self, key: str, now: float, *, is_segment: bool = False) -> float:
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
            if record.is_open:
                wait = _turn_at_pace(record, now)
                return 0.0 if is_segment else wait
            if record.is_shared and self.is_governed and now >= record.granted_until:
                self._wanted.add(key)
                return _PROBE_LOOK
            return _turn_to_probe(record, now)

    def answered(self, key: str, begun: float, now: float) -> None:
        """A host gave a good answer to a request that was ``begun`` then."""
        good = self._good
        counts = good.now if now - good.began < _PERIOD else good.counts(now)
        if key in counts:
            counts[key] += 1
        else:
            counts[key] = 1
            self._remember(key)
        if key in self.hot:
            with self._lock:
                record = self.hot.get(key)
                if record is not None and begun >= record.stepped:
                    self._open(key, record, now)
                    _grow(record, now)
                elif record is not None:
                    record.good += 1

    def answers(self, key: str, begun: float, now: float) -> None:
        """The body of a good answer has begun to come, which may take long: where that is the probe, no other waits."""
        record = self.hot.get(key)
        if record is not None and not record.is_open and begun >= record.stepped:
            with self._lock:
                self._open(key, record, now)

    def unanswered(self, key: str, *, begun: float, now: float) -> None:
        """A request led to nothing that tells how the host is: another may probe."""
        with self._lock:
            record = self.hot.get(key)
            if record is not None and begun >= record.stepped:
                _probe_again(record, now)

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
            counts = self._throttled.counts(now)
            counts[key] = counts.get(key, 0) + 1
            if record is not None and begun < record.stepped:
                self._note_late(key, record, asked, now)
                return True
            if asked is None and not self._concerns_host(key, record, url, excused, now):
                if record is not None:
                    _probe_again(record, now)
                return False
            if record is None:
                record = self._begin(key, now)
            if asked is not None or record.answered == 0 or self._is_frequent(key, now):
                record.status, record.asked = status, told
                self._step(key, record, asked, now)
            return True

    def pause(self, key: str, now: float) -> Pause | None:
        """Return a host's pause; None: it has none."""
        record = self.hot.get(key)
        if record is None or (record.is_open and not record.given_up):
            return None
        left = max(0.0, record.until - now)
        return Pause(left, record.since, record.given_up, record.status, record.asked)

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
            return [_state(key, self.hot[key], now) for key in changed if key in self.hot], list(wanted)

    def keep_news(self, states: Sequence[HostState]) -> None:
        """They could not be told: they are for the next time."""
        with self._lock:
            self._changed.update(state.host for state in states)

    def grant(self, key: str, now: float) -> None:
        """This process is the one to probe."""
        with self._lock:
            record = self.hot.get(key)
            if record is not None:
                record.granted_until = now + _GRANT_LASTS

    def learn(self, state: HostState, now: float) -> None:
        """Take over what another process knows of a host."""
        with self._lock:
            record = self._record(state.host, now)
            if state.is_open:
                if record is not None and not record.is_open and now >= record.until:
                    _open(record, now)
                    _grow(record, now)
                return
            if record is None:
                record = self._begin(state.host, now)
            _take_over(record, state, now)

    def _concerns_host(self, key: str, record: _Record | None, url: str, excused: float, now: float) -> bool:
        if record is not None and record.is_curved:
            return record.good_at <= excused
        is_few = self._throttled.count(key, now) <= _tolerated(self._good.count(key, now))
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
        return self._throttled.count(key, now) > _TOLERATED * self._good.count(key, now)

    def _step(self, key: str, record: _Record, asked: float | None, now: float) -> None:
        """An incident: pause the host, and take its pace back."""
        record.streak = 1 if record.answered >= _FORGIVEN else record.streak + 1
        record.pause = self._longer(_curve(record.streak), _JITTER) if asked is None else self._longer(asked)
        if asked is not None and record.pace == inf:
            self._suspect(key, record, now)
        else:
            self._slow_down(key, record, now)
        if record.is_open:
            record.since = now
        if asked is None:
            record.is_curved = True
        else:
            record.asks = True
        record.incidents += 1
        record.until, record.stepped, record.is_open = now + record.pause, now, False
        record.probed, record.answered = -inf, 0
        is_hopeless = record.incidents >= GIVES_UP_AFTER or now - record.first >= GIVES_UP_IN
        record.given_up = is_hopeless and not record.asks and key not in self._known
        if record.is_shared or record.given_up or record.pause >= SHARED_FROM:
            record.is_shared = True
            record.granted_until = -inf
            self._changed.add(key)

    def _longer(self, seconds: float, jitter: float = _JITTER_OF_ASKED) -> float:
        return seconds + min(seconds * jitter, _LONGEST_JITTER) * self._random()

    def _open(self, key: str, record: _Record, now: float) -> None:
        """Its probe is answered."""
        if not record.is_open:
            if record.is_shared:
                self._changed.add(key)
            _open(record, now)

    def _suspect(self, key: str, record: _Record, now: float) -> None:
        """It asks for a pause; whether it limits its pace, what else comes of the incident shows."""
        if not record.refused:
            record.good = self._good.count(key, now)
            record.worked = self._pace_of(key, now)
        record.refused += 1

    def _pace_of(self, key: str, now: float) -> float:
        """Return the pace at which it answered well; 0: there are too few answers to tell."""
        return self._good.rate(key, now) if self._good.count(key, now) >= _SAMPLE else 0.0

    def _slow_down(self, key: str, record: _Record, now: float) -> None:
        if record.pace == inf:
            worked = self._pace_of(key, now)
        elif record.is_open and now - record.resumed >= 1.0:
            worked = min(record.pace, record.answered / (now - record.resumed))
        else:
            worked = _RESUMED * record.pace
        _keep_below(record, worked)

    def _remember(self, key: str) -> None:
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = None

    def _record(self, key: str, now: float) -> _Record | None:
        record = self.hot.get(key)
        if record is not None and _is_forgotten(record, now):
            self.hot.pop(key, None)
            return None
        return record

    def _begin(self, key: str, now: float) -> _Record:
        """Begin a record; when they have become many, those nobody asks for any more go."""
        if len(self.hot) >= self._most_hot:
            for each in [each for each, record in self.hot.items() if _is_forgotten(record, now)]:
                del self.hot[each]
            self._most_hot = max(_MANY_HOT, 2 * len(self.hot))
        record = self.hot[key] = _Record(now)
        return record

    def _note_late(self, key: str, record: _Record, asked: float | None, now: float) -> None:
        """Take the answer to a request that was in flight when the incident was: no news, but for what it asks."""
        record.refused += 1
        if asked is not None:
            record.asks = True
            if now + asked > record.until:  # else the chance that the pause was made longer by is enough for all
                record.until = now + self._longer(asked)
            if record.is_shared or record.until - now >= SHARED_FROM:
                record.is_shared = True
                self._changed.add(key)


def _is_forgotten(record: _Record, now: float) -> bool:
    return now - max(record.until, record.stepped) >= REMEMBERED


def _curve(streak: int) -> float:
    return min(FIRST_PAUSE * 2.0 ** min(streak - 1, 30), LONGEST_PAUSE)


def _tolerated(good: int) -> float:
    """Return how many throttled answers beside so many good ones may be about single URLs, and chance (two sigma)."""
    expected = _TOLERATED * good
    return expected + 2.0 * sqrt(expected)


def _turn_to_probe(record: _Record, now: float) -> float:
    if now - record.probed < _PROBE_LASTS:
        return _PROBE_LOOK
    record.probed = now
    return 0.0


def _probe_again(record: _Record, now: float) -> None:
    record.probed = now - _PROBE_LASTS + _PROBE_LOOK


def _turn_at_pace(record: _Record, now: float) -> float:
    if now < record.next_start:
        record.limited_at = now
        return record.next_start - now
    gap = 1.0 / record.pace
    record.next_start = max(record.next_start, now - gap) + gap  # one that is late may be caught up with, no more
    return 0.0


def _keep_below(record: _Record, worked: float) -> None:
    """Ask it more slowly than at the pace that worked, or slowly where none did."""
    if worked:
        record.ceiling = max(_LOWEST_PACE, _KEPT * worked)
        record.pace = max(_LOWEST_PACE, _RESUMED * record.ceiling)
    elif record.pace == inf:
        record.pace = _FIRST_PACE


def _open(record: _Record, now: float) -> None:
    if record.pace == inf and record.refused > max(1.0, _tolerated(record.good)):
        _keep_below(record, record.worked)
    record.refused = 0
    record.is_open, record.resumed, record.answered = True, now, 0
    record.incidents, record.given_up, record.first = 0, False, now
    record.next_start = now
    record.is_shared, record.granted_until = False, -inf


def _grow(record: _Record, now: float) -> None:
    record.answered += 1
    record.good_at = now
    if record.pace < record.ceiling:
        record.pace = min(record.pace + _QUICK, record.ceiling)
    elif now - record.limited_at < 1.0:  # what is not used up is no reason to have more
        record.pace = record.ceiling = record.pace + _SLOW * (1 + ((now - record.resumed) / _BOLDER) ** 2)


def _state(key: str, record: _Record, now: float) -> HostState:
    return HostState(
        key,
        left=max(0.0, record.until - now),
        streak=record.streak,
        pace=None if record.ceiling == inf else record.pace,
        asks=record.asks,
        is_open=record.is_open,
        is_given_up=record.given_up,
        status=record.status,
        asked=record.asked,
    )


def _take_over(record: _Record, state: HostState, now: float) -> None:
    """Have a host paused as another process has it; what is in flight belongs to that incident."""
    if record.is_open:
        record.since = now
    record.until, record.stepped = max(record.until, now + state.left), now
    record.is_open, record.is_shared, record.given_up = False, True, state.is_given_up
    record.streak, record.answered = max(record.streak, state.streak), 0
    record.status, record.asked = state.status, state.asked
    record.asks = record.asks or state.asks
    record.is_curved = record.is_curved or not state.asks
    record.probed = record.granted_until = -inf
    if record.pace == inf:
        record.pace, record.ceiling = state.pace or _FIRST_PACE, state.pace or inf
