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
from typing import Any

import pycurl

from contract.outcomes import ErrorClass
from contract.policy import JobPolicy
from worker.engine.exchange import Exchange, bug
from worker.engine.failures import Breakage, Failure, Kind
from worker.engine.ports import Clock
from worker.engine.safety import AddressPolicy

_BUFFER = 512 * 1024  # bytes; one buffer per multi: fewer receive calls on large bodies, half the CPU
_HAND_OVER = 45.0  # seconds after which a host's addresses are handed to libcurl again
_HOSTS_HANDED = 10_000
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
_VERSIONS = {1: "1.0", 2: "1.1", 3: "2", 4: "3", 30: "3"}

Answering = Callable[[str, int], bool]


class _LentSocket(socket.socket):
    """pycurl duplicates the descriptor of what ``open_socket`` returns, so ours is closed when it is let go."""

    def __del__(self) -> None:
        self.close()


class _Handle:
    """An easy handle and what is set on it; its callbacks serve the exchange it carries."""

    __slots__ = ("curl", "exchange", "fields", "is_fresh", "owner", "policy", "timeout")

    def __init__(self, owner: CurlHttp) -> None:
        self.owner = owner
        self.exchange: Exchange | None = None
        self.policy: JobPolicy | None = None
        self.fields: Sequence[str] = ()
        self.timeout = -1
        self.is_fresh = False
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
            return _LentSocket(family, kind, protocol)
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
            verdict = self.owner.judge(_text(remote), port)
            if verdict.allowed:
                return int(pycurl.PREREQFUNC_OK)
            exchange.stopped = Failure(error=ErrorClass.REFUSED_ADDRESS, kind=Kind.REFUSED, detail=verdict.reason)
        except BaseException as error:  # nothing may leave a callback
            exchange.stopped = bug(error)
        return int(pycurl.PREREQFUNC_ABORT)


class CurlHttp:
    """Keeps ``worker.engine.ports.Http``: one multi handle with its connections, TLS sessions and CA store.

    All exchanges of one object share one ``AddressPolicy``: jobs that open different networks use different objects,
    so that no connection of one is ever there for another.
    """

    def __init__(
        self, *, addresses: AddressPolicy, clock: Clock, window: int, ca_file: str, ipv4_only: bool, http3: bool
    ) -> None:
        self.judge = lru_cache(maxsize=_HOSTS_HANDED)(addresses.verdict)
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
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._is_woken = False

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
        curl.setopt(pycurl.PIPEWAIT, 1)
        version = pycurl.CURL_HTTP_VERSION_3 if self._http3 else pycurl.CURL_HTTP_VERSION_2TLS
        curl.setopt(pycurl.HTTP_VERSION, version)
        if self._ipv4_only:
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
        if exchange.is_fresh is not handle.is_fresh:
            handle.is_fresh = exchange.is_fresh
            curl.setopt(pycurl.FRESH_CONNECT, int(exchange.is_fresh))
        if exchange.fields or handle.fields:
            handle.fields = exchange.fields
            # pycurl takes an empty list for nothing to do, and one URL's fields would go out with the next.
            curl.unsetopt(pycurl.HTTPHEADER)
            if exchange.fields:
                curl.setopt(pycurl.HTTPHEADER, list(exchange.fields))
        self._hand_over(curl, place.host, place.port, exchange)
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
        if self._has_new:
            self._has_new = False
            self._multi.perform()
            self._unread.clear()
            ended = self._collect()
            if ended:
                return ended
        if self._busy:
            self._sleep(seconds)
            self._multi.perform()
            return self._collect()
        self._sleep_idle(seconds)
        return ()

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
        self._multi.close()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _sleep(self, seconds: float | None) -> None:
        asked = self._multi.timeout()
        if asked == 0:
            return
        limit = asked / 1000 if asked > 0 else 1.0
        if seconds is not None:
            limit = min(limit, seconds)
        readable, writable, exceptional = self._multi.fdset()
        readable.append(self._wake_in)
        ready, _, _ = select.select(readable, writable, exceptional, limit)
        if self._wake_in in ready:
            self._drain()

    def _sleep_idle(self, seconds: float | None) -> None:
        if select.select([self._wake_in], [], [], seconds)[0]:
            self._drain()

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_in, 4096)
        self._is_woken = False

    def _collect(self) -> list[Exchange]:
        ended: list[Exchange] = []
        while True:
            left, done, broken = self._multi.info_read()
            ended += [self._release(curl, 0, "") for curl in done]
            ended += [self._release(curl, code, message) for curl, code, message in broken]
            if not left:
                return ended

    def _release(self, curl: Any, code: int, message: str) -> Exchange:
        """Note how an exchange ended and put its handle back."""
        handle: _Handle = curl.handle
        exchange = handle.exchange
        assert exchange is not None
        if code:
            exchange.breakage = _breakage(code, message)
            exchange.detail = _sentence(message)
        _note_timings(exchange, curl)
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
    exchange.at_resolved = info(pycurl.NAMELOOKUP_TIME_T) / 1e6
    exchange.at_connected = info(pycurl.CONNECT_TIME_T) / 1e6
    exchange.at_secured = info(pycurl.APPCONNECT_TIME_T) / 1e6
    exchange.at_sent = info(pycurl.PRETRANSFER_TIME_T) / 1e6
    exchange.at_first_byte = info(pycurl.STARTTRANSFER_TIME_T) / 1e6
    exchange.took = info(pycurl.TOTAL_TIME_T) / 1e6
    exchange.remote_ip = info(pycurl.PRIMARY_IP) or None
    exchange.http_version = _VERSIONS.get(info(pycurl.INFO_HTTP_VERSION))


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
