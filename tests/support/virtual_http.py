"""What fakes of the Http port share: answers in virtual time, which advances whenever a lane waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from worker.engine.failures import Breakage
from worker.engine.ports import Body, Ended, Request

B = TypeVar("B", bound=Body)

LEAST = 1e-6  # seconds a turn takes, so that time advances


class VirtualClock:
    """Keeps ``worker.engine.ports.Clock``; ``seconds`` is the time since the world began."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def wall(self) -> float:
        return 1_700_000_000.0 + self.seconds


class Answering:
    """A request being answered; what it is answered with, ``move`` knows."""

    def __init__(self, body: Body, begun: float) -> None:
        self.lines: list[bytes] = []
        self.begun = begun
        self._body = body
        self._stopped = False

    def move(self, now: float) -> Ended | None:
        """Bring what has come by now; return how the exchange ended, if it has."""
        raise NotImplementedError

    def bring(self, data: bytes) -> bool:
        """Hand over bytes of the body, if there are any; False: no more are wanted."""
        self._stopped = self._stopped or (bool(data) and self._body.write(data, True) is not None)
        return not self._stopped

    def end(self, now: float, breakage: Breakage | None = None) -> Ended:
        lines = tuple(self.lines)
        self.lines.clear()
        took = int((now - self.begun) * 1e6)
        return Ended(lines, Breakage.STOPPED if self._stopped else breakage, took=took)


class SteppedHttp(Generic[B]):
    """Keeps ``worker.engine.ports.Http``: each wait takes a step, and every answer moves on by it."""

    step: float  # seconds

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.most_in_flight = 0
        self._open: dict[B, Answering] = {}
        self._is_woken = False

    def answer(self, request: Request, body: B) -> Answering:
        """Say what a request is answered with."""
        raise NotImplementedError

    def begin(self, request: Request, body: B) -> Sequence[bytes]:
        self._open[body] = answering = self.answer(request, body)
        self.most_in_flight = max(self.most_in_flight, len(self._open))
        return answering.lines

    def drop(self, body: B) -> Ended:
        answering = self._open.pop(body, None)
        return Ended() if answering is None else answering.end(self.clock.seconds)

    def wait(self, seconds: float | None) -> Sequence[tuple[B, Ended]]:
        if seconds is None:
            raise AssertionError("the lane sleeps although the test waits for it")
        if not self._is_woken:
            self.clock.seconds = self.next_moment(seconds)
        self._is_woken = False
        now = self.clock.seconds
        moved = [(body, answering.move(now)) for body, answering in self.moving(now)]
        ended = [(body, end) for body, end in moved if end is not None]
        for body, _ in ended:
            del self._open[body]
        return ended

    def moving(self, _now: float) -> Iterable[tuple[B, Answering]]:
        """Return the exchanges that may move."""
        return list(self._open.items())

    def next_moment(self, _seconds: float) -> float:
        """Return when a wait ends: somewhat later than asked for, now and then, for a machine is slow, too."""
        return self.clock.seconds + self.step

    def wake(self) -> None:
        self._is_woken = True

    def close(self) -> None:
        self._open.clear()
