"""The Resolver port: each name looked up once, answered to all who wait, remembered for a while."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from worker.adapters.resolver import FRESH, FRESH_FAULT, SystemResolver, system
from worker.adapters.resolver import resolver as adapter
from worker.adapters.resolver.questions import Found
from worker.engine.ports import Answer, Resolver

HOST = "example.com"
ADDRESSES = ("192.0.2.1", "2001:db8::1")


class World:
    """A name server of the test's own, its time, and the questions that threads have not asked yet."""

    def __init__(self, *, asks_name_servers: bool = False) -> None:
        self.time = 50.0
        self.takes = 0.0  # seconds for an answer
        self.asked: list[str] = []
        self.of_the_system: set[str] = set()  # hosts no name server knows
        self.waiting: list[Callable[[], None]] = []
        self.told: list[tuple[str, Answer]] = []
        self.answers: dict[str, tuple[str, ...] | Exception] = {HOST: ADDRESSES}
        self.resolver: Resolver = SystemResolver(
            self.waiting.append,
            self,
            look_up=self._look_up,
            name_servers=NameServersInMemory(self) if asks_name_servers else None,
        )

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time

    def ask(self, host: str = HOST) -> None:
        self.resolver.ask(host, lambda host, answer: self.told.append((host, answer)))

    def think(self) -> None:
        """Let the other threads run."""
        while self.waiting:
            self.waiting.pop(0)()

    def answer_to(self, host: str = HOST) -> Answer:
        self.ask(host)
        self.think()
        return self.told[-1][1]

    def _look_up(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        self.time += self.takes
        answer = self.answers.get(host, ())
        if isinstance(answer, Exception):
            raise answer
        return answer


class NameServersInMemory:
    """Keeps ``worker.adapters.resolver.resolver.Asking``; what is a fault to the world is left to the system."""

    def __init__(self, world: World) -> None:
        self._world = world

    def answer_to(self, begin: Callable[[str], None], deliver: Callable[[str, Found | None], None]) -> None:
        self._begin, self._tell = begin, deliver

    def ask(self, host: str) -> None:
        self._world.waiting.append(lambda: self._answer(host))

    def close(self) -> None:
        """Nothing is held."""

    def _answer(self, host: str) -> None:
        self._begin(host)
        addresses = () if host in self._world.of_the_system else self._world.answers.get(host, ())
        if isinstance(addresses, Exception):
            self._tell(host, None)
            return
        self._world.asked.append(host)
        self._world.time += self._world.takes
        missing = Answer(fault="the name does not exist", is_final=True)
        self._tell(host, Found(Answer(addresses)) if addresses else Found(missing, is_doubtful=True))


@pytest.fixture(params=[False, True], ids=["system", "name servers"])
def world(request: pytest.FixtureRequest) -> World:
    return World(asks_name_servers=request.param)


def test_a_name_is_looked_up_on_another_thread(world: World) -> None:
    world.ask()
    assert world.asked == []

    world.think()

    assert world.told == [(HOST, Answer(ADDRESSES))]
    assert world.resolver.known(HOST) == Answer(ADDRESSES)


def test_all_who_wait_are_notified_and_the_name_is_looked_up_once(world: World) -> None:
    for _ in range(5):
        world.ask()
    world.think()

    assert world.asked == [HOST]
    assert world.told == [(HOST, Answer(ADDRESSES))] * 5


@pytest.mark.parametrize(("answer", "seconds"), [(ADDRESSES, FRESH), (OSError(), FRESH_FAULT)])
def test_an_answer_is_fresh_for_a_while(world: World, answer: tuple[str, ...] | Exception, seconds: float) -> None:
    world.answers[HOST] = answer
    world.answer_to()

    world.time += seconds - 0.1
    assert world.resolver.known(HOST) is not None
    world.time += 0.2
    assert world.resolver.known(HOST) is None


def test_a_failure_before_the_last_attempt_is_no_answer(world: World) -> None:
    """Guards `after`: each attempt looks the name up again, or all attempts are used up on one failure."""
    world.answers[HOST] = OSError()
    world.answer_to()

    assert world.resolver.known(HOST, after=world.time - 1.0) is not None
    assert world.resolver.known(HOST, after=world.time) is None


@pytest.mark.parametrize(
    ("fault", "is_final"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), True),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), False),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), False),
        (OSError("too many open files"), False),
        (UnicodeError("label too long"), False),
    ],
)
def test_a_name_without_address_differs_from_a_failed_resolver(world: World, fault: Exception, is_final: bool) -> None:
    world.answers[HOST] = fault

    answer = world.answer_to()

    assert answer.addresses == ()
    assert answer.fault
    assert answer.is_final == is_final


