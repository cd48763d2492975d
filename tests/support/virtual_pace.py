"""A server in virtual time whose answers come at a pace of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

from tests.support.virtual_world import VirtualClock
from worker.engine.exchange import Exchange
from worker.engine.failures import Breakage
from worker.engine.ports import Ended, Request

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


@dataclass(slots=True, eq=False)
class _Answer:
    pace: Pace
    begun: float
    lines: list[bytes] = field(default_factory=list)
    come: int = 0


@dataclass(slots=True)
class PacedHttp:
    """Keeps ``worker.engine.ports.Http``; ``paces`` are those of the first requests, the last one of all others."""

    clock: VirtualClock
    paces: list[Pace]
    asked: list[float] = field(default_factory=list)  # when
    _open: dict[Exchange, _Answer] = field(default_factory=dict)

    def begin(self, request: Request, body: Exchange) -> Sequence[bytes]:
        pace = self.paces[min(len(self.asked), len(self.paces) - 1)]
        self._open[body] = answer = _Answer(pace, self.clock.seconds)
        self.asked.append(self.clock.seconds)
        return answer.lines

    def drop(self, body: Exchange) -> Ended:
        answer = self._open.pop(body, None)
        return Ended() if answer is None else Ended(tuple(answer.lines))

    def wait(self, seconds: float | None) -> Sequence[tuple[Exchange, Ended]]:
        self.clock.seconds += STEP
        moved = [(body, self._move_on(body, answer)) for body, answer in self._open.items()]
        ended = [(body, end) for body, end in moved if end is not None]
        for body, _ in ended:
            del self._open[body]
        return ended

    def wake(self) -> None:
        """Nobody sleeps in virtual time."""

    def close(self) -> None:
        self._open.clear()

    def _move_on(self, body: Exchange, answer: _Answer) -> Ended | None:
        since = self.clock.seconds - answer.begun
        answer.lines[:] = answer.pace.lines(since)
        before, answer.come = answer.come, int(min(answer.pace.come(since), answer.pace.size))
        if answer.come > before and body.take(bytes(answer.come - before), True) is not None:
            return Ended(tuple(answer.lines), Breakage.STOPPED)
        return Ended(tuple(answer.lines)) if answer.come == answer.pace.size else None
