"""Exchanges by libcurl: the one module that sends requests and opens sockets."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Protocol

import pycurl

from contract.outcomes import ErrorClass
from contract.policy import JobPolicy
from worker.engine.exchange import Exchange, bug
from worker.engine.failures import Breakage, Failure, Kind
from worker.engine.ports import Clock
from worker.engine.safety import AddressPolicy, Verdict

_BUFFER = 512 * 1024  # bytes; one buffer per multi: fewer receive calls on large bodies, half the CPU
_HAND_OVER = 45.0  # seconds after which a host's addresses are handed to libcurl again
_HOSTS_HANDED = 10_000
AT_ONCE = 16  # exchanges that may end before those that follow them are begun
_NAMES_KEPT = 120  # seconds libcurl keeps the addresses we hand over
_CERTIFICATE_CODES = {51, 58, 60, 83, 91}
_NONSENSE_CODES = {1, 3, 8, 61, 100}
_CODES = {
    pycurl.E_COULDNT_RESOLVE_HOST: Breakage.UNRESOLVED,
    pycurl.E_COULDNT_CONNECT: Breakage.CONNECT,
    pycurl.E_OPERATION_TIMEDOUT: Breakage.TIMEOUT,
    pycurl.E_SSL_CONNECT_ERROR: Breakage.HANDSHAKE,
    pycurl.E_PARTIAL_FILE: Breakage.CUT,
    pycurl.E_GOT_NOTHING: Breakage.CUT,
    pycurl.E_SEND_ERROR: Breakage.CUT,
    pycurl.E_RECV_ERROR: Breakage.CUT,
    pycurl.E_HTTP2: Breakage.CUT,
    92: Breakage.CUT,  # CURLE_HTTP2_STREAM
    95: Breakage.CUT,  # CURLE_HTTP3
    96: Breakage.CONNECT,  # CURLE_QUIC_CONNECT_ERROR
    pycurl.E_FILESIZE_EXCEEDED: Breakage.TOO_LARGE,
    pycurl.E_WRITE_ERROR: Breakage.STOPPED,
    pycurl.E_ABORTED_BY_CALLBACK: Breakage.STOPPED,
    **dict.fromkeys(_CERTIFICATE_CODES, Breakage.CERTIFICATE),
    **dict.fromkeys(_NONSENSE_CODES, Breakage.NONSENSE),
}
# Where libcurl has one code for several things, its words tell them apart.
_WORDS = (
    ("chunk", Breakage.NONSENSE),  # a chunk header that is none, not a connection that broke
    ("Too large response headers", Breakage.NONSENSE),
    ("Connection died, tried", Breakage.STALE),
    ("Multiple Location headers", Breakage.REDIRECT),
)

# select() cannot see descriptors from 1,024 on, and libcurl leaves them out without a word. It is faster on small
# bodies, though, so it is used as long as descriptors stay clearly below.
_HIGHEST_SELECTED = 900
_LONGEST_SLEEP = 1.0  # seconds, where libcurl has no wish of its own

# The same numbers under both names; epoll.poll takes seconds, poll.poll milliseconds.
_POLL_UNIT = 1.0 if hasattr(select, "epoll") else 1000.0
_READ, _WRITE = select.POLLIN, select.POLLOUT
_INTERESTS = {pycurl.POLL_IN: _READ, pycurl.POLL_OUT: _WRITE, pycurl.POLL_INOUT: _READ | _WRITE}


class _Selecting:
    """Waits with select(): few Python calls per transfer, few descriptors."""

    def __init__(self, multi: Any, wake: int) -> None:
        self._multi = multi
        self._wake = wake

    def wait(self, seconds: float) -> bool:
        """Move bytes once, after waiting for something to do at most this long; True: ``wake`` was readable."""
        is_woken = False
        if seconds > 0:
            readable, writable, exceptional = self._multi.fdset()
            readable.append(self._wake)
            ready, _, _ = select.select(readable, writable, exceptional, seconds)
            is_woken = self._wake in ready
        self._multi.perform()
        return is_woken

    def close(self) -> None:
        """Nothing is held."""


class _Polling:
    """Waits with epoll (or poll): any number of descriptors, a few more Python calls per transfer."""

    def __init__(self, multi: Any, wake: int) -> None:
        self._multi = multi
        self._wake = wake
        self._poller: Any = select.epoll() if hasattr(select, "epoll") else select.poll()
        self._poller.register(wake, _READ)
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)

    def wait(self, seconds: float) -> bool:
        """Move bytes once, after waiting for something to do at most this long; True: ``wake`` was readable."""
        is_woken = False
        for fd, event in self._poller.poll(seconds * _POLL_UNIT):
            if fd == self._wake:
                is_woken = True
                continue
            action = (pycurl.CSELECT_IN if event & _READ else 0) | (pycurl.CSELECT_OUT if event & _WRITE else 0)
            self._multi.socket_action(fd, action or pycurl.CSELECT_ERR)
        # libcurl is asked for its timers: it tells of each but once, and one told a little early is never told again.
        if self._multi.timeout() == 0:
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return is_woken

    def close(self) -> None:
        if hasattr(self._poller, "close"):
            self._poller.close()

    def _watch(self, what: int, fd: int, _multi: Any, _data: Any) -> None:
        with suppress(OSError, KeyError):  # libcurl may have closed it already
            interest = _INTERESTS.get(what)
            if interest is None:
                self._poller.unregister(fd)
            else:
                try:
                    self._poller.modify(fd, interest)
                except FileNotFoundError:
                    self._poller.register(fd, interest)


class _LentSocket(socket.socket):
    """pycurl duplicates the descriptor of what ``open_socket`` returns, so ours is closed when it is let go."""

    def __del__(self) -> None:
        self.close()


class _Handle:
    """An easy handle and what is set on it; its callbacks serve the exchange it carries."""

    __slots__ = ("curl", "exchange", "fields", "is_fresh", "is_patient", "owner", "policy", "timeout")

    def __init__(self, owner: CurlHttp) -> None:
        self.owner = owner
        self.exchange: Exchange | None = None
        self.policy: JobPolicy | None = None
        self.fields: Sequence[str] = ()
        self.timeout = -1
        self.is_fresh = False
        self.is_patient = False
        self.curl = curl = pycurl.Curl()
        curl.handle = self  # type: ignore[attr-defined]  # pycurl's objects take attributes; its stub does not say so
        owner.configure(curl)
        curl.setopt(pycurl.WRITEFUNCTION, self.take)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self.open_socket)
        curl.setopt(pycurl.PREREQFUNCTION, self.permit)

    def take(self, data: bytes) -> int | None:
        exchange = self.exchange
        return -1 if exchange is None else exchange.take(data)

    def open_socket(self, _purpose: int, address: Any) -> Any:
        """Judge the socket address libcurl is about to connect to; nothing is sent to a refused one."""
        exchange = self.exchange
        if exchange is None:
            return pycurl.SOCKET_BAD
        try:
            exchange.sockets += 1
            family, kind, protocol, place = address
            verdict = self.owner.judge(_text(place[0]), place[1])
            if not verdict.allowed:
                exchange.refusals.append(verdict.reason)
                return pycurl.SOCKET_BAD
            lent = _LentSocket(family, kind, protocol)
            self.owner.is_crowded = self.owner.is_crowded or lent.fileno() >= _HIGHEST_SELECTED
            return lent
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                exchange.stopped = Failure(
                    error=ErrorClass.LOCAL_DISK, kind=Kind.LOCAL, detail="This worker has no file descriptors left."
                )
            return pycurl.SOCKET_BAD
        except BaseException as error:  # nothing may leave a callback
            exchange.stopped = bug(error)
            return pycurl.SOCKET_BAD

    def permit(self, remote: str, _local: str, port: int, _local_port: int) -> int:
        """Judge a connection before the request goes out: pooled ones never came through ``open_socket``."""
        exchange = self.exchange
        if exchange is None:
            return int(pycurl.PREREQFUNC_ABORT)
        try:
            exchange.remote_ip = _text(remote)
            verdict = self.owner.judge(exchange.remote_ip, port)
            if verdict.allowed:
                return int(pycurl.PREREQFUNC_OK)
            exchange.stopped = Failure(error=ErrorClass.REFUSED_ADDRESS, kind=Kind.REFUSED, detail=verdict.reason)
        except BaseException as error:  # nothing may leave a callback
            exchange.stopped = bug(error)
        return int(pycurl.PREREQFUNC_ABORT)


class Egress(Protocol):
    """A proxy everything goes through; all of it is left out where there is none."""

    def configure(self, curl: Any) -> None:
        """Set what holds for every request, on a new handle."""

    def aim(self, curl: Any, exchange: Exchange, judge: Callable[[str, int], Verdict]) -> None:
        """Have the handle ask the proxy for an address of the exchange that ``judge`` allows, or ask for nothing."""

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
        clock: Clock,
        window: int,
        ca_file: str,
        ipv4_only: bool,
        http3: bool,
        egress: Egress | None = None,
    ) -> None:
        self._verdict = lru_cache(maxsize=_HOSTS_HANDED)(addresses.verdict)  # of where a transfer goes
        self.judge: Callable[[str, int], Verdict]  # of where a socket goes
        self.judge = self._verdict if egress is None else egress.verdict
        self._egress = egress
        self._clock = clock
        self._ca_file = ca_file
        self._ipv4_only = ipv4_only
        self._http3 = http3
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, max(256, 2 * window))
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._idle: list[_Handle] = []
        self._busy: dict[Exchange, _Handle] = {}
        self._handed: OrderedDict[tuple[str, int], tuple[tuple[str, ...], float]] = OrderedDict()
        self._unread: set[tuple[str, int]] = set()  # handed over since libcurl last looked
        self._has_new = False
        self._has_more = False  # exchanges have ended that ``wait`` did not return yet
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._is_woken = False
        self._bell = select.poll()
        self._bell.register(self._wake_in, _READ)
        # Connections in use and pooled, and a file for each.
        self.is_crowded = max(self._wake_in, 4 * window) > _HIGHEST_SELECTED
        self._driver: _Selecting | _Polling = _Selecting(self._multi, self._wake_in)

    def configure(self, curl: Any) -> None:
        """Set what holds for every request, on a new handle."""
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PROXY, "")  # proxy variables would void the guard on addresses
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.FOLLOWLOCATION, 0)
        curl.setopt(pycurl.NETRC, 0)
        curl.setopt(pycurl.PATH_AS_IS, 1)
        curl.setopt(pycurl.NOPROGRESS, 1)
        curl.setopt(pycurl.CAINFO, self._ca_file)
        curl.setopt(pycurl.BUFFERSIZE, _BUFFER)
        curl.setopt(pycurl.DNS_CACHE_TIMEOUT, _NAMES_KEPT)
        version = pycurl.CURL_HTTP_VERSION_3 if self._http3 else pycurl.CURL_HTTP_VERSION_2TLS
        curl.setopt(pycurl.HTTP_VERSION, version)
        if self._egress is not None:
            self._egress.configure(curl)
        elif self._ipv4_only:
            curl.setopt(pycurl.IPRESOLVE, pycurl.IPRESOLVE_V4)

    def begin(self, exchange: Exchange) -> None:
        handle = self._idle.pop() if self._idle else _Handle(self)
        curl, transfer = handle.curl, exchange.transfer
        handle.exchange = exchange
        place, policy = transfer.place, transfer.run.policy
        curl.setopt(pycurl.URL, place.target)
        curl.setopt(pycurl.HEADERFUNCTION, exchange.lines.append)
        if handle.policy is not policy:
            handle.policy = policy
            _apply(curl, policy)
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
        if exchange.is_fresh is not handle.is_fresh:
            handle.is_fresh = exchange.is_fresh
            curl.setopt(pycurl.FRESH_CONNECT, int(exchange.is_fresh))
        if exchange.fields or handle.fields:
            handle.fields = exchange.fields
            # pycurl takes an empty list for nothing to do, and one URL's fields would go out with the next.
            curl.unsetopt(pycurl.HTTPHEADER)
            if exchange.fields:
                curl.setopt(pycurl.HTTPHEADER, list(exchange.fields))
        if self._egress is None:
            self._hand_over(curl, place.host, place.port, exchange)
        else:
            self._egress.aim(curl, exchange, self._verdict)
        self._busy[exchange] = handle
        self._multi.add_handle(curl)
        self._has_new = True

    def drop(self, exchange: Exchange) -> None:
        handle = self._busy.pop(exchange, None)
        if handle is None:  # it has just ended by itself
            return
        handle.exchange = None
        self._multi.remove_handle(handle.curl)
        # What a dropped exchange leaves on its handle is not worth knowing.
        handle.curl.close()

    def wait(self, seconds: float | None) -> Sequence[Exchange]:
        if self.is_crowded and isinstance(self._driver, _Selecting):
            self._driver = _Polling(self._multi, self._wake_in)
            for handle in self._busy.values():  # has libcurl tell of the sockets there are
                handle.curl.pause(pycurl.PAUSE_ALL)
                handle.curl.pause(pycurl.PAUSE_CONT)
        if not self._busy:
            if self._bell.poll(None if seconds is None else seconds * 1000):
                self._drain()
            return ()
        if self._has_new or self._has_more:
            self._has_new = False
            self._driver.wait(0.0)
            self._unread.clear()
            ended = self._collect()
            if ended:
                return ended
        asked = self._multi.timeout()
        limit = _LONGEST_SLEEP if asked < 0 else asked / 1000
        if self._driver.wait(limit if seconds is None else min(limit, seconds)):
            self._drain()
        return self._collect()

    def wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            with suppress(OSError):  # full: it is awake; closed: nobody sleeps
                os.write(self._wake_out, b"\0")

    def close(self) -> None:
        for exchange in list(self._busy):
            self.drop(exchange)
        for handle in self._idle:
            handle.curl.close()
        self._idle.clear()
        self._driver.close()
        self._multi.close()
        ends, self._wake_out = (
            (self._wake_in, self._wake_out),
            -1,
        )  # a late wake must not hit whoever has the number next
        for end in ends:
            os.close(end)

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_in, 4096)
        self._is_woken = False

    def _collect(self) -> list[Exchange]:
        left, done, broken = self._multi.info_read(AT_ONCE)
        self._has_more = left > 0
        return [
            *(self._release(curl, 0, "") for curl in done),
            *(self._release(curl, code, message) for curl, code, message in broken),
        ]

    def _release(self, curl: Any, code: int, message: str) -> Exchange:
        """Note how an exchange ended and put its handle back."""
        handle: _Handle = curl.handle
        exchange = handle.exchange
        assert exchange is not None
        if code:
            exchange.breakage = _breakage(code, message)
            exchange.detail = _sentence(message)
        _note_timings(exchange, curl)
        if self._egress is not None:
            self._egress.note_end(curl, exchange, code)
        self._multi.remove_handle(curl)
        del self._busy[exchange]
        handle.exchange = None
        self._idle.append(handle)
        return exchange

    def _hand_over(self, curl: Any, host: str, port: int, exchange: Exchange) -> None:
        """Give libcurl the addresses our resolver found, so that it asks nobody."""
        key, now = (host, port), exchange.began
        handed = self._handed.get(key)
        is_known = handed is not None and now - handed[1] < _HAND_OVER and handed[0] == exchange.addresses
        # libcurl may look at a handle begun later first: until it has looked, each handle brings the addresses.
        if is_known and key not in self._unread:
            return
        addresses = [each for each in exchange.addresses if not (self._ipv4_only and ":" in each)]
        if addresses and host not in addresses:
            there = f":{port}:{','.join(_bracketed(each) for each in addresses)}"
            # To libcurl a name with a trailing dot is another name.
            curl.setopt(pycurl.RESOLVE, [f"+{host}{there}", f"+{host}.{there}"])
            self._unread.add(key)
        self._handed[key] = (exchange.addresses, now)
        self._handed.move_to_end(key)
        if len(self._handed) > _HOSTS_HANDED:
            self._handed.popitem(last=False)


def _apply(curl: Any, policy: JobPolicy) -> None:
    curl.setopt(pycurl.USERAGENT, policy.user_agent)
    curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(policy.connect_timeout * 1000)))
    curl.setopt(pycurl.MAXFILESIZE_LARGE, policy.max_size)


def _note_timings(exchange: Exchange, curl: Any) -> None:
    info = curl.getinfo
    if exchange.sockets:  # otherwise an open connection was used: it took no time
        exchange.at_resolved = info(pycurl.NAMELOOKUP_TIME_T) / 1e6
        exchange.at_connected = info(pycurl.CONNECT_TIME_T) / 1e6
        exchange.at_secured = info(pycurl.APPCONNECT_TIME_T) / 1e6
    exchange.at_first_byte = info(pycurl.STARTTRANSFER_TIME_T) / 1e6
    exchange.took = info(pycurl.TOTAL_TIME_T) / 1e6


def _breakage(code: int, message: str) -> Breakage:
    found = _CODES.get(code, Breakage.OTHER)
    for words, meaning in _WORDS:
        if words in message:
            return meaning
    return found


def _sentence(message: str) -> str:
    """Shorten libcurl's words; they may name the URL's host, never its path."""
    return message.strip().rstrip(".")[:160]


def _text(address: str | bytes) -> str:
    return address.decode("ascii", "replace") if isinstance(address, bytes) else address


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
