"""A server in virtual time whose one object is fetched in ranges while everything about it may go wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.support.virtual_world import VirtualClock
from worker.engine.exchange import Exchange
from worker.engine.failures import Breakage

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


@dataclass(slots=True)
class _Answer:
    exchange: Exchange
    lines: list[bytes]
    body: bytes
    fate: Fate
    begins: float
    at: int = 0
    refused: bool = False


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

    def begin(self, exchange: Exchange) -> None:
        number = len(self.asked)
        fate = self.fate(number)
        if fate.answer == "bug":
            raise RuntimeError("a bug")
        given = dict(line.split(": ", 1) for line in exchange.fields)
        self.asked.append(given.get("Range"))
        self.begun.append(self.clock.seconds)
        state = [each for first, each in sorted(self.versions.items()) if first <= number][-1]
        if len(self._open) >= self.most:
            fate = Fate(answer="busy")
        lines, body = _answer(state, given, fate)
        begins = self.clock.seconds + fate.delay * STEP
        self._open.append(_Answer(exchange, lines, body, fate, begins, refused=fate.answer == "refused"))
        self.most_in_flight = max(self.most_in_flight, len(self._open))

    def drop(self, exchange: Exchange) -> None:
        self._open = [each for each in self._open if each.exchange is not exchange]

    def wait(self, seconds: float | None) -> Sequence[Exchange]:
        self.clock.seconds += STEP  # somewhat more than asked for, now and then: a machine is slow, too
        ended = [each for each in list(self._open) if self._moves_on(each)]
        self._open = [each for each in self._open if each not in ended]
        for each in ended:
            each.exchange.took = self.clock.seconds - each.exchange.began
        return [each.exchange for each in ended]

    def wake(self) -> None:
        """Nobody sleeps in virtual time."""

    def close(self) -> None:
        self._open.clear()

    def _moves_on(self, answer: _Answer) -> bool:
        """Bring the next piece; True: the exchange has ended."""
        exchange, fate = answer.exchange, answer.fate
        if fate.answer == "silent" or self.clock.seconds < answer.begins:
            return False
        if answer.refused:
            exchange.breakage = Breakage.CONNECT
            return True
        if not exchange.lines:
            exchange.lines.extend(answer.lines)
        whole = len(answer.body) if fate.cut is None else min(fate.cut, len(answer.body))
        piece = answer.body[answer.at : min(answer.at + fate.speed, whole)]
        answer.at += len(piece)
        if piece and exchange.take(piece) is not None:
            exchange.breakage = Breakage.STOPPED
            return True
        if answer.at < whole:
            return False
        exchange.breakage = None if whole == len(answer.body) else Breakage.CUT
        return True


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
