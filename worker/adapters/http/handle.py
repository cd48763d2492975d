"""An easy handle of libcurl: its options, and its callbacks, which check the address of each request."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import pycurl

from contract.records.outcomes import ErrorClass
from contract.records.policy import JobPolicy
from worker.adapters.http.addresses import Name
from worker.adapters.http.breakages import breakage, sentence
from worker.adapters.http.streams import StreamListener, StreamWatch
from worker.adapters.http.waiting import HIGHEST_SELECTED
from worker.engine.failures import Breakage, Failure, Kind, bug
from worker.engine.ports import Body, Ended, Request
from worker.engine.safety import Verdict

_TEXT = 0  # CURLINFO_TEXT: libcurl's own text, among what it passes to a debug function
_BUFFER = 512 * 1024  # bytes; one buffer per multi: fewer receive calls on large bodies, half the CPU

_URL, _FIRST_BYTE, _TOTAL = pycurl.URL, pycurl.STARTTRANSFER_TIME_T, pycurl.TOTAL_TIME_T
_PERMITTED = int(pycurl.PREREQFUNC_OK)

B = TypeVar("B", bound=Body)


class Aim(Protocol):
    """A tunnel's target ``address``, or why there is none; ``lines`` are for CURLOPT_RESOLVE."""

    @property
    def address(self) -> str | None: ...

    @property
    def lines(self) -> list[str]: ...

    @property
    def refusals(self) -> Sequence[str]: ...

    @property
    def stopped(self) -> Failure | None: ...


class Egress(Protocol):
    """An egress proxy for all requests."""

    def configure(self, curl: Any) -> None:
        """Set the options common to all requests, on a new handle."""

    def aim(self, curl: Any, request: Request, judge: Callable[[str, int], Verdict]) -> Aim:
        """Choose the tunnel's target among the request's addresses that ``judge`` allows; if none is, send nothing."""

    def verdict(self, address: str, port: int) -> Verdict:
        """May a socket connect there?"""

    def fault_of(self, curl: Any, code: int, words: str) -> Failure | None:
        """Return why the proxy opened no tunnel, from libcurl's error; None: it opened one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What the handles of a multi handle share.

    ``judge`` checks the address of a socket, ``aims`` the target of a tunnel; ``crowd`` is called when descriptors
    exceed what select() supports.
    """

    judge: Callable[[str, int], Verdict]
    aims: Callable[[str, int], Verdict]
    streams: StreamWatch
    crowd: Callable[[], None]
    ca_file: str
    ipv4_only: bool
    http3: bool
    egress: Egress | None


