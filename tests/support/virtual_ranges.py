"""A server in virtual time with one object that is fetched in ranges, while anything about it may go wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.virtual_http import Answering, SteppedHttp, VirtualClock
from worker.engine.exchange import Exchange
from worker.engine.failures import Breakage
from worker.engine.ports import Ended, Request

STEP = 0.05  # seconds in which every exchange moves on by one piece


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one request."""

    speed: int = 100  # bytes per step
    delay: int = 2  # steps before the first byte
    cut: int | None = None  # bytes after which the connection breaks
    # right, full, shifted (another offset), holed (bytes are missing, and no Content-Length says so), busy, gone,
    # refused (no connection), silent, bug (of ours: none can begin)
    answer: str = "right"
    wants: int | None = None  # Retry-After of a busy answer, in seconds


@dataclass(frozen=True, slots=True)
class State:
    """One version of the object."""

    body: bytes
    number: int

    @property
    def etag(self) -> str:
        return f'"{self.number}"'


def version(number: int, size: int) -> State:
    """Return a version whose bytes are nowhere those of another, and nowhere zero."""
    noise = hashlib.shake_128(str(number).encode()).digest(size)
    return State(bytes((byte & 0x3F) + 1 + 64 * (number % 3) for byte in noise), number)


class _Fated(Answering):
    def __init__(self, body: Exchange, head: list[bytes], given: bytes, fate: Fate, begun: float) -> None:
        super().__init__(body, begun)
        self._head = head
        self._given = given
        self._fate = fate
        self._at = 0

    def move(self, now: float) -> Ended | None:
        fate, given = self._fate, self._given
        if fate.answer == "silent" or now < self.begun + fate.delay * STEP:
            return None
        if fate.answer == "refused":
            return self.end(now, Breakage.CONNECT)
        self.lines.extend(() if self.lines else self._head)
        whole = len(given) if fate.cut is None else min(fate.cut, len(given))
        start, self._at = self._at, min(self._at + fate.speed, whole)
        if not self.bring(given[start : self._at]):
            return self.end(now)
        if self._at < whole:
            return None
        return self.end(now, None if whole == len(given) else Breakage.CUT)


class RangeHttp(SteppedHttp[Exchange]):
    """Keeps ``worker.engine.ports.Http``; ``fate(n)`` says what becomes of request n (from 0).

    ``versions`` maps the request from which on it is served to each version. ``most`` connections are served at once.
    """

    step = STEP

    def __init__(
        self, clock: VirtualClock, versions: dict[int, State], fate: Callable[[int], Fate], most: int = 1_000
    ) -> None:
        super().__init__(clock)
        self.asked: list[str | None] = []  # the Range of each request
        self.begun: list[float] = []  # when each was begun
        self._versions = versions
        self._fate = fate
        self._most = most

    def answer(self, request: Request, body: Exchange) -> Answering:
        number = len(self.asked)
        fate = self._fate(number)
        if fate.answer == "bug":
            raise RuntimeError("a bug")
        given = dict(line.split(": ", 1) for line in request.fields)
        self.asked.append(given.get("Range"))
        self.begun.append(self.clock.seconds)
        state = [each for first, each in sorted(self._versions.items()) if first <= number][-1]
        if len(self._open) >= self._most:
            fate = Fate(answer="busy")
        return _Fated(body, *_answer(state, given, fate), fate, self.clock.seconds)

    @property
    def is_idle(self) -> bool:
        return not self._open


def _answer(state: State, given: dict[str, str], fate: Fate) -> tuple[list[bytes], bytes]:
    status, body, more = 200, state.body, [f"ETag: {state.etag}", "Accept-Ranges: bytes"]
    asked = given.get("Range", "").removeprefix("bytes=").partition("-")
    if fate.answer in ("busy", "gone"):
        status, body = (503 if fate.answer == "busy" else 404), b""
        more = [] if fate.wants is None else [f"Retry-After: {fate.wants}"]
    elif asked[1] and given["If-Range"] == state.etag and fate.answer != "full":
        start, end = int(asked[0]), int(asked[2]) + 1 if asked[2] else len(state.body)
        start -= min(start, 7) if fate.answer == "shifted" else 0
        status, body = 206, state.body[start:end]
        more.append(f"Content-Range: bytes {start}-{end - 1}/{len(state.body)}")
    if fate.answer == "holed" and status == 206:
        body = body[7:]
    else:
        more.append(f"Content-Length: {len(body)}")
    fields = [f"HTTP/1.1 {status} X", *more, ""]
    return [f"{line}\r\n".encode() for line in fields], body
