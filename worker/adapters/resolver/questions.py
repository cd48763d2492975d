"""Names in flight to the name servers: what to send again, to which server, and when enough is known.

Anything unusual (a truncated or odd answer, a server that refuses) is left to the system's resolver.
"""

from __future__ import annotations

import heapq
import selectors
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from worker.adapters.resolver.configuration import Configuration, Server
from worker.adapters.resolver.messages import Code, Kind, Reply, message, question, read
from worker.adapters.resolver.preference import in_order, reaches_ipv4
from worker.adapters.resolver.wires import Wire, Wires
from worker.engine.ports import Answer

GAPS = (0.5, 1.0, 2.0, 3.5)  # seconds until a question is sent again, to the next server; after the first it is late
GRACE = 0.2  # seconds that IPv4 addresses wait for IPv6 ones; RFC 8305 section 3 says 50 ms
SHORTEST, LONGEST = 30.0, 300.0  # seconds an answer is used, whatever its time to live
_LARGEST = 4096  # bytes of a datagram; servers were not told that we accept more than 512
_AT_A_TIME = 100  # answers read from one socket before the others get their turn


@dataclass(frozen=True, slots=True)
class Found:
    """An answer, and how many seconds it is valid. ``is_doubtful``: ask the system next time."""

    answer: Answer
    seconds: float | None = None
    is_doubtful: bool = False


class _Question:
    """One host being looked up, by several names in sequence if it must be completed."""

    __slots__ = (
        "asked", "candidates", "due", "failed", "host", "is_graced", "is_late", "is_over", "numbers", "replies",
        "resends", "server", "until",
    )  # fmt: skip

    def __init__(self, host: str, candidates: list[str], until: float) -> None:
        self.host = host
        self.candidates = candidates
        self.until = until
        self.asked: dict[Kind, bytes] = {}
        self.replies: dict[Kind, Reply] = {}
        self.numbers: dict[tuple[Server, Kind], tuple[Wire[Asked], int]] = {}
        self.server: Server = ("", 0)  # the one asked last
        self.failed: set[tuple[Server, Kind]] = set()  # that failed to resolve it
        self.resends = 0
        self.due = 0.0
        self.is_graced = False  # there are IPv4 addresses, and it waits GRACE for IPv6 ones
        self.is_late = False
        self.is_over = False


Asked = tuple[_Question, Kind]


