"""How many connections libcurl keeps: each costs some 100 KB with TLS."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from contract.records.policy import JobPolicy
from contract.urls.lines import Parsed, parse
from contract.urls.networks import parse_networks
from tests.support.listening import Listening
from worker.adapters.http import CurlHttp
from worker.engine.ports import Request
from worker.engine.safety import AddressPolicy

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_KEPT, _WINDOW = 8, 2


class Body:
    def write(self, data: bytes, is_watched: bool) -> int | None:
        return None


class Site:
    """Answers every request but those for /silent, and knows how many of its connections are open."""

    def __init__(self, stack: ExitStack) -> None:
        self.open = 0
        self._changed = threading.Condition()
        self._listening = Listening("site", self._serve)
        stack.callback(self._listening.close)
        self.port = self._listening.listen("0.0.0.0", 0)

    @property
    def accepted(self) -> int:
        return self._listening.connections

    def wait_until_open(self, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.open == count, 30.0)

    def _serve(self, wire: socket.socket) -> None:
        self._note(1)
        with suppress(OSError):
            while request := wire.recv(4096):
                if b"/silent" not in request:
                    wire.sendall(_ANSWER)
        self._note(-1)

    def _note(self, more: int) -> None:
        with self._changed:
            self.open += more
            self._changed.notify_all()


@contextmanager
def _world() -> Iterator[tuple[Site, CurlHttp[Body]]]:
    with ExitStack() as stack:
        site = Site(stack)
        addresses = AddressPolicy(allow=parse_networks(("127.0.0.0/8",), setting="test"))
        http: CurlHttp[Body] = CurlHttp(
            addresses=addresses, window=_WINDOW, kept=_KEPT, ca_file="/nowhere", ipv4_only=True, http3=False
        )
        stack.callback(http.close)
        yield site, http


def _begin(site: Site, http: CurlHttp[Body], host: int, path: str = "") -> Body:
    url = parse(f"http://127.0.0.{host}:{site.port}/{path}")
    assert isinstance(url, Parsed)
    body = Body()
    http.begin(Request(url, (f"127.0.0.{host}",), JobPolicy(), 60.0), body)
    return body


def _fetch(site: Site, http: CurlHttp[Body], host: int) -> None:
    body = _begin(site, http, host)
    while body not in [each for each, _ in http.wait(1.0)]:
        pass


def test_kept_connections_are_limited() -> None:
    with _world() as (site, http):
        for host in range(1, 25):
            _fetch(site, http, host)

        assert site.wait_until_open(_KEPT)


def test_transfers_beside_the_window_evict_no_kept_connection() -> None:
    """Guards the step in ``begin``: with a dozen silent servers, each request to a good one would connect anew."""
    with _world() as (site, http):
        for host in range(1, 13):
            _begin(site, http, host, "silent")
        for _ in range(3):
            _fetch(site, http, 100)

        assert site.accepted == 13
