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
from worker.engine.ports import Ended, Request


class Server(Protocol):
    """Answers a request by its fields (names in lower case); ``dice`` decides how fast."""

    dice: Random

    def answer(self, given: dict[str, str]) -> Answer: ...


STEP = 0.05  # seconds in which every exchange moves on by one piece


@dataclass(slots=True, eq=False)
class _Stream:
    body: Exchange
    answer: Answer
    speed: int  # bytes per step
    delay: int  # steps before the first byte
    lines: list[bytes] = field(default_factory=list)
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

    def begin(self, request: Request, body: Exchange) -> Sequence[bytes]:
        given = {name.lower(): value for name, _, value in (line.partition(": ") for line in request.fields)}
        answer, dice = self.server.answer(given), self.server.dice
        stream = _Stream(body, answer, dice.randint(50, 5_000), dice.randint(0, 5))
        self._open.append(stream)
        return stream.lines

    def drop(self, body: Exchange) -> Ended:
        dropped = [each for each in self._open if each.body is body]
        self._open = [each for each in self._open if each.body is not body]
        return Ended(tuple(dropped[0].lines)) if dropped else Ended()

    def wait(self, seconds: float | None) -> Sequence[tuple[Exchange, Ended]]:
        self.clock.seconds += STEP
        moved = [(each, self._move_on(each)) for each in list(self._open)]
        self._open = [each for each, ended in moved if ended is None]
        return [(each.body, ended) for each, ended in moved if ended is not None]

    def wake(self) -> None:
        """Nobody sleeps in virtual time."""

    def close(self) -> None:
        self._open.clear()

    def _move_on(self, stream: _Stream) -> Ended | None:
        """Bring the next piece; return how the exchange ended, if it has."""
        stream.delay -= 1
        if stream.delay >= 0:
            return None
        if not stream.lines:
            stream.delay = self.pause
            stream.lines.extend(stream.answer.head("2" if stream.answer.framing is Framing.STREAM else "1.1"))
            if stream.delay:
                return None
        piece = stream.given[stream.at : stream.at + stream.speed]
        stream.at += len(piece)
        if piece and stream.body.take(piece, True) is not None:
            return Ended(tuple(stream.lines), Breakage.STOPPED)
        if stream.at < len(stream.given):
            return None
        return Ended(tuple(stream.lines), Breakage.CUT if stream.is_broken else None)
