"""A server in virtual time that answers at a pace of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

from tests.support.virtual_http import Answering, SteppedHttp, VirtualClock
from worker.engine.exchange import Exchange
from worker.engine.ports import Ended, Request


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


class _Pacing(Answering):
    def __init__(self, body: Exchange, pace: Pace, begun: float) -> None:
        super().__init__(body, begun)
        self._pace = pace
        self._come = 0

    def move(self, now: float) -> Ended | None:
        since, pace = now - self.begun, self._pace
        self.lines[:] = pace.lines(since)
        before, self._come = self._come, int(min(pace.come(since), pace.size))
        if not self.bring(bytes(max(0, self._come - before))):
            return self.end(now)
        return self.end(now) if self._come == pace.size else None


class PacedHttp(SteppedHttp[Exchange]):
    """Keeps ``worker.engine.ports.Http``; ``paces`` are those of the first requests, the last one of all others."""

    step = 0.1

    def __init__(self, clock: VirtualClock, paces: Sequence[Pace]) -> None:
        super().__init__(clock)
        self.asked: list[float] = []  # when
        self._paces = paces

    def answer(self, request: Request, body: Exchange) -> Answering:
        pace = self._paces[min(len(self.asked), len(self._paces) - 1)]
        self.asked.append(self.clock.seconds)
        return _Pacing(body, pace, self.clock.seconds)