class Handle(StreamListener, Generic[B]):
    """Carries one exchange after another; remembers its options and sets them again only if they change."""

    __slots__ = (
        "_common", "_fields", "_getinfo", "_is_fresh", "_policy", "_refusals", "_remote_ip", "_seconds", "_setopt",
        "_stopped", "address", "body", "curl", "is_tls", "name",
    )  # fmt: skip

    def __init__(self, common: Common) -> None:
        super().__init__()
        self._common = common
        self.body: B | None = None
        self.name: Name = ("", 0)  # the name or address it connects to
        self.address: str | None = None  # the target of its tunnel, if any
        self.is_tls = False
        self._refusals: tuple[str, ...] = ()
        self._stopped: Failure | None = None
        self._remote_ip: str | None = None
        self._policy: JobPolicy | None = None
        self._fields: Sequence[str] = ()
        self._seconds = -1.0  # no limit yet
        self._is_fresh = False
        self.curl = curl = pycurl.Curl()
        # pycurl looks its methods up by name, which is slow.
        self._setopt: Callable[[int, Any], None] = curl.setopt
        self._getinfo: Callable[[int], Any] = curl.getinfo
        _configure(curl, common)
        curl.setopt(pycurl.HEADERFUNCTION, self.lines.append)
        curl.setopt(pycurl.WRITEFUNCTION, self.write)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self.open_socket)
        curl.setopt(pycurl.PREREQFUNCTION, self.permit)
        curl.setopt(pycurl.DEBUGFUNCTION, self.hear)

    def prepare(self, request: Request, body: B) -> Sequence[str]:
        """Set up an exchange; return lines for CURLOPT_RESOLVE that precede its own."""
        url = request.url
        self.request, self.body, self.is_watched = request, body, True
        self._setopt(_URL, url.target)
        if self._policy is not request.policy:
            self._apply(request.policy)
        if request.seconds != self._seconds:
            self._seconds = request.seconds
            self._setopt(pycurl.TIMEOUT_MS, max(1, int(request.seconds * 1000)))
        # PIPEWAIT: over TLS, wait for the first connection, which may carry many requests. Plain HTTP connections do
        # not, and libcurl would wait for their first answer.
        is_tls = url.scheme == "https"
        if is_tls is not self.is_tls:
            self.is_tls = is_tls
            self._setopt(pycurl.PIPEWAIT, int(is_tls))
        if request.is_fresh is not self._is_fresh:
            self._is_fresh = request.is_fresh
            self._setopt(pycurl.FRESH_CONNECT, int(request.is_fresh))
        if request.fields or self._fields:
            self._send(request.fields)
        if self._common.egress is None:
            self.name = url.host, url.port
            return ()
        aim = self._common.egress.aim(self.curl, request, self._common.aims)
        self.address, self._stopped = aim.address, aim.stopped
        self._refusals = tuple(aim.refusals)
        self.name = aim.address or request.addresses[0], url.port
        return aim.lines

    def end(self, code: int, message: str) -> Ended:
        """Return how the exchange ended (from a CURLcode and libcurl's message), and reset the handle."""
        broken = breakage(code, message) if code else None
        detail = sentence(message) if code else ""
        if self.was_reset:
            self.was_reset = False
            if broken is None:
                broken, detail = Breakage.RESET, "its stream was reset"
        info = self._getinfo
        sockets, resolved, connected, secured = self.sockets, 0, 0, 0
        if sockets:  # else a connection was reused, which took no time
            resolved = info(pycurl.NAMELOOKUP_TIME_T)
            connected = info(pycurl.CONNECT_TIME_T)
            secured = info(pycurl.APPCONNECT_TIME_T)
        if self._common.egress is not None:
            self._blame(self._common.egress, code, detail)
        ended = Ended(
            tuple(self.lines), broken, detail, self._stopped, self._refusals, sockets, self._remote_ip,
            self.is_watched, resolved, connected, secured, info(_FIRST_BYTE), info(_TOTAL),
        )  # fmt: skip
        self._forget()
        return ended

    def abort(self) -> Ended:
        """Return how far the exchange got; the handle cannot be used again."""
        ended = Ended(
            tuple(self.lines),
            stopped=self._stopped,
            refusals=self._refusals,
            sockets=self.sockets,
            remote_ip=self._remote_ip,
            is_watched=self.is_watched,
        )
        self._forget()
        return ended

    def set_verbose(self, is_verbose: bool) -> None:
        self._setopt(pycurl.VERBOSE, int(is_verbose))

    def _forget(self) -> None:
        self.lines.clear()
        self.request = self.body = self._remote_ip = self._stopped = None
        self.sockets, self._refusals = 0, ()

    def _apply(self, policy: JobPolicy) -> None:
        """Set the options that the job's policy determines."""
        self._policy = policy
        self._setopt(pycurl.USERAGENT, policy.user_agent.encode())
        self._setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(policy.connect_timeout * 1000)))
        self._setopt(pycurl.MAXFILESIZE_LARGE, policy.max_size)

    def _send(self, fields: Sequence[str]) -> None:
        """Set header lines in addition to the usual ones."""
        self._fields = fields
        # pycurl ignores an empty list, and one URL's fields would be sent with the next.
        self.curl.unsetopt(pycurl.HTTPHEADER)
        if fields:
            # Cookies and ETags are returned as the bytes they came in (RFC 9110 section 5.5, obs-text).
            self._setopt(pycurl.HTTPHEADER, [field.encode("latin-1") for field in fields])

    def _blame(self, egress: Egress, code: int, words: str) -> None:
        # Without a socket of its own it reused a tunnel.
        if code and self.sockets and self._stopped is None:
            self._stopped = egress.fault_of(self.curl, code, words)

    # ------------------------------------------------------------------------------------- libcurl's callbacks

    def write(self, data: bytes) -> int | None:
        body = self.body
        return -1 if body is None else body.write(data, self.is_watched)

    def open_socket(self, _purpose: int, address: Any) -> Any:
        """Check the address libcurl is about to connect to; nothing is sent to a refused one."""
        if self.body is None:
            return pycurl.SOCKET_BAD
        try:
            self.sockets += 1
            if self.is_early:
                self._common.streams.connecting(self)
            family, kind, protocol, place = address
            verdict = self._common.judge(_text(place[0]), place[1])
            if not verdict.allowed:
                self._refusals += (verdict.reason,)
                return pycurl.SOCKET_BAD
            lent = _LentSocket(family, kind, protocol)
            os.close(os.dup(lent.fileno()))  # pycurl does this next; its error would blame the server
            if lent.fileno() >= HIGHEST_SELECTED:
                self._common.crowd()
            return lent
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._stopped = Failure(
                    error=ErrorClass.LOCAL_DISK, kind=Kind.LOCAL, detail="This worker has no file descriptors left."
                )
            return pycurl.SOCKET_BAD
        except BaseException as error:  # a callback must not raise
            self._stopped = bug(error)
            return pycurl.SOCKET_BAD

    def hear(self, kind: int, text: bytes) -> None:
        """Detect resets in libcurl's debug text; all other text is dropped."""
        if kind == _TEXT and self._common.streams.hear(text):
            self.was_reset = True

    def permit(self, remote: str, _local: str, port: int, _local_port: int) -> int:
        """Check a connection before the request is sent: reused ones do not pass ``open_socket``."""
        if self.body is None:
            return int(pycurl.PREREQFUNC_ABORT)
        try:
            self._remote_ip = self.address or remote
            self.was_reset = False  # of an earlier stream of this exchange, if any
            if self.is_early:
                self._common.streams.connected(self)
            verdict = self._common.judge(remote, port)
            if verdict.allowed:
                return _PERMITTED
            self._stopped = Failure(error=ErrorClass.REFUSED_ADDRESS, kind=Kind.REFUSED, detail=verdict.reason)
        except BaseException as error:  # a callback must not raise
            self._stopped = bug(error)
        return int(pycurl.PREREQFUNC_ABORT)


