"""The record of a throttling host: its pause, the incident that began it, and what ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from contract.records.hosts import HostState
from worker.engine.evidence import Evidence
from worker.engine.pace import Pace
from worker.engine.probing import Probing

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0  # of the curve; a host may ask for more
GIVES_UP_AFTER, GIVES_UP_IN = 6, 600.0  # incidents, or seconds since the first one, of a host that only throttles
REMEMBERED = 600.0  # seconds after its last pause until a host's record is forgotten

SHARED_FROM = 5.0  # seconds; pauses this long are shared with other processes
_FORGIVEN = 3  # good answers since the last pause after which the curve restarts
_GRANT_LASTS = 30.0  # seconds one process may probe for all


@dataclass(frozen=True, slots=True)
class Pause:
    """A host's pause: the seconds left, since when the host only throttled, and whether it is given up.

    ``status`` is that of the answer that began it, ``asked`` the seconds which that one asked for.
    """

    left: float
    since: float
    is_given_up: bool
    status: int | None = None
    asked: float | None = None


class HostRecord:
    """A host that throttles, or did lately. Times are the clock's seconds.

    ``share`` is called when other processes should learn of its state.
    """

    __slots__ = (
        "_first", "_granted_until", "_incidents", "_is_by_url", "_share", "_since", "_streak", "asked", "asks",
        "evidence", "given_up", "good_at", "is_curved", "is_open", "is_shared", "name", "pace", "probing", "status",
        "stepped", "until",
    )  # fmt: skip

    def __init__(self, now: float, share: Callable[[], None]) -> None:
        self._share = share
        self.until = now
        self.stepped = -inf  # time of the last incident
        self._streak = 0  # incidents in succession
        self._first = self._since = now
        self._incidents = 0  # since it last answered well
        self.asks = False  # it has said when to retry
        self.name = ""  # of the URL that began the last pause
        self.status: int | None = None  # of that answer
        self.asked: float | None = None  # the seconds that answer asked for
        self.is_curved = False  # it throttled several URLs without saying when to retry
        self.given_up = False
        self.is_open = True  # not paused, or its probe was answered
        self.is_shared = False  # the pause is shared
        self._granted_until = -inf  # until then this process may probe for all
        self.good_at = -inf  # time of the last good answer
        self.pace = Pace(now)
        self.evidence = Evidence()
        self.probing = Probing(self.pace, self.evidence, now)
        self._is_by_url = False  # as shared with other processes

    def is_forgotten(self, now: float) -> bool:
        return now - self.until >= REMEMBERED

    def pause_at(self, now: float) -> Pause | None:
        """Return its pause; None: it has none."""
        if self.is_open:
            return None
        return Pause(max(0.0, self.until - now), self._since, self.given_up, self.status, self.asked)

    # ------------------------------------------------------------------------------------------- incidents

    def next_pause(self) -> float:
        """Count an incident, and return the seconds of its pause by the curve."""
        self._streak = 1 if self.pace.answered >= _FORGIVEN else self._streak + 1
        return min(FIRST_PAUSE * 2.0 ** min(self._streak - 1, 30), LONGEST_PAUSE)

    def step(self, pause: float, now: float, *, asks: bool, has_answered: bool) -> None:
        """Record an incident and pause the host for ``pause`` seconds. ``has_answered``: it has ever answered well."""
        if self.is_open:
            self._since = now
        elif self.probing.has_trial:
            self.evidence.by_url.trials.doubt()
        if asks:
            self.asks = True
        else:
            self.is_curved = True
        self._incidents += 1
        self.until, self.stepped, self.is_open = now + pause, now, False
        self.probing.begin(now)
        self.pace.answered = 0
        self.evidence.by_url.trials.pause()
        is_hopeless = self._incidents >= GIVES_UP_AFTER or now - self._first >= GIVES_UP_IN
        self.given_up = is_hopeless and not self.asks and not has_answered
        if self.is_shared or self.given_up or pause >= SHARED_FROM:
            self.is_shared = True
            self._granted_until = -inf
            self._share()

    def note_late(self, asked: float | None, now: float, longer: Callable[[float], float]) -> None:
        """Record an answer to a request from before the incident: only the wait it asks for is new.

        ``longer`` adds jitter to that.
        """
        self.pace.refused += 1
        if asked is None:
            return
        self.asks = True
        if now + asked > self.until:  # else the jitter of the pause covers it
            self.until = now + longer(asked)
        if self.is_shared or self.until - now >= SHARED_FROM:
            self.is_shared = True
            self._share()

    # --------------------------------------------------------------------------------------------- answers

    def throttled(self, name: str, begun: float, now: float) -> bool | None:
        """Record an answer that asks for a pause; return whether it concerns the host. None: it is an incident."""
        evidence, probing = self.evidence, self.probing
        is_first_request = evidence.first_requests.explains(name)
        evidence.throttled(
            name,
            self.good_at,
            now,
            is_answering=self.is_open and self.pace.answered > 0,
            is_probe=not self.is_open and probing.is_first and begun >= self.stepped,
        )
        is_own = evidence.by_url.explains(name)
        if is_own or is_first_request:
            if not self.is_open:
                probing.again(now)
            if not is_own:
                self.pace.release()
                self.pace.grow(now)  # such an answer shows no limit
            return not is_own
        if not self.is_open and probing.note_failure(name):
            if probing.ends_trial(now):
                self.end_pause(now)
            self._note_by_url()
            return True
        # Requests sent together with a trial that opened the host no longer count.
        is_settled = self.is_open and self.stepped <= begun < self.pace.resumed
        return True if is_settled else None

    def answered(self, name: str, begun: float, now: float) -> None:
        """Record a good answer to a request ``begun`` then."""
        self.evidence.answered(name)
        if begun < self.stepped:
            self.pace.good += 1
            return
        self.probe_answered(name, begun, now)
        self._note_good(now)

    def probe_answered(self, name: str, begun: float, now: float) -> None:
        """Record a good answer during a pause, which ends if probe and trials are over."""
        if self.is_open:
            return
        if self.probing.passes(name, begun, now):
            self.end_pause(now)
        self._note_by_url()

    def end_pause(self, now: float) -> None:
        if self.is_shared:
            self._share()
        self._open(now)

    def _note_good(self, now: float) -> None:
        self.good_at = now
        self.pace.grow(now)

    def _open(self, now: float) -> None:
        self.pace.resume(now)
        self.is_open = True
        self._incidents, self.given_up, self._first = 0, False, now
        self.is_shared, self._granted_until = False, -inf

    def _note_by_url(self) -> None:
        """Release the pace of a host that turns out to throttle by URL, and share that."""
        is_by_url = self.evidence.by_url.holds
        if is_by_url and not self._is_by_url:
            self.pace.release()
            self._share()
        self._is_by_url = is_by_url

    # ----------------------------------------------------------------------------------------------- probes

    def may_probe(self, now: float) -> bool:
        """May this process probe a host whose pause is shared?"""
        return now < self._granted_until

    def grant(self, now: float) -> None:
        self._granted_until = now + _GRANT_LASTS

    # ------------------------------------------------------------------------------------ with other processes

    def state(self, key: str, now: float) -> HostState:
        return HostState(
            key,
            left=max(0.0, self.until - now),
            streak=self._streak,
            pace=self.pace.learned,
            asks=self.asks,
            is_open=self.is_open,
            is_given_up=self.given_up,
            status=self.status,
            asked=self.asked,
            name=self.name,
            is_by_url=self.evidence.by_url.holds,
        )

    def learn_open(self, now: float) -> None:
        """Adopt that another process's probe was answered."""
        if not self.is_open and now >= self.until:
            self._open(now)
            self._note_good(now)

    def take_over(self, state: HostState, now: float) -> None:
        """Adopt another process's pause; requests in flight belong to its incident."""
        if self.is_open:
            self._since = now
        self.until, self.stepped = max(self.until, now + state.left), now
        self.is_open, self.is_shared, self.given_up = False, True, state.is_given_up
        self._streak, self.pace.answered = max(self._streak, state.streak), 0
        self.name, self.status, self.asked = state.name, state.status, state.asked
        if state.name:
            self.evidence.suspect(state.name, now)
        self.asks = self.asks or state.asks
        self.is_curved = self.is_curved or not state.asks
        self.probing.begin(now)
        self._granted_until = -inf
        self.pace.take_over(state.pace)
