"""Names looked up over real sockets: hundreds at once, each delayed by its own name server only."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.dns_stub import NO_RECORDS, NXDOMAIN, REFUSED, SERVFAIL, SILENCE, DnsStub, Kind, Reply
from tests.support.processes import PATIENCE, free_port
from worker.adapters.clock import SystemClock
from worker.adapters.resolver import name_servers as adapter
from worker.adapters.resolver import questions
from worker.adapters.resolver.configuration import Configuration, Server
from worker.adapters.resolver.name_servers import NameServers
from worker.adapters.resolver.questions import Found
from worker.engine.ports import Answer

FOUR, SIX = "93.184.216.34", "2606:2800:220:1::1"
_THE_SYSTEM = None  # what is found where the system has to be asked


class Names:
    """Name servers being asked, and what was found."""

    def __init__(self, *servers: Server, seconds: float = 60.0, search: tuple[str, ...] = (), ndots: int = 1) -> None:
        self.configuration: Configuration | None = Configuration(servers, search, ndots, seconds)
        self.version = 1
        self.found: dict[str, Found | None] = {}
        self.threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self.asking = NameServers(
            self._submit, SystemClock(), look=lambda: self.configuration, signature=lambda: self.version
        )
        self.asking.answer_to(lambda _host: None, self._deliver)

    def find(self, *hosts: str) -> list[Found | None]:
        """Ask for hosts and return what was found of each."""
        for host in hosts:
            self.asking.ask(host)
        return self.wait_for(*hosts)

    def wait_for(self, *hosts: str) -> list[Found | None]:
        with self._changed:
            assert self._changed.wait_for(lambda: all(host in self.found for host in hosts), PATIENCE * 20.0), hosts
            return [self.found[host] for host in hosts]

    def close(self) -> None:
        self.asking.close()
        for thread in self.threads:
            thread.join(PATIENCE * 20.0)
            assert not thread.is_alive()

    def _submit(self, call: Callable[[], None]) -> None:
        thread = threading.Thread(target=call)
        self.threads.append(thread)
        thread.start()

    def _deliver(self, host: str, found: Found | None) -> None:
        with self._changed:
            assert host not in self.found, "told twice"
            self.found[host] = found
            self._changed.notify_all()


@pytest.fixture
def world() -> Iterator[ExitStack]:
    with ExitStack() as world:
        yield world


@pytest.fixture
def dns(world: ExitStack) -> DnsStub:
    return world.enter_context(DnsStub())


def asking(world: ExitStack, *servers: DnsStub | Server, **options: object) -> Names:
    places = [(each.address, each.port) if isinstance(each, DnsStub) else each for each in servers]
    names = Names(*places, **options)  # type: ignore[arg-type]  # the options of Names
    world.callback(names.close)
    return names


def _bare_server(world: ExitStack) -> socket.socket:
    """A name server's socket, for the test to read and write."""
    wire = world.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    wire.settimeout(PATIENCE * 20.0)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)
    wire.bind(("127.0.0.1", 0))
    return wire


def addresses_of(found: Found | None) -> tuple[str, ...]:
    assert found is not None
    return found.answer.addresses


def test_hundreds_of_names_are_looked_up_at_once(world: ExitStack) -> None:
    """The name server answers only when it has received all of them."""
    wire = _bare_server(world)
    names = asking(world, wire.getsockname())
    for number in range(adapter.AT_ONCE):
        names.asking.ask(f"host{number}.test")

    heard: set[bytes] = set()
    while len(heard) < adapter.AT_ONCE:
        heard.add(wire.recv(512)[12:].partition(b"\0")[0])

    assert adapter.AT_ONCE > 200
    assert names.found == {}


