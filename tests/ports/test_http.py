"""The Http port, for libcurl and the lane tests' fake: what an engine may rely on."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from contract.records.policy import JobPolicy
from contract.urls.lines import RefusedUrl, parse
from contract.urls.networks import parse_networks
from tests.support.listening import Listening
from tests.support.processes import PATIENCE, free_port
from tests.support.virtual_http import VirtualClock
from tests.support.virtual_world import Reply, VirtualHttp
from worker.adapters.http import CurlHttp
from worker.engine.failures import Breakage
from worker.engine.ports import Ended, Http, Request
from worker.engine.safety import AddressPolicy

WHOLE = b"0123456789" * 5_000
POLICY = JobPolicy()


@dataclass(eq=False)
class Collecting:
    """Keeps ``worker.engine.ports.Body``; ``most`` is after how many bytes it wants no more."""

    most: float = float("inf")
    data: bytes = b""
    lines: Sequence[bytes] = ()
    lines_at_first: tuple[bytes, ...] | None = None
    watched: list[bool] = field(default_factory=list)

    def write(self, data: bytes, is_watched: bool) -> int | None:
        if self.lines_at_first is None:
            self.lines_at_first = tuple(self.lines)
        self.data += data
        self.watched.append(is_watched)
        return -1 if len(self.data) >= self.most else None


class World:
    """An implementation, and a site of which each path is answered in one way."""

    def __init__(self, http: Http[Collecting], origin: str, now: Callable[[], float] = time.monotonic) -> None:
        self.http = http
        self._origin = origin
        self._now = now

    def begin(self, path: str, body: Collecting | None = None, *, origin: str = "") -> Collecting:
        body = body or Collecting()
        place = parse(f"{origin or self._origin}{path}")
        assert not isinstance(place, RefusedUrl)
        body.lines = self.http.begin(Request(place, ("127.0.0.1",), POLICY, 30.0), body)
        return body

    def ended(self, *bodies: Collecting) -> list[Ended]:
        """Wait for exchanges to end, and for nothing else to come back."""
        found: dict[Collecting, Ended] = {}
        until = time.monotonic() + PATIENCE
        while len(found) < len(bodies) and time.monotonic() < until:
            for body, ended in self.http.wait(1.0):
                assert body in bodies
                assert body not in found
                found[body] = ended
        return [found[body] for body in bodies]

    def waited(self, seconds: float) -> float:
        """Wait, while nothing ends, and return how long that took by the world's clock."""
        began = self._now()
        assert list(self.http.wait(seconds)) == []
        return self._now() - began

    def wait_until(self, condition: Callable[[], object]) -> None:
        until = time.monotonic() + PATIENCE
        while not condition():
            assert list(self.http.wait(0.05)) == []
            assert time.monotonic() < until


class Site:
    """A server on loopback that answers by path, one thread per connection."""

    def __init__(self) -> None:
        self._listening = Listening("site", self._talk)
        self.origin = f"http://127.0.0.1:{self._listening.listen('127.0.0.1', 0)}"
        self.close = self._listening.close

    def _talk(self, talk: socket.socket) -> None:
        while head := talk.recv(65536):
            path = head.split(b" ")[1]
            if path != b"/silent":
                length = 0 if path == b"/empty" else len(WHOLE)
                talk.sendall(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % length)
                talk.sendall(WHOLE[: min(length, 20_000 if path in (b"/cut", b"/drip") else length)])
            if path == b"/cut":
                return


def _scripted(path: str) -> Reply:
    if "refused" in path:
        return Reply(after=0.01, breakage=Breakage.CONNECT)
    return {
        "empty": Reply(after=0.01, body=b""),
        "cut": Reply(after=0.01, body=WHOLE[:20_000], breakage=Breakage.CUT),
        "drip": Reply(after=1000.0, body=WHOLE, drip=100_000.0),
        "silent": Reply(after=1000.0),
    }.get(path.rpartition("/")[2], Reply(after=0.01, body=WHOLE))


