"""Which streams were reset: what libcurl's debug text says, told from what servers put into it, and who listens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from worker.adapters.http.streams import StreamWatch
from worker.engine.exchange import Exchange
from worker.engine.http.headers import Head

H2_RESET = b"[HTTP/2] [5] <- FRAME[RST_STREAM, len=4, flags=0, error=0]\n"
H2_CLOSED = b"[HTTP/2] [5] CLOSED\n"
H3_RESET = b"[HTTP/3] [4] reset -> 0\n"
H3_CLOSED = b"[HTTP/3] [4] CLOSED\n"


def heard(*lines: bytes) -> list[bool]:
    watch = StreamWatch()
    return [watch.hear(line) for line in lines]


@pytest.mark.parametrize("lines", [(H2_RESET, H2_CLOSED), (H3_RESET, H3_CLOSED)])
def test_a_stream_that_closes_right_after_its_reset_was_reset(lines: tuple[bytes, bytes]) -> None:
    assert heard(*lines, lines[1]) == [False, True, False]


@pytest.mark.parametrize(
    "lines",
    [
        (b"[HTTP/2] [5] <- FRAME[DATA, len=9, eos=1, padlen=0]\n", H2_CLOSED),
        (b"[HTTP/2] [7] <- FRAME[RST_STREAM, len=4, flags=0, error=0]\n", H2_CLOSED),
        (H2_RESET, b"[HTTP/2] [5] <- FRAME[DATA, len=9, eos=1, padlen=0]\n", H2_CLOSED),
        (b"[HTTP/2] [5] -> FRAME[RST_STREAM, len=4, flags=0, error=8]\n", H2_CLOSED),  # ours
        (H2_RESET, b"[HTTP/2] [5] RESET: INTERNAL_ERROR (err 2)\n"),  # libcurl sees that itself
        # Words of the server's.
        (b"[HTTP/2] [5] header: x: " + H2_RESET, H2_CLOSED),
        (H2_RESET, b"[HTTP/2] [5] header: x: " + H2_CLOSED),
        (b"[HTTP/2] [0] <- FRAME[GOAWAY, error=0, reason='" + H2_RESET.strip() + b"', last_stream=9]\n", H2_CLOSED),
        (b"[HTTP/3] [4] header: x: " + H3_RESET, H3_CLOSED),
    ],
)
def test_nothing_else_was(lines: tuple[bytes, ...]) -> None:
    assert not any(heard(*lines))


# -------------------------------------------------------------------------------------------------- who listens


@dataclass
class Place:
    scheme: str = "https"
    host: str = "a.test"
    port: int = 443


@dataclass
class Asking:
    """What of an exchange matters here."""

    place: Place = field(default_factory=Place)
    must_watch: bool = False
    is_watched: bool = True
    sockets: int = 0
    lines: list[bytes] = field(default_factory=list)
    head: Head | None = None

    @property
    def transfer(self) -> Asking:
        return self


@dataclass
class Ear:
    """A handle that needs no libcurl."""

    exchange: Exchange | None = None
    listens: bool = False
    is_early: bool = False

    def listen(self, listens: bool) -> None:
        self.listens = listens


class World:
    """A watch, and the handles whose exchanges have begun."""

    def __init__(self) -> None:
        self.watch = StreamWatch()
        self.busy: list[Ear] = []

    def begin(self, asking: Asking) -> Ear:
        ear = Ear()
        self.watch.begin(ear, cast("Exchange", asking), self.busy)
        ear.exchange = cast("Exchange", asking)
        self.busy.append(ear)
        return ear

    def ask(self, asking: Asking) -> Ear:
        """Begin an exchange on a new connection, up to its request."""
        ear = self.begin(asking)
        asking.sockets += 1
        if ear.is_early:
            self.watch.connecting(ear)
            self.watch.settle(self.busy)
            self.watch.connected(ear)
        self.watch.settle(self.busy)
        return ear

    def answer(self, asking: Asking, version: str, length: int | None = None, status: int = 200) -> None:
        asking.head = Head(status, version, {} if length is None else {"content-length": str(length)})
        self.watch.learn(cast("Exchange", asking))


def test_an_early_handle_listens_from_its_request_on() -> None:
    """Not before: libcurl would write down every certificate."""
    world, asking = World(), Asking()
    before = world.begin(asking).listens

    ear = world.ask(other := Asking())

    assert (before, ear.listens, other.is_watched) == (False, True, True)


def test_an_answer_that_came_in_the_turn_of_its_request_was_not_heard() -> None:
    world, asking = World(), Asking(lines=[b"HTTP/2 200\r\n"])

    ear = world.ask(asking)

    assert (ear.listens, asking.is_watched) == (True, False)


def test_one_that_listened_from_the_start_misses_nothing() -> None:
    """Guards ``connected``: its answer may have come, and been judged, in the turn that sent its request."""
    world = World()
    world.ask(Asking())
    ear = world.begin(asking := Asking())

    world.watch.connected(ear)
    in_that_turn = asking.is_watched
    asking.lines.append(b"HTTP/2 200\r\n")
    world.watch.settle(world.busy)

    assert (in_that_turn, asking.is_watched) == (True, True)


def test_an_empty_body_teaches_too() -> None:
    """Its header block has not been read yet."""
    world, asking = World(), Asking(lines=[b"HTTP/1.1 200 OK\r\n", b"Content-Length: 0\r\n", b"\r\n"])
    world.ask(asking)
    world.watch.learn(cast("Exchange", asking))

    assert not world.begin(Asking()).listens


def test_whoever_may_share_the_connection_listens_too() -> None:
    """libcurl tells of a frame whichever handle reads it; those that connect by themselves wait for their request."""
    world = World()
    waiting, connecting, elsewhere = world.begin(Asking()), world.begin(Asking()), world.begin(Asking(Place(port=8443)))
    cast("Asking", connecting.exchange).sockets = 1

    world.ask(Asking())

    assert [ear.listens for ear in (waiting, connecting, elsewhere)] == [True, False, False]


def test_a_handle_that_opens_a_connection_after_all_stops_listening_for_its_handshake() -> None:
    world = World()
    world.ask(Asking())
    ear = world.begin(Asking())
    began = ear.listens

    world.watch.connecting(ear)
    world.watch.settle(world.busy)

    assert (began, ear.listens) == (True, False)


@pytest.mark.parametrize(("version", "length"), [("1.1", None), ("1.0", None), ("2", 5), ("3", 5)])
def test_an_origin_whose_bodies_need_no_stream_is_not_listened_to(version: str, length: int | None) -> None:
    world, asking = World(), Asking()
    world.ask(asking)
    world.answer(asking, version, length)

    ear = world.ask(after := Asking())

    assert (ear.listens, after.is_watched) == (False, False)


def test_an_origin_that_ended_a_body_by_its_stream_is_listened_to_whatever_it_sends_later() -> None:
    world, first, second = World(), Asking(), Asking()
    world.ask(first)
    world.answer(first, "2")
    world.ask(second)
    world.answer(second, "2", 5)

    ear = world.begin(third := Asking())

    assert (ear.listens, third.is_watched) == (True, True)


def test_an_error_teaches_nothing() -> None:
    world, asking = World(), Asking()
    world.ask(asking)
    world.answer(asking, "2", 5, status=404)

    assert world.begin(Asking()).listens


def test_who_has_to_be_watched_is_and_its_neighbours_with_it() -> None:
    world, first = World(), Asking()
    world.ask(first)
    world.answer(first, "2", 5)
    neighbours = [world.ask(Asking()), world.ask(Asking(lines=[b"HTTP/2 200\r\n"]))]

    ear = world.begin(again := Asking(must_watch=True))

    assert [each.listens for each in (ear, *neighbours)] == [True, True, True]
    assert again.is_watched
    assert [cast("Asking", each.exchange).is_watched for each in neighbours] == [True, False]


def test_without_tls_nobody_listens() -> None:
    world = World()

    ear = world.ask(asking := Asking(Place("http")))

    assert (ear.listens, ear.is_early, asking.is_watched) == (False, False, True)


def test_no_more_origins_are_remembered_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.adapters.http.streams._ORIGINS_KEPT", 3)
    world = World()

    for port in range(10):
        world.ask(asking := Asking(Place(port=port)))
        world.answer(asking, "2", 5)

    assert len(world.watch._origins) <= 4
