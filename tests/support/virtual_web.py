"""The web of row W in virtual time: links, connections and outcomes, with no machine that could be busy."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from math import inf

from benchmarks.web.ideal import RETRY_AFTER, Connections, transfer_time
from benchmarks.web.listing import Fate, Host, Line, Listing
from tests.support.virtual_http import LEAST, Answering, SteppedHttp, VirtualClock
from worker.engine.exchange import Exchange
from worker.engine.failures import Breakage
from worker.engine.ports import Ended, Request

_DRIP_EVERY, _DRIP = 0.5, b"x" * 5


class _Fated(Answering):
    """An answer under way: ``act`` is what comes of it next, at the moment ``due``."""

    def __init__(self, body: Exchange, begun: float) -> None:
        super().__init__(body, begun)
        self.due = inf
        self.act: Callable[[float], Ended | None] = self.end

    def move(self, now: float) -> Ended | None:
        return self.act(now)

    def head(self, status: int, length: int, *fields: str) -> None:
        lines = (f"HTTP/1.1 {status} X", f"Content-Length: {length}", *fields, "")
        self.lines.extend(f"{line}\r\n".encode() for line in lines)


class WebHttp(SteppedHttp[Exchange]):
    """Keeps ``worker.engine.ports.Http`` for the URLs of a list; ``network`` holds the connections that were made."""

    def __init__(self, listing: Listing, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.network = Connections()
        self.done: dict[str, float] = {}  # when each body was there, by its URL
        self._asked: set[str] = set()
        self._due: list[tuple[float, int, Exchange, _Fated]] = []
        self._count = 0
        self._lines: dict[str, Line] = {line.url: line for line in listing.lines}
        self._lines |= {line.leads_to.url(f"good/{line.number}"): line for line in listing.lines if line.leads_to}

    def answer(self, request: Request, body: Exchange) -> Answering:
        url, now = request.url.target, self.clock.seconds
        line = self._lines[url]
        is_led = url != line.url
        host = line.leads_to if is_led and line.leads_to is not None else line.host
        answer, is_first = _Fated(body, now), url not in self._asked
        self._asked.add(url)
        self._decide(answer, line, Fate.GOOD if is_led else line.fate, host, url, is_first=is_first)
        self._expect(body, answer)
        return answer

    def moving(self, now: float) -> Iterator[tuple[Exchange, Answering]]:
        """Return those of which something is due."""
        while self._due and self._due[0][0] <= now:
            *_, body, answer = heapq.heappop(self._due)
            if self._open.get(body) is answer:
                answer.due = inf
                yield body, answer
                self._expect(body, answer)

    def next_moment(self, seconds: float) -> float:
        return min(self.clock.seconds + max(seconds, LEAST), self._due[0][0] if self._due else inf)

    def _expect(self, body: Exchange, answer: _Fated) -> None:
        if answer.due < inf:
            self._count += 1
            heapq.heappush(self._due, (answer.due, self._count, body, answer))

    # ------------------------------------------------------------------------------------------------ the answers

    def _decide(self, answer: _Fated, line: Line, fate: Fate, host: Host, url: str, *, is_first: bool) -> None:
        if fate is Fate.REFUSED:
            answer.due, answer.act = self.clock.seconds + host.latency, lambda now: answer.end(now, Breakage.CONNECT)
            return
        ready = self.network.ready(host, self.clock.seconds)
        answer.due = ready + host.latency
        if fate is Fate.GOOD or (fate in (Fate.ONCE, Fate.THROTTLED) and not is_first):
            answer.due = ready + transfer_time(host, line.size)
            answer.act = lambda now: self._whole(answer, host, url, line.size, now)
        elif fate is Fate.CUT:
            answer.act = lambda now: self._cut(answer, line.size, now)
        elif fate is Fate.DRIPPING:
            answer.act = lambda now: self._drip(answer, now)
        elif fate is Fate.SILENT:
            answer.due = inf
        else:
            answer.act = lambda now: self._short(answer, fate, host, line, now)

    def _whole(self, answer: _Fated, host: Host, url: str, size: int, now: float) -> Ended:
        answer.head(200, size)
        answer.bring(bytes(size))
        self.done[url] = now
        self.network.keep(host, now)
        return answer.end(now)

    def _cut(self, answer: _Fated, size: int, now: float) -> Ended:
        answer.head(200, size)
        answer.bring(bytes(size // 2))
        return answer.end(now, Breakage.CUT)

    def _drip(self, answer: _Fated, now: float) -> None:
        if not answer.lines:
            answer.head(200, 1_000_000)
        answer.bring(_DRIP)
        answer.due = now + _DRIP_EVERY

    def _short(self, answer: _Fated, fate: Fate, host: Host, line: Line, now: float) -> Ended:
        status = {Fate.MISSING: 404, Fate.FORBIDDEN: 403, Fate.ONCE: 503, Fate.THROTTLED: 429, Fate.MOVED: 302}[fate]
        fields = [f"Retry-After: {RETRY_AFTER:g}"] if fate is Fate.THROTTLED else []
        if fate is Fate.MOVED and line.leads_to is not None:
            fields = [f"Location: {line.leads_to.url(f'good/{line.number}')}"]
        answer.head(status, 0, *fields)
        self.network.keep(host, now)
        return answer.end(now)
