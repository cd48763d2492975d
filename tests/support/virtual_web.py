"""The web of row W in virtual time: links, connections and fates, and no machine that could be busy."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from math import inf

from benchmarks.web.ideal import RETRY_AFTER, Connections, transfer_time
from benchmarks.web.listing import Fate, Host, Line, Listing
from tests.support.virtual_http import VirtualClock
from worker.engine.exchange import Exchange
from worker.engine.failures import Breakage
from worker.engine.ports import Ended, Request

_LEAST = 1e-6  # seconds a turn takes: time never stands still
_DRIP_EVERY, _DRIP = 0.5, b"x" * 5


class _Answer:
    """An exchange under way; ``moments`` are what is still to come of it, the next one last."""

    def __init__(self, host: Host, begun: float) -> None:
        self.host = host
        self.begun = begun
        self.lines: list[bytes] = []
        self.moments: list[tuple[float, Callable[[Exchange], Ended | None]]] = []


class WebHttp:
    """Keeps ``worker.engine.ports.Http`` for the URLs of a list; ``network`` holds the connections that were made."""

    def __init__(self, listing: Listing, clock: VirtualClock) -> None:
        self.network = Connections()
        self.done: dict[str, float] = {}  # when each body was there, by its URL
        self.most_in_flight = 0
        self._clock = clock
        self._asked: set[str] = set()
        self._open: dict[Exchange, _Answer] = {}
        self._due: list[tuple[float, int, Exchange]] = []
        self._count = 0
        self._lines: dict[str, Line] = {line.url: line for line in listing.lines}
        self._lines |= {line.leads_to.url(f"good/{line.number}"): line for line in listing.lines if line.leads_to}

    def begin(self, request: Request, body: Exchange) -> Sequence[bytes]:
        url, now = request.place.target, self._clock.seconds
        line = self._lines[url]
        is_led = url != line.url
        host = line.leads_to if is_led and line.leads_to is not None else line.host
        answer = self._open[body] = _Answer(host, now)
        self.most_in_flight = max(self.most_in_flight, len(self._open))
        is_first = url not in self._asked
        self._asked.add(url)
        self._answer(answer, line, Fate.GOOD if is_led else line.fate, url, is_first=is_first)
        self._expect(body, answer)
        return answer.lines

    def drop(self, body: Exchange) -> Ended:
        answer = self._open.pop(body, None)
        return Ended() if answer is None else self._end(answer)

    def wait(self, seconds: float | None) -> Sequence[tuple[Exchange, Ended]]:
        if seconds is None:
            raise AssertionError("the lane sleeps although the test waits for it")
        until = self._clock.seconds + max(seconds, _LEAST)
        self._clock.seconds = now = min(until, self._due[0][0] if self._due else inf)
        ended = []
        while self._due and self._due[0][0] <= now:
            body = heapq.heappop(self._due)[2]
            answer = self._open.get(body)
            if answer is not None:
                end = answer.moments.pop()[1](body)
                if end is None:
                    self._expect(body, answer)
                else:
                    del self._open[body]
                    ended.append((body, end))
        return ended

    def wake(self) -> None:
        """Nobody sleeps in virtual time."""

    def close(self) -> None:
        self._open.clear()

    # ------------------------------------------------------------------------------------------------ the answers

    def _answer(self, answer: _Answer, line: Line, fate: Fate, url: str, *, is_first: bool) -> None:
        now, host = self._clock.seconds, answer.host
        if fate is Fate.REFUSED:
            answer.moments = [(now + host.latency, lambda _body: self._end(answer, Breakage.CONNECT))]
            return
        ready = self.network.ready(host, now)
        answered = ready + host.latency
        if fate is Fate.GOOD or (fate in (Fate.ONCE, Fate.THROTTLED) and not is_first):
            end = ready + transfer_time(host, line.size)
            answer.moments = [(end, lambda body: self._whole(answer, body, url, line.size))]
        elif fate is Fate.CUT:
            answer.moments = [(answered, lambda body: self._cut(answer, body, line.size))]
        elif fate is Fate.DRIPPING:
            answer.moments = [(answered, lambda body: self._drip(answer, body))]
        elif fate is not Fate.SILENT:
            answer.moments = [(answered, lambda _body: self._short(answer, fate, line))]

    def _whole(self, answer: _Answer, body: Exchange, url: str, size: int) -> Ended:
        self._head(answer, 200, size)
        body.write(bytes(size), True)
        self.done[url] = self._clock.seconds
        self.network.keep(answer.host, self._clock.seconds)
        return self._end(answer)

    def _cut(self, answer: _Answer, body: Exchange, size: int) -> Ended:
        self._head(answer, 200, size)
        body.write(bytes(size // 2), True)
        return self._end(answer, Breakage.CUT)

    def _drip(self, answer: _Answer, body: Exchange) -> None:
        if not answer.lines:
            self._head(answer, 200, 1_000_000)
        body.write(_DRIP, True)
        answer.moments = [(self._clock.seconds + _DRIP_EVERY, lambda body: self._drip(answer, body))]

    def _short(self, answer: _Answer, fate: Fate, line: Line) -> Ended:
        status = {Fate.MISSING: 404, Fate.FORBIDDEN: 403, Fate.ONCE: 503, Fate.THROTTLED: 429, Fate.MOVED: 302}[fate]
        fields = [f"Retry-After: {RETRY_AFTER:g}"] if fate is Fate.THROTTLED else []
        if fate is Fate.MOVED and line.leads_to is not None:
            fields = [f"Location: {line.leads_to.url(f'good/{line.number}')}"]
        self._head(answer, status, 0, *fields)
        self.network.keep(answer.host, self._clock.seconds)
        return self._end(answer)

    def _head(self, answer: _Answer, status: int, length: int, *fields: str) -> None:
        lines = (f"HTTP/1.1 {status} X", f"Content-Length: {length}", *fields, "")
        answer.lines.extend(f"{line}\r\n".encode() for line in lines)

    def _end(self, answer: _Answer, breakage: Breakage | None = None) -> Ended:
        lines = tuple(answer.lines)
        answer.lines.clear()
        return Ended(lines, breakage, took=int((self._clock.seconds - answer.begun) * 1e6))

    def _expect(self, body: Exchange, answer: _Answer) -> None:
        if answer.moments:
            self._count += 1
            heapq.heappush(self._due, (answer.moments[-1][0], self._count, body))
