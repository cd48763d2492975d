"""A lying server in virtual time: libcurl's part is played by its known behaviour at the end of each framing."""

from __future__ import annotations

from random import Random
from typing import Protocol

from tests.support.lying_server import Answer, Framing
from tests.support.virtual_http import Answering, SteppedHttp, VirtualClock
from worker.engine.exchange import Exchange
from worker.engine.failures import Breakage
from worker.engine.ports import Ended, Request


class Server(Protocol):
    """Answers a request by its fields (names in lower case); ``dice`` decides how fast."""

    dice: Random

    def answer(self, given: dict[str, str]) -> Answer: ...


class _Lying(Answering):
    def __init__(self, body: Exchange, answer: Answer, dice: Random, *, begun: float, pause: int) -> None:
        super().__init__(body, begun)
        self._answer = answer
        self._speed = dice.randint(50, 5_000)  # bytes per step
        self._delay = dice.randint(0, 5)  # steps before the first byte
        self._pause = pause
        self._at = 0

    def move(self, now: float) -> Ended | None:
        self._delay -= 1
        if self._delay >= 0:
            return None
        if not self.lines:
            self._delay = self._pause
            self.lines.extend(self._answer.head("2" if self._answer.framing is Framing.STREAM else "1.1"))
            if self._delay:
                return None
        given = self._given
        start, self._at = self._at, self._at + self._speed
        if not self.bring(given[start : self._at]):
            return self.end(now)
        return None if self._at < len(given) else self.end(now, Breakage.CUT if self._is_broken else None)

    @property
    def _given(self) -> bytes:
        """What a client is given of the body: of one that is too long for its Content-Length, that much."""
        return self._answer.body if self._promised is None else self._answer.body[: self._promised]

    @property
    def _is_broken(self) -> bool:
        is_short = self._promised is not None and len(self._answer.body) < self._promised
        return is_short or (self._answer.is_cut and self._answer.framing is not Framing.CLOSE)

    @property
    def _promised(self) -> int | None:
        length = dict(self._answer.fields).get("Content-Length")
        return None if length is None else int(length)


class LyingHttp(SteppedHttp[Exchange]):
    """Keeps ``worker.engine.ports.Http``."""

    step = 0.05

    def __init__(self, server: Server, clock: VirtualClock, pause: int = 0) -> None:
        """``pause``: steps between a head and its body."""
        super().__init__(clock)
        self._server = server
        self._pause = pause

    def answer(self, request: Request, body: Exchange) -> Answering:
        given = {name.lower(): value for name, _, value in (line.partition(": ") for line in request.fields)}
        answer = self._server.answer(given)
        return _Lying(body, answer, self._server.dice, begun=self.clock.seconds, pause=self._pause)
