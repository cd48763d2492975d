"""Many exchanges at once, by one multi handle of libcurl."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Protocol

import pycurl

from worker.adapters.http.addresses import HandedAddresses
from worker.adapters.http.breakages import breakage, is_of_connection, sentence
from worker.adapters.http.handle import Handle
from worker.adapters.http.streams import StreamWatch
from worker.adapters.http.waiting import HIGHEST_SELECTED, Polling, Selecting, WakePipe
from worker.engine.exchange import Exchange
from worker.engine.failures import Breakage
from worker.engine.safety import AddressPolicy, Verdict

AT_ONCE = 16  # exchanges that may end before those that follow them are begun
_VERDICTS_KEPT = 10_000
_LONGEST_SLEEP = 1.0  # seconds, where libcurl has no wish of its own


class Egress(Protocol):
    """A proxy everything goes through; all of it is left out where there is none."""

    def configure(self, curl: Any) -> None:
        """Set what holds for every request, on a new handle."""

    def aim(self, curl: Any, exchange: Exchange, judge: Callable[[str, int], Verdict]) -> list[str]:
        """Have the handle ask the proxy for an address of the exchange that ``judge`` allows, or ask for nothing.

        That address is then the only one of the exchange. Returns the lines of CURLOPT_RESOLVE that name the proxy.
        """

    def verdict(self, address: str, port: int) -> Verdict:
        """May a socket go there?"""

    def note_end(self, curl: Any, exchange: Exchange, code: int) -> None:
        """Correct what an ended exchange says of its peer and of its failure (libcurl's ``code``)."""


class CurlHttp:
    """Keeps ``worker.engine.ports.Http``: one multi handle with its connections, TLS sessions and CA store.

    All exchanges of one object share one ``AddressPolicy``: jobs that open different networks use different objects,
    so that no connection of one is ever there for another.
    """

    def __init__(
        self,
        *,
        addresses: AddressPolicy,
        window: int,
        ca_file: str,
        ipv4_only: bool,
        http3: bool,
        egress: Egress | None = None,
        kept: int = 256,
        most_quiet: int = 0,
    ) -> None:
        """``window`` exchanges are expected at once, on ``kept`` connections at most, idle ones included, and
        ``most_quiet`` beside them of which little is heard.
        """
        self._verdict = lru_cache(maxsize=_VERDICTS_KEPT)(addresses.verdict)  # of where a transfer goes
        self.judge: Callable[[str, int], Verdict]  # of where a socket goes
        self.judge = self._verdict if egress is None else egress.verdict
        self.egress = egress
        self.ca_file = ca_file
        self.ipv4_only = ipv4_only
        self.http3 = http3
        self.streams = StreamWatch()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, kept + most_quiet)
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._idle: list[Handle] = []
        self._busy: dict[Exchange, Handle] = {}
        self._handed = HandedAddresses()
        self._unread = self._handed.unread  # the same set, emptied once libcurl has looked
        self._shared = -1  # the connection that broke last with several exchanges on it
        self._has_new = False
        self._has_more = False  # exchanges have ended that ``wait`` did not return yet
        self._pipe = WakePipe()
        # Connections in use and pooled, and a file for each.
        self.is_crowded = max(self._pipe.fd, 4 * window) > HIGHEST_SELECTED
        self._driver: Selecting | Polling = Selecting(self._multi, self._pipe.fd)

    def begin(self, exchange: Exchange) -> None:
        idle = self._idle
        handle = idle.pop() if idle else Handle(self)
        curl, transfer = handle.curl, exchange.transfer
        handle.exchange = exchange
        place, policy = transfer.place, transfer.run.policy
        curl.setopt(pycurl.URL, place.target)
        curl.setopt(pycurl.HEADERFUNCTION, exchange.lines.append)
        if handle.policy is not policy:
            handle.obey(policy)
        timeout = max(1, int((transfer.deadline - exchange.began) * 1000))
        if timeout != handle.timeout:
            handle.timeout = timeout
            curl.setopt(pycurl.TIMEOUT_MS, timeout)
        # Over TLS the first connection tells whether it carries many requests; in plain HTTP none does, and libcurl
        # would wait for its first answer.
        is_patient = place.scheme == "https"
        if is_patient is not handle.is_patient:
            handle.is_patient = is_patient
            curl.setopt(pycurl.PIPEWAIT, int(is_patient))
        if is_patient or handle.listens or handle.is_early:
            self.streams.begin(handle, exchange, self._busy.values())
        if exchange.is_fresh is not handle.is_fresh:
            handle.is_fresh = exchange.is_fresh
            curl.setopt(pycurl.FRESH_CONNECT, int(exchange.is_fresh))
        if exchange.fields or handle.fields:
            handle.fields = exchange.fields
            # pycurl takes an empty list for nothing to do, and one URL's fields would go out with the next.
            curl.unsetopt(pycurl.HTTPHEADER)
            if exchange.fields:
                # A cookie or an ETag goes back in the bytes it came in (RFC 9110 section 5.5, obs-text).
                curl.setopt(pycurl.HTTPHEADER, [field.encode("latin-1") for field in exchange.fields])
        host, lines = place.host, []
        if self.egress is not None:
            lines = self.egress.aim(curl, exchange, self._verdict)
            host = exchange.addresses[0]
        handle.name = host, place.port
        if self._handed.is_leaving(handle.name):
            self._look()
        lines += self._handed.use(handle.name, exchange.addresses)
        if lines:
            curl.setopt(pycurl.RESOLVE, lines)
        self._busy[exchange] = handle
        self._multi.add_handle(curl)
        self._has_new = True

    def drop(self, exchange: Exchange) -> None:
        handle = self._busy.pop(exchange, None)
        if handle is None:  # it has just ended by itself
            return
        handle.exchange = None
        self._handed.release(handle.name)
        self._multi.remove_handle(handle.curl)
        # What a dropped exchange leaves on its handle is not worth knowing.
        handle.curl.close()

    def wait(self, seconds: float | None) -> Sequence[Exchange]:
        if self.is_crowded and isinstance(self._driver, Selecting):
            self._driver = Polling(self._multi, self._pipe.fd)
            for handle in self._busy.values():  # has libcurl tell of the sockets there are
                with suppress(pycurl.error):  # it has no connection yet, or no longer
                    handle.curl.pause(pycurl.PAUSE_ALL)
                    handle.curl.pause(pycurl.PAUSE_CONT)
        if not self._busy:
            if self._pipe.wait(seconds):
                self._pipe.clear()
            return ()
        if self._has_new or self._has_more:
            self._look()
            ended = self._collect()
            if ended:
                return ended
        asked = self._multi.timeout()
        limit = _LONGEST_SLEEP if asked < 0 else asked / 1000
        if self._turn(limit if seconds is None else min(limit, seconds)):
            self._pipe.clear()
        return self._collect()

    def wake(self) -> None:
        self._pipe.wake()

    def close(self) -> None:
        for exchange in list(self._busy):
            self.drop(exchange)
        for handle in self._idle:
            handle.curl.close()
        self._idle.clear()
        self._multi.close()  # ends pooled connections, of which it tells the driver
        self._driver.close()
        self._pipe.close()

    def _look(self) -> None:
        """Have libcurl look at the handles that are new to it, and do what can be done without waiting."""
        self._has_new = False
        self._turn(0.0)
        self._unread.clear()

    def _turn(self, seconds: float) -> bool:
        """Move bytes, after waiting for something to do at most this long; True: somebody called ``wake``."""
        is_woken = self._driver.wait(seconds)
        if self.streams.is_unsettled:
            self.streams.settle(self._busy.values())
        return is_woken

    def _collect(self) -> list[Exchange]:
        left, done, broken = self._multi.info_read(AT_ONCE)
        self._has_more = left > 0
        broken = [(curl, *self._fault(curl, code, message)) for curl, code, message in broken]
        return [
            *(self._release(curl, 0, "") for curl in done),
            *(self._release(curl, code, message) for curl, code, message in broken),
        ]

    def _fault(self, curl: Any, code: int, message: str) -> tuple[int, str]:
        """Return what broke an exchange; what broke a connection with others on it may have been their fault."""
        if is_of_connection(code, message):
            connection: int = curl.getinfo(pycurl.CONN_ID)
            others = (each.curl for each in self._busy.values() if each.curl is not curl)
            if any(other.getinfo(pycurl.CONN_ID) == connection for other in others):
                self._shared = connection  # the last that ends with it has no others left
            if connection == self._shared:
                return pycurl.E_RECV_ERROR, "its connection broke, with others on it"
        return code, message

    def _release(self, curl: Any, code: int, message: str) -> Exchange:
        """Note how an exchange ended and put its handle back."""
        handle: Handle = curl.handle
        exchange = handle.exchange
        assert exchange is not None
        if code:
            exchange.breakage = breakage(code, message)
            exchange.detail = sentence(message)
        if handle.listens:
            self._note_stream(handle, exchange)
        _note_timings(exchange, curl)
        if self.egress is not None:
            self.egress.note_end(curl, exchange, code)
        self._multi.remove_handle(curl)
        del self._busy[exchange]
        self._handed.release(handle.name)
        handle.exchange = None
        self._idle.append(handle)
        return exchange

    def _note_stream(self, handle: Handle, exchange: Exchange) -> None:
        if handle.was_reset and exchange.breakage is None:
            exchange.breakage, exchange.detail = Breakage.RESET, "its stream was reset"
        handle.was_reset = False
        self.streams.learn(exchange)


def _note_timings(exchange: Exchange, curl: Any) -> None:
    info = curl.getinfo
    if exchange.sockets:  # otherwise an open connection was used: it took no time
        exchange.at_resolved = info(pycurl.NAMELOOKUP_TIME_T) / 1e6
        exchange.at_connected = info(pycurl.CONNECT_TIME_T) / 1e6
        exchange.at_secured = info(pycurl.APPCONNECT_TIME_T) / 1e6
    exchange.at_first_byte = info(pycurl.STARTTRANSFER_TIME_T) / 1e6
    exchange.took = info(pycurl.TOTAL_TIME_T) / 1e6
