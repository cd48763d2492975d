"""The relay between two parties does to their bytes what its sentences say."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.relay import Relay


@contextmanager
def echo_server() -> Iterator[int]:
    """Send back what comes, until the other side ends."""

    def answer(wire: socket.socket) -> None:
        with wire:
            try:
                while data := wire.recv(65536):
                    wire.sendall(data)
            except OSError:
                pass  # the relay was told to reset

    def accept() -> None:
        while True:
            try:
                wire, _peer = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(wire,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(60.0)


def through(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=60.0)


def echoed(wire: socket.socket, data: bytes) -> bytes:
    wire.sendall(data)
    received = b""
    while len(received) < len(data):
        more = wire.recv(65536)
        if not more:
            break
        received += more
    return received


def time_of(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def exchange_with(relay: Relay) -> bytes:
    with through(relay) as wire:
        return echoed(wire, b"hello")


class TestRelay:
    def test_bytes_arrive_unchanged_in_both_directions(self) -> None:
        data = os.urandom(3_000_000)
        with echo_server() as port, Relay(("127.0.0.1", port)) as relay, through(relay) as wire:
            sender = threading.Thread(target=wire.sendall, args=(data,))
            sender.start()
            received = b""
            while len(received) < len(data):
                received += wire.recv(1 << 20)
            sender.join()

            assert received == data

    def test_latency_is_paid_for_the_handshake_and_for_each_way(self) -> None:
        with echo_server() as port, Relay(("127.0.0.1", port), latency=0.1) as relay, through(relay) as wire:
            began = time.monotonic()
            assert echoed(wire, b"first") == b"first"
            first = time.monotonic() - began
            later = [time_of(lambda: echoed(wire, b"again")) for _ in range(10)]

        assert first >= 0.39  # a round trip for the handshake, one for the bytes; timers end a little early
        assert 0.19 <= min(later) < first  # a busy machine makes some of them late, not all

    def test_frozen_it_holds_everything_back_and_thawed_it_delivers(self) -> None:
        with echo_server() as port, Relay(("127.0.0.1", port)) as relay, through(relay) as wire:
            assert echoed(wire, b"before") == b"before"

            relay.freeze()
            wire.sendall(b"during")
            wire.settimeout(0.1)
            with pytest.raises(TimeoutError):
                wire.recv(64)
            relay.thaw()

            wire.settimeout(60.0)
            assert wire.recv(64) == b"during"

    def test_a_reset_reaches_the_client(self) -> None:
        with echo_server() as port, Relay(("127.0.0.1", port)) as relay, through(relay) as wire:
            assert echoed(wire, b"before") == b"before"

            assert relay.reset() == 1

            with pytest.raises(ConnectionResetError):
                wire.recv(64)

    def test_a_drop_is_an_end_in_order(self) -> None:
        with echo_server() as port, Relay(("127.0.0.1", port)) as relay, through(relay) as wire:
            assert echoed(wire, b"before") == b"before"

            relay.drop()

            assert wire.recv(64) == b""

    def test_it_cuts_after_so_many_bytes(self) -> None:
        with (
            echo_server() as port,
            Relay(("127.0.0.1", port), cut_after=100_000) as relay,
            through(relay) as wire,
            pytest.raises((ConnectionResetError, BrokenPipeError)),
        ):
            echoed(wire, bytes(1_000_000))

    def test_it_refuses_and_accepts_again_on_the_same_port(self) -> None:
        with echo_server() as port, Relay(("127.0.0.1", port)) as relay, through(relay) as before:
            assert echoed(before, b"1") == b"1"
            relay.refuse()
            with pytest.raises(ConnectionRefusedError):
                through(relay)
            assert echoed(before, b"2") == b"2"

            relay.accept_again()

            with through(relay) as after:
                assert echoed(after, b"3") == b"3"

    def test_a_target_that_is_not_there_is_a_reset(self) -> None:
        with Relay(("127.0.0.1", 1)) as relay, pytest.raises(ConnectionResetError):
            exchange_with(relay)  # the reset may come while the client still connects
