"""A server in virtual time whose answers come at a pace of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

from tests.support.virtual_world import VirtualClock
from worker.engine.exchange import Exchange

STEP = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class Pace:
    """One answer: ``come`` says how many bytes of its ``size`` are there so many seconds after the request.

    The header lines in ``head`` begin at the second they stand under; the blank line that ends them is one of them.
    """

    come: Callable[[float], float] = lambda _seconds: inf
    size: int = 1_000_000
    head: dict[float, str] = field(default_factory=lambda: {0.0: "HTTP/1.1 200 X\r\n\r\n"})

    def lines(self, seconds: float) -> list[bytes]:
        """Return the header lines that are there by then."""
        text = "".join(lines for since, lines in self.head.items() if since <= seconds)
        return text.encode().splitlines(keepends=True)


@dataclass(slots=True)
class PacedHttp:
    """Keeps ``worker.engine.ports.Http``; ``paces`` are those of the first requests, the last one of all others."""

    clock: VirtualClock
    paces: list[Pace]
    asked: list[float] = field(default_factory=list)  # when
    _open: dict[Exchange, Pace] = field(default_factory=dict)

    def begin(self, exchange: Exchange) -> None:
        self._open[exchange] = self.paces[min(len(self.asked), len(self.paces) - 1)]
        self.asked.append(self.clock.seconds)

    def drop(self, exchange: Exchange) -> None:
        self._open.pop(exchange, None)

    def wait(self, seconds: float | None) -> Sequence[Exchange]:
        self.clock.seconds += STEP
        ended = [exchange for exchange, pace in self._open.items() if self._moves_on(exchange, pace)]
        for exchange in ended:
            del self._open[exchange]
        return ended

    def wake(self) -> None:
        """Nobody sleeps in virtual time."""

    def close(self) -> None:
        self._open.clear()

    def _moves_on(self, exchange: Exchange, pace: Pace) -> bool:
        since = self.clock.seconds - exchange.began
        exchange.lines[:] = pace.lines(since)
        come = int(min(pace.come(since), pace.size))
        if come > exchange.received and exchange.take(bytes(come - exchange.received)) is not None:
            return True
        return come == pace.size
