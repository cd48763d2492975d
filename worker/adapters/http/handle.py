"""An easy handle of libcurl: what is set on it for good, and its callbacks, which judge where each request goes."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pycurl

from contract.records.outcomes import ErrorClass
from contract.records.policy import JobPolicy
from worker.adapters.http.addresses import Name
from worker.adapters.http.waiting import HIGHEST_SELECTED
from worker.engine.exchange import Exchange, bug
from worker.engine.failures import Failure, Kind

if TYPE_CHECKING:
    from worker.adapters.http.exchanges import CurlHttp

_TEXT = 0  # CURLINFO_TEXT: of what libcurl tells a debug function, its own words
_BUFFER = 512 * 1024  # bytes; one buffer per multi: fewer receive calls on large bodies, half the CPU


class Handle:
    """Carries one exchange after the other; what is set on it is remembered, and set again only if it changes."""

    __slots__ = (
        "curl", "exchange", "fields", "is_early", "is_fresh", "is_patient", "listens", "name", "owner", "policy",
        "timeout", "was_reset",
    )  # fmt: skip

    def __init__(self, owner: CurlHttp) -> None:
        self.owner = owner
        self.exchange: Exchange | None = None
        self.policy: JobPolicy | None = None
        self.fields: Sequence[str] = ()
        self.name: Name = ("", 0)  # where its exchange goes
        self.timeout = -1
        self.is_fresh = False
        self.is_patient = False
        self.is_early = False  # what its origin sends is not known yet
        self.listens = False  # libcurl tells it what becomes of its streams
        self.was_reset = False  # its stream was, which libcurl will call a good end
        self.curl = curl = pycurl.Curl()
        curl.handle = self  # type: ignore[attr-defined]  # pycurl's objects take attributes; its stub does not say so
        _configure(curl, owner)
        curl.setopt(pycurl.WRITEFUNCTION, self.take)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self.open_socket)
        curl.setopt(pycurl.PREREQFUNCTION, self.permit)
        curl.setopt(pycurl.DEBUGFUNCTION, self.hear)

    def obey(self, policy: JobPolicy) -> None:
        """Set what the job's owner decided."""
        self.policy = policy
        self.curl.setopt(pycurl.USERAGENT, policy.user_agent.encode())
        self.curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(policy.connect_timeout * 1000)))
        self.curl.setopt(pycurl.MAXFILESIZE_LARGE, policy.max_size)

    def listen(self, listens: bool) -> None:
        """Be told what becomes of streams, or no longer; not from a callback."""
        if listens is not self.listens:
            self.listens = listens
            self.curl.setopt(pycurl.VERBOSE, int(listens))

    # ------------------------------------------------------------------------------------- libcurl's callbacks

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
            if self.is_early:
                self.owner.streams.connecting(self)
            family, kind, protocol, place = address
            verdict = self.owner.judge(_text(place[0]), place[1])
            if not verdict.allowed:
                exchange.refusals.append(verdict.reason)
                return pycurl.SOCKET_BAD
            lent = _LentSocket(family, kind, protocol)
            os.close(os.dup(lent.fileno()))  # as pycurl does next; what it says if that fails blames the server
            self.owner.is_crowded = self.owner.is_crowded or lent.fileno() >= HIGHEST_SELECTED
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

    def hear(self, kind: int, text: bytes) -> None:
        """Listen for resets; what else is said of requests and responses is forgotten at once."""
        if kind == _TEXT and self.owner.streams.hear(text):
            self.was_reset = True

    def permit(self, remote: str, _local: str, port: int, _local_port: int) -> int:
        """Judge a connection before the request goes out: pooled ones never came through ``open_socket``."""
        exchange = self.exchange
        if exchange is None:
            return int(pycurl.PREREQFUNC_ABORT)
        try:
            exchange.remote_ip = _text(remote)
            self.was_reset = False  # an earlier stream of this exchange, if any, is not the one that will answer
            if self.is_early:
                self.owner.streams.connected(self)
            verdict = self.owner.judge(exchange.remote_ip, port)
            if verdict.allowed:
                return int(pycurl.PREREQFUNC_OK)
            exchange.stopped = Failure(error=ErrorClass.REFUSED_ADDRESS, kind=Kind.REFUSED, detail=verdict.reason)
        except BaseException as error:  # nothing may leave a callback
            exchange.stopped = bug(error)
        return int(pycurl.PREREQFUNC_ABORT)


class _LentSocket(socket.socket):
    """pycurl duplicates the descriptor of what ``open_socket`` returns, so ours is closed when it is let go."""

    def __del__(self) -> None:
        if self.fileno() >= 0:  # it was opened at all
            self.close()


def _configure(curl: Any, owner: CurlHttp) -> None:
    """Set what holds for every request."""
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.PROXY, "")  # proxy variables would void the guard on addresses
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.FOLLOWLOCATION, 0)
    curl.setopt(pycurl.NETRC, 0)
    curl.setopt(pycurl.PATH_AS_IS, 1)
    curl.setopt(pycurl.NOPROGRESS, 1)
    curl.setopt(pycurl.CAINFO, owner.ca_file)
    curl.setopt(pycurl.BUFFERSIZE, _BUFFER)
    curl.setopt(pycurl.DNS_CACHE_TIMEOUT, -1)  # HandedAddresses has it forget
    version = pycurl.CURL_HTTP_VERSION_3 if owner.http3 else pycurl.CURL_HTTP_VERSION_2TLS
    curl.setopt(pycurl.HTTP_VERSION, version)
    if owner.egress is not None:
        owner.egress.configure(curl)
    elif owner.ipv4_only:
        curl.setopt(pycurl.IPRESOLVE, pycurl.IPRESOLVE_V4)


def _text(address: str | bytes) -> str:
    return address.decode("ascii", "replace") if isinstance(address, bytes) else address
