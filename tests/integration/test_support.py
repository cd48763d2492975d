"""Mistakes of the tests' own neighbours that no test of the product would notice."""

from __future__ import annotations

import socket

import pytest

from tests.support import netbox
from tests.support.cases import serves
from tests.support.exchange import Exchange
from tests.support.misbehaving import MisbehavingServer
from tests.support.sink import Sink


@serves("/bug-of-a-test")
def _bug(exchange: Exchange) -> None:
    raise ZeroDivisionError("a bug in a behaviour")


def test_a_bug_in_a_behaviour_is_not_taken_for_misbehaviour() -> None:
    server = MisbehavingServer().start()
    with socket.create_connection(("127.0.0.1", server.port)) as wire:
        wire.sendall(b"GET /bug-of-a-test HTTP/1.1\r\nHost: test\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            wire.recv(65536)

    with pytest.raises(ZeroDivisionError, match="a bug in a behaviour"):
        server.stop()


def test_a_connection_counts_as_soon_as_its_client_has_it() -> None:
    """Guards ``_settle``: a test that expects no connection would check too early."""
    with Sink() as sink:
        for number in range(1, 200):
            with socket.create_connection(("127.0.0.1", sink.ports[0])):
                assert sink.connections == number


def test_permission_is_the_only_reason_to_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise netbox.NetboxError("a bug of ours")

    monkeypatch.setattr(netbox, "call", fail)

    with pytest.raises(netbox.NetboxError, match="a bug of ours"):
        netbox.why_not.__wrapped__()
