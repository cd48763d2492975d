"""Which streams were reset: what libcurl's debug text says, apart from server text in it, and which handles listen."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from contract.records.policy import JobPolicy
from contract.urls.lines import Parsed
from worker.adapters.http.streams import StreamListener, StreamWatch
from worker.engine.ports import Request

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
def test_no_other_stream_was_reset(lines: tuple[bytes, ...]) -> None:
    assert not any(heard(*lines))


# -------------------------------------------------------------------------------------------------- who listens


class Handle(StreamListener):
    """A handle that needs no libcurl."""

    def set_verbose(self, is_verbose: bool) -> None:
        assert is_verbose is self.listens


class World:
    """A watch, and the handles whose exchanges have begun."""

    def __init__(self) -> None:
        self.watch = StreamWatch()
        self.busy: list[StreamListener] = []

    def begin(self, scheme: str = "https", port: int = 443, *, must_watch: bool = False) -> StreamListener:
        url = Parsed(f"{scheme}://a.test:{port}/", scheme, "a.test", port, f"a.test:{port}")
        request = Request(url, ("192.0.2.1",), JobPolicy(), 60.0, must_watch=must_watch)
        handle = Handle()
        self.watch.begin(handle, request, self.busy)
        handle.request = request
        self.busy.append(handle)
        return handle

    def ask(self, scheme: str = "https", port: int = 443, lines: Sequence[bytes] = ()) -> StreamListener:
        """Begin an exchange on a new connection, up to its request; so much of its answer comes at once."""
        handle = self.begin(scheme, port)
        handle.lines.extend(lines)
        handle.sockets += 1
        if handle.is_early:
            self.watch.connecting(handle)
            self.watch.settle(self.busy)
            self.watch.connected(handle)
        self.watch.settle(self.busy)
        return handle

    def answer(self, handle: StreamListener, version: str, length: int | None = None, status: int = 200) -> None:
        fields = [] if length is None else [b"Content-Length: %d\r\n" % length]
        handle.lines[:] = [b"HTTP/%s %d\r\n" % (version.encode(), status), *fields, b"\r\n"]
        self.watch.learn(handle)


def test_an_early_handle_listens_from_its_request_on() -> None:
    """Not before: libcurl would print every certificate."""
    world = World()
    before = world.begin().listens

    ear = world.ask()

    assert (before, ear.listens, ear.is_watched) == (False, True, True)


def test_an_answer_in_the_turn_of_its_request_was_not_heard() -> None:
    ear = World().ask(lines=[b"HTTP/2 200\r\n"])

    assert (ear.listens, ear.is_watched) == (True, False)


def test_a_handle_that_listens_from_the_start_misses_nothing() -> None:
    """Guards ``connected``: its answer may have come, and been judged, in the turn that sent its request."""
    world = World()
    world.ask()
    ear = world.begin()

    world.watch.connected(ear)
    in_that_turn = ear.is_watched
    ear.lines.append(b"HTTP/2 200\r\n")
    world.watch.settle(world.busy)

    assert (in_that_turn, ear.is_watched) == (True, True)


def test_handles_that_may_share_the_connection_listen_too() -> None:
    """libcurl reports a frame to whichever handle reads it; handles that connect themselves wait for their request."""
    world = World()
    waiting, connecting, elsewhere = world.begin(), world.begin(), world.begin(port=8443)
    connecting.sockets = 1

    world.ask()

    assert [ear.listens for ear in (waiting, connecting, elsewhere)] == [True, False, False]


def test_a_handle_that_opens_a_connection_does_not_listen_during_its_handshake() -> None:
    world = World()
    world.ask()
    ear = world.begin()
    began = ear.listens

    world.watch.connecting(ear)
    world.watch.settle(world.busy)

    assert (began, ear.listens) == (True, False)


@pytest.mark.parametrize(("version", "length"), [("1.1", None), ("1.0", None), ("2", 5), ("3", 5)])
def test_an_origin_with_framed_bodies_is_not_listened_to(version: str, length: int | None) -> None:
    world = World()
    world.answer(world.ask(), version, length)

    ear = world.ask()

    assert (ear.listens, ear.is_watched) == (False, False)


def test_an_origin_that_ended_a_body_with_its_stream_is_always_listened_to() -> None:
    world = World()
    world.answer(world.ask(), "2")
    world.answer(world.ask(), "2", 5)

    ear = world.begin()

    assert (ear.listens, ear.is_watched) == (True, True)


def test_an_error_teaches_nothing() -> None:
    world = World()
    world.answer(world.ask(), "2", 5, status=404)

    assert world.begin().listens


def test_a_watched_handle_and_its_neighbours_listen() -> None:
    world = World()
    world.answer(world.ask(), "2", 5)
    neighbours = [world.ask(), world.ask(lines=[b"HTTP/2 200\r\n"])]

    ear = world.begin(must_watch=True)

    assert [each.listens for each in (ear, *neighbours)] == [True, True, True]
    assert [each.is_watched for each in (ear, *neighbours)] == [True, True, False]


def test_without_tls_no_handle_listens() -> None:
    ear = World().ask("http", 80)

    assert (ear.listens, ear.is_early, ear.is_watched) == (False, False, True)


def test_remembered_origins_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.adapters.http.streams._ORIGINS_KEPT", 3)
    world = World()

    for port in range(10):
        world.answer(world.ask(port=port), "2", 5)

    assert len(world.watch._origins) <= 4
