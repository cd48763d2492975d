"""Sends requests through an egress proxy, as tunnels to addresses that were checked first.

The proxy never learns a name: the tunnel's target is resolved and checked here, and libcurl gets the address
(CURLOPT_CONNECT_TO), while TLS and the Host field still use the name. libcurl reuses a pooled tunnel only for the same
target address, and that address is checked before each request.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pycurl

from contract.records.outcomes import ErrorClass
from worker.engine.failures import Failure, Kind
from worker.engine.ports import Answer, Request, Resolver
from worker.engine.safety import Verdict

# pycurl has no names for these (curl.h). CURLOPT_SOCKS5_AUTH is set to CURLAUTH_BASIC, which excludes Kerberos.
_SUPPRESS_CONNECT_HEADERS, _SOCKS5_AUTH, _BASIC = 265, 267, 1

# curl.h, CURLproxycode: a SOCKS proxy's answer, or why it was not understood.
_SOCKS_UNREACHED = {19: "refused", 20: "general failure", 21: "host unreachable", 22: "network unreachable", 24: "TTL"}
_SOCKS_LOGIN = {12, 33}
_SOCKS_DENIED = 23

_UNREACHED = {502, 503, 504}  # the host is unreachable, not the proxy: answers of Squid, HAProxy and Envoy
_BUSY = {408, 425, 429}


class Aim(NamedTuple):
    """Implements ``worker.adapters.http.handle.Aim``."""

    address: str | None
    lines: list[str]
    refusals: Sequence[str] = ()
    stopped: Failure | None = None


class Egress:
    """Implements ``worker.adapters.http.Egress`` for one proxy; shared by the lanes of a process."""

    def __init__(
        self,
        *,
        scheme: str,
        host: str,
        port: int,
        login: str,
        ca_file: str,
        resolver: Resolver,
        look_up: Callable[[str], tuple[str, ...]],
    ) -> None:
        """``scheme`` is http, https or socks5; ``login`` is ``user:password`` or empty and is never shown."""
        self._shown = f"{scheme}://{_bracketed(host)}:{port}"
        self._is_socks = scheme == "socks5"
        self._host, self._port = host, port
        self._login = login
        self._ca_file = ca_file
        self._resolver = resolver
        self._fault = ""
        self._is_asking = False
        self._addresses = self._first_addresses(look_up)
        self._accepted = frozenset(self._addresses)

    def __repr__(self) -> str:
        return f"<Egress {self._shown}>"

    # ---- options of libcurl

    def configure(self, curl: Any) -> None:
        """Set the options common to all requests, on a new handle."""
        curl.setopt(pycurl.PROXY, self._shown)
        curl.setopt(pycurl.HTTPPROXYTUNNEL, 1)
        curl.setopt(pycurl.PROXY_CAINFO, self._ca_file)
        curl.setopt(_SUPPRESS_CONNECT_HEADERS, 1)
        curl.setopt(_SOCKS5_AUTH, _BASIC)
        if self._login:
            user, _, password = self._login.partition(":")
            # Not PROXYUSERPWD, which decodes percent escapes.
            curl.setopt(pycurl.PROXYUSERNAME, user)
            curl.setopt(pycurl.PROXYPASSWORD, password)

    def aim(self, curl: Any, request: Request, judge: Callable[[str, int], Verdict]) -> Aim:
        """Choose the tunnel's target among the host's addresses; if none is allowed, request nothing.

        The addresses take turns from attempt to attempt. IPv4 comes first, because few proxies have IPv6 and a failed
        tunnel costs an attempt.
        """
        port = request.url.port
        verdicts = {address: self._judge(address, port, judge) for address in request.addresses}
        allowed = sorted((address for address in verdicts if verdicts[address].allowed), key=_is_ipv6)
        own = self._current_addresses()
        if not allowed or not own:
            curl.setopt(pycurl.URL, "")  # makes libcurl fail before it opens a socket
        if not allowed:
            return Aim(None, [], [verdict.reason for verdict in verdicts.values()])
        if not own:
            return Aim(None, [], stopped=self._failure(f"has no address: {self._fault}"))
        chosen = allowed[request.attempt % len(allowed)]
        curl.setopt(pycurl.CONNECT_TO, [f"::{_bracketed(chosen)}:{port}"])
        if self._host in own:
            return Aim(chosen, [])
        return Aim(chosen, [f"+{self._host}:{self._port}:{','.join(map(_bracketed, own))}"])

    def verdict(self, address: str, port: int) -> Verdict:
        """Judge a socket address: only the proxy's is allowed."""
        if port == self._port and _plain(address) in self._accepted:
            return Verdict(True, "This is the egress proxy.")
        return Verdict(False, f"{address} port {port} is not the egress proxy, and workers connect to nothing else.")

    def _judge(self, address: str, port: int, judge: Callable[[str, int], Verdict]) -> Verdict:
        if port == self._port and _plain(address) in self._accepted:
            return Verdict(False, f"{address} port {port} is the egress proxy itself; no setting opens it.")
        return judge(address, port)

    # ---- errors

    def fault_of(self, curl: Any, code: int, words: str) -> Failure | None:
        """Return why the proxy opened no tunnel, from libcurl's error; None: it opened one, or the host is slow."""
        if not curl.getinfo(pycurl.CONNECT_TIME_T):
            return self._failure(f"cannot be reached: {words}")
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return None
        if self._is_socks:
            reply = curl.getinfo(pycurl.PROXY_ERROR)
            return self._of_socks(reply, words) if reply else None
        status = curl.getinfo(pycurl.HTTP_CONNECTCODE)
        if status == 0:
            return self._failure(f"opened no tunnel: {words}")
        return None if 200 <= status < 300 else self._of_status(status)

    def _of_status(self, status: int) -> Failure:
        if status in _UNREACHED:
            return self._unreached(str(status))
        if status == 407:
            hint = "TRAWL_EGRESS_LOGIN_FILE names its login"
            return self._failure(f"requires another login, or rejects the address ({status}); {hint}", Kind.PERMANENT)
        if 400 <= status < 500 and status not in _BUSY:
            return self._failure(f"refuses this address ({status})", Kind.PERMANENT)
        return self._failure(f"opened no tunnel ({status})")

    def _of_socks(self, reply: int, words: str) -> Failure:
        if reply in _SOCKS_UNREACHED:
            return self._unreached(_SOCKS_UNREACHED[reply])
        if reply in _SOCKS_LOGIN:
            return self._failure("requires another login; TRAWL_EGRESS_LOGIN_FILE names its login", Kind.PERMANENT)
        if reply == _SOCKS_DENIED:
            return self._failure("refuses this address", Kind.PERMANENT)
        return self._failure(f"opened no tunnel: {words}")

    def _failure(self, what: str, kind: Kind = Kind.TRANSIENT) -> Failure:
        return Failure(error=ErrorClass.PROXY, kind=kind, detail=f"The egress proxy {self._shown} {what}.")

    def _unreached(self, how: str) -> Failure:
        detail = f"The egress proxy {self._shown} could not reach the host ({how})."
        return Failure(error=ErrorClass.CONNECT, kind=Kind.TRANSIENT, detail=detail)

    # ---- the proxy's addresses

    def _first_addresses(self, look_up: Callable[[str], tuple[str, ...]]) -> tuple[str, ...]:
        known = self._resolver.known(self._host)
        if known is not None:
            return known.addresses
        try:
            return look_up(self._host)
        except (OSError, UnicodeError):
            self._fault = "the name was not resolved"
            return ()

    def _current_addresses(self) -> tuple[str, ...]:
        """Return the proxy's addresses; outdated ones are used while they are looked up again."""
        answer = self._resolver.known(self._host)
        if answer is not None:
            self._update(self._host, answer)
        elif not self._is_asking:
            self._is_asking = True
            self._resolver.ask(self._host, self._update)
        return self._addresses

    def _update(self, _host: str, answer: Answer) -> None:
        self._is_asking = False
        if not answer.addresses:
            self._fault = answer.fault  # the known addresses may still be right
        elif answer.addresses != self._addresses:
            # Requests prepared earlier still connect to the previous addresses.
            self._accepted = frozenset(self._addresses) | frozenset(answer.addresses)
            self._addresses = answer.addresses


def _plain(address: str) -> str:
    return str(ipaddress.ip_address(address.partition("%")[0]))


def _is_ipv6(address: str) -> bool:
    return ":" in address


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