class Questions:
    """Belongs to one thread. Times are the clock's seconds."""

    def __init__(self, selector: selectors.BaseSelector, deliver: Callable[[str, Found | None], None]) -> None:
        """``deliver`` is called with each host and its answer; None: the system must be asked."""
        self._deliver = deliver
        self._configuration: Configuration | None = None
        self._best: Server = ("", 0)
        self._wires: Wires[Asked] = Wires(selector)
        self._timers: list[tuple[float, int, _Question]] = []
        self._count = count()
        self._open: dict[_Question, None] = {}
        self.on_time = 0  # names that are not late yet

    def __len__(self) -> int:
        return len(self._open)

    def configure(self, configuration: Configuration | None) -> None:
        """Ask other servers from now on; answers to questions in flight are still accepted."""
        self._wires.retire()
        self._configuration = configuration
        self._best = configuration.servers[0] if configuration is not None else ("", 0)

    def begin(self, host: str, now: float) -> None:
        """Start looking up a host."""
        configuration = self._configuration
        candidates = configuration.candidates(host) if configuration is not None else []
        if configuration is None or not candidates:
            self._deliver(host, None)
            return
        asked = _Question(host, candidates, now + configuration.seconds)
        self._open[asked] = None
        self.on_time += 1
        self._ask_next(asked, now)

    def next_due(self) -> float | None:
        return self._timers[0][0] if self._timers else None

    def resend(self, now: float) -> None:
        """Send late questions again, and give up those past their time."""
        while self._timers and self._timers[0][0] <= now:
            due, _, asked = heapq.heappop(self._timers)
            if asked.is_over or asked.due != due:
                continue
            if now >= asked.until or _is_enough(asked):
                self._give_up(asked)
            else:
                self._send_again(asked, now)

    def hear(self, wire: Wire[Asked], now: float) -> None:
        """Read the answers of a name server."""
        for _ in range(_AT_A_TIME):
            if wire.is_closed:  # by an earlier event
                return
            try:
                data = wire.socket.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError:  # connection refused
                self._lose(wire, now)
                return
            asked, kind = wire.questions.get(int.from_bytes(data[:2]), (None, Kind.A))
            if asked is None or kind in asked.replies:
                continue
            reply = read(data)
            if reply is None:
                self._fail(asked, kind, wire.server, None, now)
            elif reply.asked == asked.asked[kind]:
                self._accept(asked, kind, reply, wire.server, now)

    def hand_back(self) -> None:
        """Leave everything in flight to the system."""
        for asked in list(self._open):
            self._end(asked, None)

    # ------------------------------------------------------------------------------------------------- asking

    def _ask_next(self, asked: _Question, now: float) -> None:
        """Ask for the host's next candidate name."""
        self._forget_numbers(asked)
        name = asked.candidates.pop(0)
        asked.replies.clear()
        asked.failed.clear()
        asked.resends = 0
        asked.server = self._best
        sections = {kind: question(name, kind) for kind in Kind}
        asked.asked = {kind: section for kind, section in sections.items() if section is not None}
        if len(asked.asked) < len(sections):
            self._end(asked, None)
            return
        self._send(asked, now)
        self._remind(asked, now + GAPS[0])

    def _send(self, asked: _Question, now: float) -> None:
        for kind in asked.asked:
            if kind not in asked.replies and (asked.server, kind) not in asked.failed and not asked.is_over:
                self._send_one(asked, kind, now)

    def _send_one(self, asked: _Question, kind: Kind, now: float) -> None:
        try:
            wire, number = asked.numbers.get((asked.server, kind)) or self._wires.number(asked.server, (asked, kind))
        except OSError:
            self._fail(asked, kind, asked.server, None, now)
            return
        asked.numbers[asked.server, kind] = wire, number
        try:
            wire.socket.send(message(number, asked.asked[kind]))
        except BlockingIOError:
            pass  # like a lost datagram: it is sent again
        except OSError:
            self._lose(wire, now)

    def _send_again(self, asked: _Question, now: float) -> None:
        if not asked.is_late:
            asked.is_late = True
            self.on_time -= 1
        asked.resends += 1
        asked.server = self._server_after(asked.server)
        self._remind(asked, now + GAPS[min(asked.resends, len(GAPS) - 1)])
        self._send(asked, now)

    def _server_after(self, server: Server) -> Server:
        servers = self._configuration.servers if self._configuration is not None else ()
        if server not in servers:
            return servers[0] if servers else server
        return servers[(servers.index(server) + 1) % len(servers)]

    def _remind(self, asked: _Question, due: float) -> None:
        asked.due = min(due, asked.until)
        heapq.heappush(self._timers, (asked.due, next(self._count), asked))

    # ------------------------------------------------------------------------------------------------ hearing

    def _accept(self, asked: _Question, kind: Kind, reply: Reply, server: Server, now: float) -> None:
        if reply.is_cut:
            self._end(asked, None)  # the system asks again over TCP
        elif reply.code not in (Code.NOERROR, Code.NXDOMAIN):
            self._fail(asked, kind, server, reply, now)
        else:
            if server != self._best and (asked.resends or asked.failed):
                self._best = server  # this one answered, although the other was asked first
            asked.replies[kind] = reply
            self._conclude(asked, now)

    def _fail(self, asked: _Question, kind: Kind, server: Server, reply: Reply | None, now: float) -> None:
        """This server failed: ask another, or accept the failure."""
        asked.failed.add((server, kind))
        other = self._server_after(server)
        if (other, kind) not in asked.failed:
            asked.server = other
            self._send_one(asked, kind, now)
        elif reply is None or reply.code != Code.SERVFAIL:
            self._end(asked, None)
        else:
            asked.replies[kind] = reply
            self._conclude(asked, now)

    def _lose(self, wire: Wire[Asked], now: float) -> None:
        """The server of this socket cannot be reached."""
        lost = self._wires.drop(wire)
        for asked, kind in lost:
            asked.numbers.pop((wire.server, kind), None)
        for asked, kind in lost:
            if not asked.is_over and kind not in asked.replies:
                self._fail(asked, kind, wire.server, None, now)

    def _conclude(self, asked: _Question, now: float) -> None:
        """Check whether enough is known to answer."""
        codes = {reply.code for reply in asked.replies.values()}
        if Code.NXDOMAIN in codes:
            self._absent(asked, "the name does not exist", now)
        elif len(asked.replies) == len(asked.asked):
            if any(reply.addresses for reply in asked.replies.values()):
                self._give_up(asked)
            elif codes == {Code.NOERROR}:
                self._absent(asked, "the name has no address", now)
            else:
                self._end(asked, Found(Answer(fault="the name server failed (SERVFAIL)")))
        elif Kind.A in asked.replies and asked.replies[Kind.A].addresses:
            asked.is_graced = True
            self._remind(asked, now + GRACE)

    def _absent(self, asked: _Question, fault: str, now: float) -> None:
        if asked.candidates:
            self._ask_next(asked, now)
        else:
            self._end(asked, Found(Answer(fault=fault, is_final=True), is_doubtful=True))

    def _give_up(self, asked: _Question) -> None:
        """Answer with the addresses found so far."""
        four, six = (asked.replies[kind].addresses if kind in asked.replies else () for kind in Kind)
        if not four and not six:
            self._end(asked, Found(Answer(fault="no name server answered in time")))
            return
        ttl = min(reply.ttl for reply in asked.replies.values() if reply.addresses)
        self._end(asked, Found(Answer(in_order(four, six)), min(max(SHORTEST, ttl), LONGEST)))

    def _end(self, asked: _Question, found: Found | None) -> None:
        asked.is_over = True
        del self._open[asked]
        if not asked.is_late:
            self.on_time -= 1
        self._forget_numbers(asked)
        self._deliver(asked.host, found)

    def _forget_numbers(self, asked: _Question) -> None:
        for wire, number in asked.numbers.values():
            self._wires.forget(wire, number)
        asked.numbers.clear()


def _is_enough(asked: _Question) -> bool:
    """Have its IPv4 addresses waited long enough? Without an IPv4 route, as with NAT64, the IPv6 ones are needed."""
    was_graced, asked.is_graced = asked.is_graced, False
    return was_graced and reaches_ipv4()
