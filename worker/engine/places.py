"""Places in the window: a transfer that goes quiet gives its place back, and is counted again when its bytes come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from worker.engine.exchange import Exchange
from worker.engine.run import Run
from worker.engine.schedule import QUIET_AFTER, Schedule
from worker.engine.transfer import Transfer
from worker.engine.waits import Waits

_PULSE = 1024  # bytes/s below which an exchange is quiet: a drip deserves a place no more than silence


class Places:
    """Belongs to one lane, shares what is in flight with it, and is called by its thread only."""

    def __init__(self, schedule: Schedule[Transfer], flying: Mapping[Exchange, None]) -> None:
        self._schedule = schedule
        self._flying = flying

    def listen(self, now: float) -> None:
        """Take the places of exchanges that have gone quiet, and count those whose bytes come again."""
        for exchange in self._flying:
            if exchange.is_quiet:
                if _is_back(exchange, now):
                    exchange.is_quiet = False
                    self._schedule.rouse(exchange.transfer.host_key)
            elif _goes_quiet(exchange, now):
                self.take_back(exchange)
        self._schedule.relieve()

    def take_back(self, exchange: Exchange) -> None:
        exchange.is_quiet = self._schedule.hush(exchange.transfer.host_key)

    def note(self, waits: Mapping[Run, Waits]) -> None:
        """Count what these runs have in flight."""
        for exchange in self._flying:
            noted = waits.get(exchange.transfer.run)
            if noted is not None and not exchange.is_helper:
                noted.fly(exchange.transfer.place.host, is_quiet=exchange.is_quiet)

    def resting(self) -> Iterator[Transfer]:
        """Return the transfers that neither hold a place nor could take one, but for those that wait for a moment."""
        yield from (each.transfer for each in self._flying if each.is_quiet and not each.is_helper)
        yield from (each for each in self._schedule.held_up() if not each.was_waiting)


def _goes_quiet(exchange: Exchange, now: float) -> bool:
    """Has it brought next to nothing for a while? Marks how far it is, for the next look."""
    since = now - exchange.heard_at
    if since < QUIET_AFTER:
        return False
    seen = exchange.seen_bytes()
    gained, exchange.heard, exchange.heard_at = seen - exchange.heard, seen, now
    return gained < _PULSE * since


def _is_back(exchange: Exchange, now: float) -> bool:
    """Has a quiet one brought as much as one that holds a place must?"""
    seen = exchange.seen_bytes()
    is_back = seen - exchange.heard >= _PULSE * QUIET_AFTER
    if is_back or now - exchange.heard_at >= QUIET_AFTER:
        exchange.heard, exchange.heard_at = seen, now
    return is_back
