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
_LEAST_PATIENCE = 0.4  # seconds until an exchange may count as quiet, however fast the others are
_PATIENCE = 4.0  # times as long as an exchange takes on average
_WEIGHT = 0.3  # of the latest look in that average


@dataclass(slots=True)
class _Heard:
    """Bytes seen at the last check of an exchange, and the time of that check."""

    at: float
    bytes: int = 0
    is_quiet: bool = False  # it holds no slot in the window


class _Turnover:
    """How long an exchange holds its slot on average, and after how much silence one stands out.

    No exchange is timed: the average is the slots held over the exchanges that end per second (Little, "A Proof for the
    Queuing Formula L = lambda W", 1961).
    """

    def __init__(self, now: float) -> None:
        self._looked = now
        self._ended = 0
        self._held = self._rate = 0.0

    def patience(self, held: int, ended: int, now: float) -> float:
        """Return after how many seconds of silence an exchange is quiet: ``QUIET_AFTER``, or less if others are fast.

        ``held`` slots are held now; ``ended`` exchanges have given theirs back since the start.
        """
        seconds = now - self._looked
        if seconds > 0:
            self._held += _WEIGHT * (held - self._held)
            self._rate += _WEIGHT * ((ended - self._ended) / seconds - self._rate)
            self._looked, self._ended = now, ended
        slow = _PATIENCE * self._held >= QUIET_AFTER * self._rate
        return QUIET_AFTER if slow else max(_LEAST_PATIENCE, _PATIENCE * self._held / self._rate)


class Slots:
    """Belongs to one lane, shares its ``flying`` dict, and is called by its thread only."""

    def __init__(self, schedule: Schedule[Transfer], flying: Mapping[Exchange, Transfer], now: float) -> None:
        self._schedule = schedule
        self._flying = flying  # in the order of their start
        self.heard: dict[Exchange, _Heard] = {}  # exchanges that have been in flight for long enough to be quiet
        self._turnover = _Turnover(now)

    def listen(self, now: float) -> None:
        """Take the slots of exchanges that have gone quiet, and count those again whose bytes resume."""
        schedule = self._schedule
        patience = self._turnover.patience(schedule.flying - schedule.quiet, schedule.prompt, now)
        for exchange in self._flying:
            if now - exchange.began < patience:
                break
            if exchange not in self.heard:
                self.heard[exchange] = _Heard(exchange.began)
        for exchange, heard in self.heard.items():
            if heard.is_quiet:
                if _is_back(exchange, heard, now):
                    heard.is_quiet = False
                    schedule.rouse(self._flying[exchange].host_key)
            elif _goes_quiet(exchange, heard, now, patience):
                heard.is_quiet = schedule.hush(self._flying[exchange].host_key)
        schedule.relieve()

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
            noted = waits.get(transfer.terms)
            if noted is not None and not exchange.is_helper:
                heard = self.heard.get(exchange)
                noted.fly(transfer.host_key, is_quiet=heard is not None and heard.is_quiet)

    def resting(self) -> Iterator[Transfer]:
        """Yield the transfers that neither hold nor could take a slot, except those that wait for a time."""
        for exchange, heard in self.heard.items():
            if heard.is_quiet and not exchange.is_helper:
                yield self._flying[exchange]
        yield from (each for each in self._schedule.held_up() if not each.was_waiting)


def _goes_quiet(exchange: Exchange, heard: _Heard, now: float, patience: float) -> bool:
    """Has next to nothing arrived for as long as we have patience? Notes how much has, for the next look."""
    since = now - heard.at
    if since < patience:
        return False
    seen = exchange.seen_bytes()
    gained, heard.bytes, heard.at = seen - heard.bytes, seen, now
    return gained < _PULSE * since


def _is_back(exchange: Exchange, heard: _Heard, now: float) -> bool:
    """Has as much arrived for a quiet exchange as one with a slot must receive?"""
    seen = exchange.seen_bytes()
    is_back = seen - heard.bytes >= _PULSE * QUIET_AFTER
    if is_back or now - heard.at >= QUIET_AFTER:
        heard.bytes, heard.at = seen, now
    return is_back
