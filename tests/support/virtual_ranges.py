"""A server in virtual time whose one object is fetched in ranges while everything about it may go wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.support.virtual_world import VirtualClock
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


@dataclass(slots=True, eq=False)
class _Answer:
    body: Exchange
    head: list[bytes]
    given: bytes
    fate: Fate
    begun: float
    lines: list[bytes] = field(default_factory=list)
    at: int = 0

    def end(self, now: float, breakage: Breakage | None = None) -> Ended:
        return Ended(tuple(self.lines), breakage, took=int((now - self.begun) * 1e6))


@dataclass(slots=True)
class RangeHttp:
    """Keeps ``worker.engine.ports.Http``; ``fate(n)`` says what becomes of request n (from 0).

    ``versions`` maps the request from which on it is served to each version. ``most`` connections are served at once.
    """

    clock: VirtualClock
    versions: dict[int, State]
    fate: Callable[[int], Fate]
    most: int = 1_000
    asked: list[str | None] = field(default_factory=list)  # the Range of each request
    begun: list[float] = field(default_factory=list)  # when each was begun
    most_in_flight: int = 0
    _open: list[_Answer] = field(default_factory=list)

    def begin(self, request: Request, body: Exchange) -> Sequence[bytes]:
        number = len(self.asked)
        fate = self.fate(number)
        if fate.answer == "bug":
            raise RuntimeError("a bug")
        given = dict(line.split(": ", 1) for line in request.fields)
        self.asked.append(given.get("Range"))
        self.begun.append(self.clock.seconds)
        state = [each for first, each in sorted(self.versions.items()) if first <= number][-1]
        if len(self._open) >= self.most:
            fate = Fate(answer="busy")
        answer = _Answer(body, *_answer(state, given, fate), fate, self.clock.seconds)
        self._open.append(answer)
        self.most_in_flight = max(self.most_in_flight, len(self._open))
        return answer.lines

    def drop(self, body: Exchange) -> Ended:
        dropped = [each for each in self._open if each.body is body]
        self._open = [each for each in self._open if each.body is not body]
        return Ended(tuple(dropped[0].lines)) if dropped else Ended()

    def wait(self, seconds: float | None) -> Sequence[tuple[Exchange, Ended]]:
        self.clock.seconds += STEP  # somewhat more than asked for, now and then: a machine is slow, too
        moved = [(each, self._move_on(each)) for each in list(self._open)]
        self._open = [each for each, ended in moved if ended is None]
        return [(each.body, ended) for each, ended in moved if ended is not None]

    def wake(self) -> None:
        """Nobody sleeps in virtual time."""

    def close(self) -> None:
        self._open.clear()

    def _move_on(self, answer: _Answer) -> Ended | None:
        """Bring the next piece; return how the exchange ended, if it has."""
        fate, now = answer.fate, self.clock.seconds
        if fate.answer == "silent" or now < answer.begun + fate.delay * STEP:
            return None
        if fate.answer == "refused":
            return answer.end(now, Breakage.CONNECT)
        if not answer.lines:
            answer.lines.extend(answer.head)
        whole = len(answer.given) if fate.cut is None else min(fate.cut, len(answer.given))
        piece = answer.given[answer.at : min(answer.at + fate.speed, whole)]
        answer.at += len(piece)
        if piece and answer.body.take(piece, True) is not None:
            return answer.end(now, Breakage.STOPPED)
        if answer.at < whole:
            return None
        return answer.end(now, None if whole == len(answer.given) else Breakage.CUT)


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
