"""Slots of the window: a transfer that goes quiet loses its slot, and counts again when its bytes flow again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from worker.engine.exchange import Exchange
from worker.engine.schedule import QUIET_AFTER, Schedule
from worker.engine.terms import Terms
from worker.engine.transfer import Transfer
from worker.engine.waits import Waits

_PULSE = 1024  # bytes/s below which an exchange is quiet
_SOONEST = 0.4  # seconds until an exchange may count as quiet, however fast the others are
_STANDS_OUT = 4.0  # times as long as the others take
_WEIGHT = 0.3  # of the exchanges since the last look in the average
_FEW = 8  # a host with at most one in so many of the window's slots has few in flight


@dataclass(slots=True)
class _Heard:
    """Bytes seen at the last check of an exchange, and the time of that check."""

    at: float
    bytes: int = 0
    is_quiet: bool = False  # it holds no slot in the window


class _Turnover:
    """How long exchanges that were never quiet take, and so how much silence stands out.

    ``ended`` counts those since the last look, ``seconds`` is what they took together.
    """

    def __init__(self) -> None:
        self.ended, self.seconds = 0, 0.0
        self._average = QUIET_AFTER

    def quiet_after(self) -> float:
        """Return after how many seconds silence stands out now, from ``_SOONEST`` to ``QUIET_AFTER``."""
        if self.ended:
            self._average += _WEIGHT * (self.seconds / self.ended - self._average)
            self.ended, self.seconds = 0, 0.0
        return min(QUIET_AFTER, max(_SOONEST, _STANDS_OUT * self._average))


class Slots:
    """Belongs to one lane, shares its ``flying`` dict, and is called by its thread only."""

    def __init__(self, schedule: Schedule[Transfer], flying: Mapping[Exchange, Transfer], window: int) -> None:
        self._schedule = schedule
        self._flying = flying  # in the order of their start
        self.heard: dict[Exchange, _Heard] = {}  # exchanges that have been in flight for long enough to be quiet
        self._few = max(1, window // _FEW)
        self._turnover = _Turnover()

    def listen(self, now: float) -> None:
        """Take the slots of exchanges that have gone quiet, and count those again whose bytes resume."""
        schedule = self._schedule
        sooner = self._turnover.quiet_after()
        for exchange in self._flying:
            if now - exchange.began < sooner:
                break
            if exchange not in self.heard:
                self.heard[exchange] = _Heard(exchange.began)
        for exchange, heard in self.heard.items():
            host = self._flying[exchange].host_key
            if heard.is_quiet:
                if _is_back(exchange, heard, now):
                    heard.is_quiet = False
                    schedule.rouse(host)
            # A host with many in flight may be busy with all of them: it is not asked for more so soon.
            elif _goes_quiet(exchange, heard, now, sooner if schedule.flying_at(host) <= self._few else QUIET_AFTER):
                heard.is_quiet = schedule.hush(host)
        schedule.relieve()

    def ended(self, exchange: Exchange, now: float) -> None:
        """Learn from an exchange that is over how long one takes."""
        if exchange not in self.heard:
            self._turnover.ended += 1
            self._turnover.seconds += now - exchange.began

    def release(self, exchange: Exchange) -> None:
        """Let an exchange hold no slot from its start, if the allowance permits."""
        is_quiet = self._schedule.hush(self._flying[exchange].host_key)
        self.heard[exchange] = _Heard(exchange.began, is_quiet=is_quiet)

    def leave(self, exchange: Exchange) -> bool:
        """Forget an exchange that is no longer in flight; return whether it was quiet."""
        heard = self.heard.pop(exchange, None)
        return heard is not None and heard.is_quiet

    def note(self, waits: Mapping[Terms, Waits]) -> None:
        """Count the exchanges of these runs that are in flight."""
        for exchange, transfer in self._flying.items():
            if not exchange.is_helper:
                heard = self.heard.get(exchange)
                waits[transfer.terms].fly(transfer.host_key, is_quiet=heard is not None and heard.is_quiet)

    def resting(self) -> Iterator[Transfer]:
        """Yield the transfers that neither hold nor could take a slot, except those that wait for a time."""
        for exchange, heard in self.heard.items():
            if heard.is_quiet and not exchange.is_helper:
                yield self._flying[exchange]
        yield from (each for each in self._schedule.held_up() if not each.was_waiting)


def _goes_quiet(exchange: Exchange, heard: _Heard, now: float, after: float) -> bool:
    """Has next to nothing arrived for ``after`` seconds? Notes how much has, for the next look."""
    since = now - heard.at
    if since < after:
        return False
    seen = exchange.seen_bytes()
    gained, heard.bytes, heard.at = seen - heard.bytes, seen, now
    return gained < _PULSE * since


def _is_back(exchange: Exchange, heard: _Heard, now: float) -> bool:
    """Has as much arrived for a quiet exchange as one with a slot must receive?"""
    seen = exchange.seen_bytes()
    is_back = seen - heard.bytes >= _PULSE * QUIET_AFTER
    if now - heard.at >= QUIET_AFTER:
        heard.bytes, heard.at = seen, now
    return is_back