def test_a_name_without_address_counts_as_nonexistent(world: World) -> None:
    assert world.answer_to("empty.example").is_final


@pytest.mark.parametrize("literal", ["192.0.2.7", "2001:db8::7"])
def test_an_address_needs_no_lookup(world: World, literal: str) -> None:
    assert world.resolver.known(literal) == Answer((literal,))


@pytest.mark.parametrize("name", ["example.com", "host7", "1.2.3", "::nonsense"])
def test_a_name_that_looks_like_an_address_is_looked_up(world: World, name: str) -> None:
    assert world.resolver.known(name) is None


def test_an_abandoned_lookup_counts_as_unanswered(world: World) -> None:
    world.ask()

    given_up = world.resolver.give_up(HOST)

    assert not given_up.addresses
    assert world.resolver.known(HOST) == given_up
    world.think()
    assert world.resolver.known(HOST) == Answer(ADDRESSES), "a late answer still is one"


def test_a_lookup_begins_when_the_resolver_starts_on_it(world: World) -> None:
    """Guards ``begun``: time in our own queue does not make a name late."""
    world.takes = 3.0
    world.ask("before.example")
    world.ask()
    assert world.resolver.begun(HOST) is None

    world.think()

    assert world.resolver.begun(HOST) is None
    first, second = (answer for _, answer in world.told)
    assert (first.begun, second.begun) == (50.0, 53.0)


def test_names_unknown_to_name_servers_are_asked_of_the_system() -> None:
    """Guards ``is_doubtful``: names of mDNS, of a VPN or of any other source of the machine's."""
    world = World(asks_name_servers=True)
    world.of_the_system.add(HOST)

    assert world.answer_to().is_final
    assert world.answer_to() == Answer(ADDRESSES)


def test_a_lookup_handed_to_the_system_waits_again(world: World) -> None:
    """Guards ``begun`` between the two: the system's threads may all be busy."""
    world.answers[HOST] = OSError()
    world.ask()
    world.waiting.pop(0)()  # the name servers hand it on, or the system is through

    assert world.resolver.begun(HOST) is None


def test_a_stuck_system_resolver_holds_only_a_few_threads() -> None:
    world = World()
    for number in range(500):
        world.ask(f"{number}.example")

    assert len(world.waiting) == system.AT_ONCE
    world.think()
    assert len(world.told) == 500
    assert len(world.asked) == 500


def test_remembered_names_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "REMEMBERED", 10)

    for number in range(30):
        world.answers[f"{number}.example"] = ADDRESSES
        world.answer_to(f"{number}.example")

    known = [number for number in range(30) if world.resolver.known(f"{number}.example")]
    assert known == list(range(20, 30))


def test_many_threads_may_ask_at_once() -> None:
    asked: list[str] = []
    told = threading.Semaphore(0)

    def look_up(host: str) -> tuple[str, ...]:
        asked.append(host)
        return ADDRESSES

    def submit(call: Callable[[], None]) -> None:
        threading.Thread(target=call).start()

    resolver = SystemResolver(submit, World(), look_up=look_up)

    def ask() -> None:
        for number in range(50):
            resolver.ask(f"{number}.example", lambda _host, _answer: told.release())

    askers = [threading.Thread(target=ask) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()

    assert all(told.acquire(timeout=20.0) for _ in range(8 * 50))
    assert set(asked) == {f"{number}.example" for number in range(50)}
