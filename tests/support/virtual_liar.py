"""A lying server in virtual time: libcurl's part is played by what it is known to do at the end of each framing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from tests.support.lying_server import Answer, Framing
from tests.support.virtual_world import VirtualClock
from worker.engine.exchange import Exchange
from worker.engine.failures import Breakage


class Server(Protocol):
    """Answers a request by its fields (names in lower case); ``dice`` decides how fast."""

    dice: Random

    def answer(self, given: dict[str, str]) -> Answer: ...


STEP = 0.05  # seconds in which every exchange moves on by one piece


@dataclass(slots=True)
class _Stream:
    exchange: Exchange
    answer: Answer
    speed: int  # bytes per step
    delay: int  # steps before the first byte
    at: int = 0

    @property
    def given(self) -> bytes:
        """What a client is given of the body: of one that is too long for its Content-Length, that much."""
        return self.answer.body if self._promised is None else self.answer.body[: self._promised]

    @property
    def is_broken(self) -> bool:
        is_short = self._promised is not None and len(self.answer.body) < self._promised
        return is_short or (self.answer.is_cut and self.answer.framing is not Framing.CLOSE)

    @property
    def _promised(self) -> int | None:
        length = dict(self.answer.fields).get("Content-Length")
        return None if length is None else int(length)


@dataclass(slots=True)
class LyingHttp:
    """Keeps ``worker.engine.ports.Http``."""

    server: Server
    clock: VirtualClock
    pause: int = 0  # steps between a head and its body
    _open: list[_Stream] = field(default_factory=list)

    def begin(self, exchange: Exchange) -> None:
        given = {name.lower(): value for name, _, value in (line.partition(": ") for line in exchange.fields)}
        answer, dice = self.server.answer(given), self.server.dice
        self._open.append(_Stream(exchange, answer, dice.randint(50, 5_000), dice.randint(0, 5)))

    def drop(self, exchange: Exchange) -> None:
        self._open = [each for each in self._open if each.exchange is not exchange]

    def wait(self, seconds: float | None) -> Sequence[Exchange]:
        self.clock.seconds += STEP
        ended = [each for each in list(self._open) if self._moves_on(each)]
        self._open = [each for each in self._open if each not in ended]
        return [each.exchange for each in ended]

    def wake(self) -> None:
        """Nobody sleeps in virtual time."""

    def close(self) -> None:
        self._open.clear()

    def _moves_on(self, stream: _Stream) -> bool:
        """Bring the next piece; True: the exchange has ended."""
        stream.delay -= 1
        if stream.delay >= 0:
            return False
        exchange = stream.exchange
        if not exchange.lines:
            stream.delay = self.pause
            exchange.lines.extend(stream.answer.head("2" if stream.answer.framing is Framing.STREAM else "1.1"))
            if stream.delay:
                return False
        piece = stream.given[stream.at : stream.at + stream.speed]
        stream.at += len(piece)
        if piece and exchange.take(piece) is not None:
            exchange.breakage = Breakage.STOPPED
            return True
        if stream.at < len(stream.given):
            return False
        exchange.breakage = Breakage.CUT if stream.is_broken else None
        return True