def test_dead_names_hold_up_no_other(world: ExitStack, dns: DnsStub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ``on_time``: a name that is late makes room for the next."""
    monkeypatch.setattr(adapter, "AT_ONCE", 8)
    dead = [f"dead{number}.test" for number in range(24)]
    for name in dead:
        dns.script(name, SILENCE)
    dns.script("good.test", FOUR)
    names = asking(world, dns)
    for name in dead:
        names.asking.ask(name)

    (found,) = names.find("good.test")

    assert addresses_of(found) == (FOUR,)
    assert list(names.found) == ["good.test"]


def test_a_late_answer_counts(world: ExitStack, dns: DnsStub) -> None:
    """It answers the first query; the second query is wasted."""
    dns.script("slow.test", Reply(FOUR, seconds=questions.GAPS[0] + 0.3))
    names = asking(world, dns)

    (found,) = names.find("slow.test")

    assert addresses_of(found) == (FOUR,)
    assert len(dns.queries("slow.test", Kind.A)) >= 2


def test_a_name_is_given_up_in_time_and_queried_once_however_many_wait(world: ExitStack, dns: DnsStub) -> None:
    dns.default = SILENCE
    names = asking(world, dns, seconds=1.0)

    (found,) = names.find("dead.test")

    assert found == Found(Answer(fault="no name server answered in time"))  # the system is not asked for dead names
    assert len(dns.queries("dead.test")) <= 2 * (1 + len(questions.GAPS))


@pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "not there"])
def test_the_second_name_server_answers_for_the_first(world: ExitStack, dns: DnsStub, is_silent: bool) -> None:
    first = world.enter_context(DnsStub(default=SILENCE)) if is_silent else ("127.0.0.1", free_port())
    for name in ("one.test", "two.test"):
        dns.script(name, FOUR)
    names = asking(world, first, dns)

    (one,) = names.find("one.test")
    (two,) = names.find("two.test")

    assert addresses_of(one) == addresses_of(two) == (FOUR,)
    if isinstance(first, DnsStub):
        assert first.queries("two.test") == [], "it is not asked first again"


def test_the_second_name_server_is_asked_if_the_first_fails(world: ExitStack, dns: DnsStub) -> None:
    first = world.enter_context(DnsStub(default=SERVFAIL))
    dns.script("one.test", FOUR)
    names = asking(world, first, dns)

    (found,) = names.find("one.test")

    assert addresses_of(found) == (FOUR,)


def test_a_failure_of_all_name_servers_costs_one_query_each(world: ExitStack, dns: DnsStub) -> None:
    """A storm of failures must not become one of queries."""
    first = world.enter_context(DnsStub(default=SERVFAIL))
    dns.default = SERVFAIL
    names = asking(world, first, dns)

    for found in names.find(*(f"broken{number}.test" for number in range(20))):
        assert found == Found(Answer(fault="the name server failed (SERVFAIL)"))

    assert len(first.queries()) == len(dns.queries()) == 2 * 20


@pytest.mark.parametrize(
    ("reply", "fault"), [(NXDOMAIN, "the name does not exist"), (NO_RECORDS, "the name has no address")]
)
def test_a_name_without_address_is_final_and_yet_doubtful(
    world: ExitStack, dns: DnsStub, reply: Reply, fault: str
) -> None:
    dns.script("gone.test", reply)
    names = asking(world, dns)

    assert names.find("gone.test") == [Found(Answer(fault=fault, is_final=True), is_doubtful=True)]


def test_ipv4_addresses_do_not_wait_for_ever_for_ipv6_ones(
    world: ExitStack, dns: DnsStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "reaches_ipv4", lambda: True)
    dns.script("half.test", Reply(FOUR, SIX, only=Kind.A))
    dns.script("other-half.test", Reply("127.0.0.1", SIX, only=Kind.AAAA))
    names = asking(world, dns, seconds=1.5)

    half, other_half = names.find("half.test", "other-half.test")

    assert addresses_of(half) == (FOUR,)
    assert len(dns.queries("half.test", Kind.AAAA)) == 1
    assert addresses_of(other_half) == (SIX,)


def test_unroutable_ipv4_addresses_wait_for_ipv6_ones(
    world: ExitStack, dns: DnsStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards ``reaches_ipv4``: behind NAT64 only the IPv6 addresses are of use."""
    monkeypatch.setattr(questions, "reaches_ipv4", lambda: False)
    dns.script("nat64.test", Reply(FOUR, SIX, only=Kind.A))
    names = asking(world, dns, seconds=1.0)

    (found,) = names.find("nat64.test")

    assert addresses_of(found) == (FOUR,)  # at the end, better than nothing
    assert len(dns.queries("nat64.test", Kind.AAAA)) >= 2


def test_all_addresses_are_returned_with_a_bounded_time_to_live(world: ExitStack, dns: DnsStub) -> None:
    dns.script("short.test", Reply(FOUR, SIX, ttl=1))
    dns.script("middle.test", Reply(FOUR, SIX, alias="elsewhere.test", ttl=100))
    dns.script("long.test", Reply(FOUR, SIX, ttl=86_400))
    names = asking(world, dns)

    found = names.find("short.test", "middle.test", "long.test")

    assert [each.seconds for each in found if each] == [questions.SHORTEST, 100.0, questions.LONGEST]
    assert all(set(addresses_of(each)) == {FOUR, SIX} for each in found)


def test_search_domains_are_tried_one_after_the_other(world: ExitStack, dns: DnsStub) -> None:
    dns.script("api.prod.second.test", FOUR)
    names = asking(world, dns, search=("first.test", "second.test"), ndots=5)

    (found, missing) = names.find("api.prod", "missing.prod")

    assert addresses_of(found) == (FOUR,)
    assert dns.queries("api.prod") == []
    assert missing is not None
    assert missing.answer.is_final
    assert dns.queries("missing.prod")


@pytest.mark.parametrize("reply", [Reply(FOUR, cuts_udp=True), REFUSED], ids=["cut", "refused"])
def test_unusual_names_are_left_to_the_system(world: ExitStack, dns: DnsStub, reply: Reply) -> None:
    dns.script("odd.test", reply)
    names = asking(world, dns)

    assert names.find("odd.test", "x.local", "a..b") == [_THE_SYSTEM] * 3


def test_garbage_is_left_to_the_system_and_foreign_answers_are_ignored(world: ExitStack) -> None:
    wire = _bare_server(world)
    names = asking(world, wire.getsockname())
    names.asking.ask("garbage.test")
    asked, client = wire.recvfrom(512)

    other = asked[:2] + b"\x81\x80" + asked[4:].replace(b"garbage", b"another")
    wire.sendto(other, client)
    wire.sendto(b"\xff\xff" + asked[2:], client)
    wire.sendto(asked[:2] + b"\x81\x80" + asked[4:20], client)

    assert names.wait_for("garbage.test") == [_THE_SYSTEM]


def test_a_machine_that_changes_networks_asks_its_new_name_servers(
    world: ExitStack, dns: DnsStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_LOOK_AGAIN", 0.0)
    dns.script("good.test", FOUR)
    second = world.enter_context(DnsStub())
    second.script("moved.test", FOUR)
    names = asking(world, dns)
    names.find("good.test")

    names.configuration = Configuration(((second.address, second.port),))
    names.version += 1
    (found,) = names.find("moved.test")
    names.configuration = None
    names.version += 1
    (left,) = names.find("left.test")

    assert addresses_of(found) == (FOUR,)
    assert left is _THE_SYSTEM


def test_a_bug_leaves_every_name_to_the_system(
    world: ExitStack, dns: DnsStub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dns.default = SILENCE
    names = asking(world, dns)
    names.asking.ask("first.test")
    dns.wait_for_queries(2)

    monkeypatch.setattr(questions.Questions, "begin", lambda *_: 1 / 0)
    found = names.find("second.test", "third.test")
    found += names.wait_for("first.test") + names.find("fourth.test")

    assert found == [_THE_SYSTEM] * 4
    assert caplog.text.count("the system's resolver is asked from now on") == 1


def test_queries_in_flight_at_the_end_are_dropped(world: ExitStack, dns: DnsStub) -> None:
    dns.default = SILENCE
    names = asking(world, dns)
    names.asking.ask("first.test")
    dns.wait_for_queries(2)

    names.close()

    assert names.found == {}
