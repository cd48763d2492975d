"""A lane's neighbours in virtual time: a scripted server, a store in memory, a clock that advances on every wait.

What a lane decides depends on order and time; here both are exact, so a test can say what happens at which second. The
real neighbours have their own tests (`tests/ports`), and both together theirs (`tests/integration`).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from contract.records.batches import BatchEntry
from contract.records.policy import JobPolicy
from tests.support.memory_store import MemoryStore
from tests.support.virtual_http import LEAST, Answering, B, SteppedHttp, VirtualClock
from worker.adapters.resolver import SystemResolver
from worker.adapters.resolver.questions import Found
from worker.engine.backlog import Backlog
from worker.engine.digests import starter
from worker.engine.exchange import Exchange
from worker.engine.failures import Breakage
from worker.engine.hosts import Hosts
from worker.engine.lane import Lane
from worker.engine.ports import Answer, Body, Ended, Http, Request
from worker.engine.run import Run

_PASSES = 100_000  # of a lane; a test that needs more would never end


@dataclass(frozen=True, slots=True)
class Reply:
    """How the server answers one request: after so many seconds, with these fields and this body.

    ``drip`` bytes/s of the body come from the start on, the rest at the end.
    """

    after: float = 0.1
    status: int = 200
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b"body"
    breakage: Breakage | None = None
    drip: float = 0.0

    def lines(self) -> list[bytes]:
        fields = (("Content-Length", str(len(self.body))), *self.fields)
        return [b"HTTP/1.1 %d X\r\n" % self.status, *(f"{n}: {v}\r\n".encode() for n, v in fields), b"\r\n"]


Script = Callable[[str, int], Reply]  # the reply to the n-th request (from 0) for a URL


class _Replying(Answering):
    def __init__(self, body: Body, reply: Reply, begun: float) -> None:
        super().__init__(body, begun)
        self.due = begun + reply.after
        self._reply = reply
        self._brought = 0

    def move(self, now: float) -> Ended | None:
        reply, is_over = self._reply, now >= self.due
        if is_over and reply.breakage in (Breakage.CONNECT, Breakage.STALE):
            return self.end(now, reply.breakage)
        if is_over or reply.drip:
            self.lines.extend(() if self.lines else reply.lines())
            start, self._brought = self._brought, len(reply.body) if is_over else int(reply.drip * (now - self.begun))
            if not self.bring(reply.body[start : self._brought]):
                return self.end(now)
        return self.end(now, reply.breakage) if is_over else None


class VirtualHttp(SteppedHttp[B]):
    """Keeps ``worker.engine.ports.Http``: every exchange ends when its reply is due."""

    def __init__(self, script: Script, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.requests: list[tuple[float, str]] = []  # when each was begun, and for which URL
        self.addresses: list[tuple[str, ...]] = []  # what each was begun with
        self._script = script
        self._due: list[float] = []  # when something is, or was to be

    def requests_for(self, url: str) -> list[float]:
        """Return the seconds at which a URL was asked for."""
        return [at for at, asked in self.requests if asked == url]

    def answer(self, request: Request, body: B) -> Answering:
        url, now = request.url.target, self.clock.seconds
        reply = self._script(url, len(self.requests_for(url)))
        self.requests.append((now, url))
        self.addresses.append(request.addresses)
        heapq.heappush(self._due, now + reply.after)
        return _Replying(body, reply, now)

    def next_moment(self, seconds: float) -> float:
        """Return when the next reply is due, or when the wait is over, whichever is sooner."""
        now = self.clock.seconds
        while self._due and self._due[0] <= now:
            heapq.heappop(self._due)
        return min(now + max(seconds, LEAST), self._due[0] if self._due else inf)


class VirtualNames:
    """Keeps ``worker.adapters.resolver.resolver.Asking``: every name has an address, except those it is told to hold.

    ``slow`` names are answered by the test, which calls what is ``held``; ``queued`` ones are not asked for before.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.held: dict[str, Callable[[str, Answer], None]] = {}
        self.slow: set[str] = set()
        self.queued: set[str] = set()

    def answer_to(self, begin: Callable[[str], None], deliver: Callable[[str, Found | None], None]) -> None:
        self._begin, self._deliver = begin, deliver

    def ask(self, host: str) -> None:
        if host not in self.queued:
            self._begin(host)
        if host in self.slow:
            self.held[host] = self._answer
        else:
            self._answer(host, self.answers.get(host, Answer(("192.0.2.1",))))

    def close(self) -> None:
        """Nothing is held."""

    def _answer(self, host: str, answer: Answer) -> None:
        self._begin(host)
        self._deliver(host, Found(answer, seconds=inf))


