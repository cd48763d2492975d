"""What a host is asked after its pause, before the others follow: a probe, and URLs on trial.

The probe is a URL that was not throttled itself, where there is one. Then a URL that was is tried, and in the same
moment another one that was not: so nothing but the URL makes the difference between their answers. That goes on while
trials tell against URLs; any other end opens the host, or is an incident.
"""

from __future__ import annotations

from enum import StrEnum
from math import inf

from worker.engine.evidence import Evidence
from worker.engine.pace import Pace

LOOK = 0.25  # seconds between two looks whether a probe is over, and between probes that tell nothing
_LASTS = 5.0  # seconds until another may probe, where nothing became of the probe: what it asked for may be slow
_LONGEST_GAP = 1.0  # seconds between a probe and a trial: as the pace has it, or so many


class _Stage(StrEnum):
    PROBE = "probe"  #: a URL that was not throttled
    TRIAL = "trial"  #: one that was
    CONTROL = "control"  #: with it, another one that was not


class Probing:
    """Of one host; URLs go by their names, times are the clock's seconds."""

    __slots__ = ("_evidence", "_has_failed", "_is_controlled", "_on_trial", "_pace", "_probed", "_since", "_stage")

    def __init__(self, pace: Pace, evidence: Evidence, now: float) -> None:
        self._pace = pace
        self._evidence = evidence
        self._stage = _Stage.PROBE
        self._since = now  # when the stage began
        self._probed = -inf
        self._on_trial = ""
        self._has_failed = False  # what is on trial was throttled
        self._is_controlled = False  # what was asked for with it was answered well

    def begin(self, now: float) -> None:
        """The host is paused: after that it is probed."""
        self._begin(_Stage.PROBE, now)

    @property
    def is_first(self) -> bool:
        """Is the probe all that was asked since the pause?"""
        return self._stage is _Stage.PROBE

    @property
    def has_control(self) -> bool:
        """Is a URL on trial, and not answered yet or throttled?"""
        return self._stage is _Stage.CONTROL

    def take(self, name: str, now: float) -> float:
        """Ask for this URL: 0, or the seconds after which to ask again."""
        if now - self._probed < _LASTS or (self._stage is _Stage.TRIAL and not self.wants(name)):
            return LOOK
        self._probed = now
        if self._stage is _Stage.TRIAL:
            self._begin(_Stage.CONTROL, now)
            self._on_trial = name
        return 0.0

    def wants(self, name: str) -> bool:
        """Is this one of the URLs to be asked for now? Others are, where there is none."""
        if self._stage is _Stage.TRIAL:
            return self._evidence.is_question(name)
        return not self._evidence.is_suspect(name)

    def is_stuck(self, now: float) -> bool:
        """Does nobody come with a URL to be tried, or no answer to it?"""
        over = now - self._probed - _LASTS
        return over >= LOOK if self._stage is _Stage.TRIAL else self._is_controlled and over >= 0

    def again(self, now: float) -> None:
        """The last request tells nothing: another may be sent soon."""
        self._probed = now - _LASTS + LOOK

    def passes(self, name: str, begun: float, now: float) -> bool:
        """Take a good answer to a request that was ``begun`` then: is the host to be opened?"""
        if begun < self._since or self._stage is _Stage.TRIAL:
            return False
        if self._stage is _Stage.PROBE:
            return self._goes_on(now)
        if name == self._on_trial:
            self._evidence.acquit()
            return True
        self._is_controlled = True
        return self._has_failed and self._accuses(now)

    def takes_failure(self, name: str) -> bool:
        """Take a throttling answer: does it belong to a trial, and not to the host?"""
        if self._stage is not _Stage.CONTROL or name != self._on_trial or self._has_failed:
            return False
        self._has_failed = True
        self._evidence.note_trial(name)
        return True

    def ends_trial(self, now: float) -> bool:
        """A URL on trial was throttled: is the host to be opened?"""
        return self._is_controlled and self._accuses(now)

    def _accuses(self, now: float) -> bool:
        self._evidence.accuse(self._on_trial)
        return self._goes_on(now)

    def _goes_on(self, now: float) -> bool:
        """Have another URL tried; True: there is none."""
        if not self._evidence.has_questions:
            return True
        self._begin(_Stage.TRIAL, now)
        return False

    def _begin(self, stage: _Stage, now: float) -> None:
        self._stage, self._since, self._on_trial = stage, now, ""
        self._has_failed = self._is_controlled = False
        gap = min(1.0 / self._pace.rate, _LONGEST_GAP) if stage is _Stage.TRIAL else 0.0
        self._probed = now - _LASTS + gap