@pytest.fixture(params=["libcurl", "fake"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "fake":
        clock = VirtualClock()
        yield World(VirtualHttp(lambda url, _turn: _scripted(url), clock), "http://site.test", clock.now)
        return
    site = Site()
    addresses = AddressPolicy(allow=parse_networks(("127.0.0.0/8",), setting="TRAWL_ALLOW_NETS"))
    http: CurlHttp[Collecting]
    http = CurlHttp(addresses=addresses, window=8, ca_file="/nowhere", ipv4_only=False, http3=False)
    yield World(http, site.origin)
    http.close()
    site.close()


def test_the_head_comes_first_and_the_body_in_order(world: World) -> None:
    body = world.begin("/whole")

    (ended,) = world.ended(body)

    assert body.data == WHOLE
    assert body.lines_at_first == ended.lines
    assert (ended.lines[0], ended.lines[-1]) == (b"HTTP/1.1 200 X\r\n", b"\r\n")
    assert (ended.breakage, ended.stopped, ended.refusals) == (None, None, ())
    assert ended.took >= ended.at_first_byte >= 0


def test_a_head_without_a_body_is_in_ended(world: World) -> None:
    body = world.begin("/empty")

    (ended,) = world.ended(body)

    assert body.data == b""
    assert b"Content-Length: 0\r\n" in ended.lines


def test_ended_has_its_own_copy_of_the_header_lines(world: World) -> None:
    """Guards ``Ended.lines``: an adapter may reuse the list, and the next exchange must not write into this one."""
    first = world.begin("/whole")
    (ended,) = world.ended(first)
    lines = tuple(ended.lines)

    world.ended(world.begin("/empty"))

    assert ended.lines == lines
    assert first.lines is not ended.lines


def test_many_exchanges_end_each_once(world: World) -> None:
    bodies = [world.begin("/whole") for _ in range(20)]

    endings = world.ended(*bodies)

    assert {body.data for body in bodies} == {WHOLE}
    assert {ended.breakage for ended in endings} == {None}


def test_a_body_that_refuses_more_ends_its_exchange(world: World) -> None:
    body = world.begin("/whole", Collecting(most=1))

    (ended,) = world.ended(body)

    assert ended.breakage is Breakage.STOPPED
    assert WHOLE.startswith(body.data)


def test_a_broken_exchange_is_reported_and_keeps_what_came(world: World) -> None:
    body = world.begin("/cut")

    (ended,) = world.ended(body)

    assert ended.breakage is Breakage.CUT
    assert body.data == WHOLE[:20_000]


def test_a_failed_connection_is_an_ending_and_not_an_exception(world: World) -> None:
    body = world.begin("/refused", origin=f"http://127.0.0.1:{free_port()}")

    (ended,) = world.ended(body)

    assert (ended.breakage, ended.lines, body.data) == (Breakage.CONNECT, (), b"")


def test_a_dropped_exchange_does_not_end_and_returns_its_progress(world: World) -> None:
    dropped = world.begin("/drip")
    world.wait_until(lambda: dropped.data)

    ended = world.http.drop(dropped)
    so_far = dropped.data
    world.ended(world.begin("/whole"))

    assert ended.lines == dropped.lines_at_first
    assert dropped.data == so_far, "nothing is handed over afterwards"


def test_dropping_what_is_not_in_flight_changes_nothing(world: World) -> None:
    assert world.http.drop(Collecting()) == Ended()


@pytest.mark.parametrize("path", ["", "/silent"])
def test_a_wait_ends_early_when_it_is_woken(world: World, path: str) -> None:
    """Guards ``wake``, with nothing in flight and with something that is quiet."""
    if path:
        world.begin(path)
    world.wait_until(lambda: world.waited(0.5) >= 0.5)  # its connection is there

    waited = []
    for _ in range(4):
        world.http.wake()
        waited.append(world.waited(0.5))

    assert min(waited) < 0.25