class _LentSocket(socket.socket):
    """pycurl duplicates the descriptor that ``open_socket`` returns, so ours is closed when it is garbage."""

    def __del__(self) -> None:
        if self.fileno() >= 0:  # it was opened
            self.close()


def _configure(curl: Any, common: Common) -> None:
    """Set the options common to all requests."""
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.PROXY, "")  # proxy variables would bypass the address check
    curl.setopt(pycurl.NOPROXY, "")  # and no_proxy an egress proxy; libcurl would look both up for each request
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.FOLLOWLOCATION, 0)
    curl.setopt(pycurl.NETRC, 0)
    curl.setopt(pycurl.PATH_AS_IS, 1)
    curl.setopt(pycurl.NOPROGRESS, 1)
    curl.setopt(pycurl.CAINFO, common.ca_file)
    curl.setopt(pycurl.BUFFERSIZE, _BUFFER)
    curl.setopt(pycurl.DNS_CACHE_TIMEOUT, -1)  # HandedAddresses removes entries
    version = pycurl.CURL_HTTP_VERSION_3 if common.http3 else pycurl.CURL_HTTP_VERSION_2TLS
    curl.setopt(pycurl.HTTP_VERSION, version)
    if common.egress is not None:
        common.egress.configure(curl)
    elif common.ipv4_only:
        curl.setopt(pycurl.IPRESOLVE, pycurl.IPRESOLVE_V4)


def _text(address: str | bytes) -> str:
    return address.decode("ascii", "replace") if isinstance(address, bytes) else address