class VirtualResolver(SystemResolver):
    """The real one over such names; those that are not slow are known at once."""

    def __init__(self, clock: VirtualClock) -> None:
        self.names = VirtualNames()
        super().__init__(lambda _job: None, clock, name_servers=self.names)

    def known(self, host: str, after: float = -inf) -> Answer | None:
        if host not in self.names.slow and super().known(host) is None:
            self.ask(host, lambda _host, _answer: None)
        return super().known(host, after)


class VirtualWorld:
    """One lane and what it sees; ``http`` takes the scripted server's place, and has its time from ``clock``.

    With ``look_up`` the resolver is the real one, over this; otherwise ``resolver`` is the scripted one.
    """

    def __init__(
        self,
        script: Script = lambda _url, _turn: Reply(),
        *,
        window: int = 8,
        clock: VirtualClock | None = None,
        http: Http[Exchange] | None = None,
        look_up: Callable[[str], tuple[str, ...]] | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        self.clock = clock or VirtualClock()
        self.http: VirtualHttp[Exchange] = VirtualHttp(script, self.clock)
        self.store = MemoryStore()
        self.resolver = VirtualResolver(self.clock)
        self.names = self.resolver.names
        self._jobs: list[Callable[[], None]] = []  # what was given to other threads
        resolver = self.resolver if look_up is None else SystemResolver(self._jobs.append, self.clock, look_up=look_up)
        self.lane = Lane(
            http=http or self.http,
            resolver=resolver,
            clock=self.clock,
            random=lambda: 1.0,
            window=window,
            hosts=hosts or Hosts(lambda: 1.0),
        )

    def start(
        self,
        urls: Sequence[str | BatchEntry],
        policy: JobPolicy | None = None,
        *,
        backlog: Backlog | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> Run:
        run = Run(
            [BatchEntry(url=url) if isinstance(url, str) else url for url in urls],
            policy or JobPolicy(),
            queued=0.0,
            worker="virtual",
            store=self.store,
            clock=self.clock,
            submit=self._jobs.append,
            may_publish=lambda: True,
            start_hash=starter("sha256"),
            backlog=backlog,
            wake=wake,
        )
        run.launch([self.lane])
        return run

    def fetch(self, urls: Sequence[str | BatchEntry], policy: JobPolicy | None = None) -> Run:
        """Run a batch to its end."""
        run = self.start(urls, policy)
        self.drive_until(lambda: run.wait(0))
        return run

    def drive_once(self) -> None:
        while self._jobs:
            self._jobs.pop(0)()
        self.lane.drive_once()

    def drive_until(self, condition: Callable[[], bool]) -> None:
        for _ in range(_PASSES):
            while self._jobs:
                self._jobs.pop(0)()
            if condition():
                return
            self.lane.drive_once()
        raise AssertionError(f"nothing came of {_PASSES} passes; it is {self.clock.seconds:.1f} s")


def urls(count: int, host: str = "a.test") -> list[str]:
    return [f"http://{host}/{index}" for index in range(count)]


def always(reply: Reply) -> VirtualWorld:
    """Return a world whose servers answer everything like this."""
    return VirtualWorld(lambda _url, _turn: reply)
