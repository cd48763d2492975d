"""The requests to a host after its pause, before the others follow: a probe, then URLs on trial.

The probe is a URL that was not throttled itself, if there is one. Then a throttled URL is tried, together with another
one that was not throttled, so that only the URL explains different answers; which of the two is sent first changes from
trial to trial. Trials continue while they point at URLs; any other result opens the host, or is an incident.
"""

from __future__ import annotations

from enum import StrEnum
from math import inf

from worker.engine.evidence import Evidence
from worker.engine.pace import Pace

LOOK = 0.25  # seconds between two checks of a probe, and between probes without result
_LASTS = 5.0  # seconds without an answer until another URL may probe
_LONGEST_GAP = 1.0  # seconds at most between a probe and a trial


class _Stage(StrEnum):
    PROBE = "probe"  #: a URL that was not throttled
    FIRST = "first"  #: a throttled URL, on trial, or its control, another one that was not throttled
    SECOND = "second"  #: the other one of the two, requested with it


class Probing:
    """The probing of one host; URLs are identified by name. Times are the clock's seconds."""

    __slots__ = (
        "_by_url", "_evidence", "_has_failed", "_is_control_first", "_is_controlled", "_on_trial", "_pace", "_probed",
        "_since", "_stage",
    )  # fmt: skip

    def __init__(self, pace: Pace, evidence: Evidence, now: float) -> None:
        self._pace = pace
        self._evidence = evidence
        self._by_url = evidence.by_url
        self._stage = _Stage.PROBE
        self._since = now  # when the stage began
        self._probed = -inf
        self._on_trial = ""
        self._is_control_first = False
        self._has_failed = False  # the URL on trial was throttled
        self._is_controlled = False  # the other URL was answered well

    def begin(self, now: float) -> None:
        """Start with a probe after the host's pause."""
        self._begin(_Stage.PROBE, now)

    @property
    def is_first(self) -> bool:
        """Is the probe the only request since the pause?"""
        return self._stage is _Stage.PROBE

    @property
    def has_trial(self) -> bool:
        """Is a trial under way?"""
        return self._stage is _Stage.SECOND

    @property
    def _is_trial_next(self) -> bool:
        """Is the next request to be for a URL on trial?"""
        if self._stage is _Stage.SECOND:
            return not self._on_trial
        return self._stage is _Stage.FIRST and not self._is_control_first

    def reserve(self, name: str, now: float) -> float:
        """Reserve a request for this URL: 0, or the seconds after which to ask again."""
        is_trial = self._is_trial_next
        if now - self._probed < _LASTS or (is_trial and not self.wants(name)):
            return LOOK
        self._probed = now
        if self._stage is _Stage.FIRST:
            self._begin(_Stage.SECOND, now)
        if is_trial:
            self._on_trial = name
        return 0.0

    def wants(self, name: str) -> bool:
        """Should this URL be requested now? If there is none such, others may be."""
        if self._is_trial_next:
            return self._by_url.is_question(name)
        is_suspects_turn = self._stage is _Stage.PROBE and self._evidence.is_suspects_turn
        return self._evidence.is_suspect(name) == is_suspects_turn

    def is_stuck(self, now: float) -> bool:
        """Is there no URL to be tried, or no answer to it?"""
        over = now - self._probed - _LASTS
        return over >= LOOK if self._is_trial_next else self._is_controlled and over >= 0

    def again(self, now: float) -> None:
        """Allow another request soon, because the last one had no result."""
        self._probed = now - _LASTS + LOOK

    def passes(self, name: str, begun: float, now: float) -> bool:
        """Record a good answer to a request ``begun`` then; return whether to open the host."""
        if begun < self._since:
            return False
        if self._stage is _Stage.PROBE:
            return not self._try_next(now)
        if name == self._on_trial:
            self._by_url.trials.acquit()
            return True
        self._is_controlled = True
        return self._has_failed and self._accuses(now)

    def note_failure(self, name: str) -> bool:
        """Record a throttling answer; return whether it belongs to a trial rather than to the host."""
        if self._stage is not _Stage.SECOND or name != self._on_trial or self._has_failed:
            return False
        self._has_failed = True
        self._by_url.trials.note_throttled(name)
        return True

    def ends_trial(self, now: float) -> bool:
        """Record that a URL on trial was throttled; return whether to open the host."""
        return self._is_controlled and self._accuses(now)

    def _accuses(self, now: float) -> bool:
        self._by_url.accuse(self._on_trial)
        return not self._try_next(now)

    def _try_next(self, now: float) -> bool:
        """Start another trial; False: no URL is left to try."""
        if not self._by_url.has_questions:
            return False
        self._is_control_first = self._by_url.trials.is_control_first
        self._begin(_Stage.FIRST, now)
        return True

    def _begin(self, stage: _Stage, now: float) -> None:
        self._stage, self._since, self._on_trial = stage, now, ""
        self._has_failed = self._is_controlled = False
        gap = min(1.0 / self._pace.rate, _LONGEST_GAP) if stage is _Stage.FIRST else 0.0
        self._probed = now - _LASTS + gap
