"""This machine's configuration of names: which the name servers may resolve, and which only the system.

A stub resolver that disagrees with the system's is worse than none. Any configuration that might mean something else
here is left to getaddrinfo. Sources: resolv.conf(5), nsswitch.conf(5), gai.conf(5), hosts(5).
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_FILES = ("resolv.conf", "nsswitch.conf", "gai.conf", "hosts")
_PORT = 53
_MOST_SERVERS = 3  # MAXNS
_LONGEST = 10.0  # seconds; glibc's defaults, 5 s and two attempts

# Sources that a name server's answer may replace. Names that the local ones know are left to the system.
_SOURCES = {"files", "dns", "resolve", "myhostname", "mymachines", "mdns4_minimal", "mdns6_minimal", "mdns_minimal"}
_RESOLVED = {"127.0.0.53", "127.0.0.54"}  # systemd-resolved, which the source `resolve` asks
_HARMLESS = {"edns0", "trust-ad", "rotate", "inet6", "no-reload", "debug", "no-check-names", "no-tld-query"}
_VARIABLES = ("RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES")
_LOCAL = (".local", ".localhost")  # mDNS (RFC 6762), the machine itself (RFC 6761)


Server = tuple[str, int]  # a name server's address and port


@dataclass(frozen=True, slots=True)
class Configuration:
    """Which servers to ask, and how to complete an incomplete name. ``seconds`` limits a question."""

    servers: tuple[Server, ...]
    search: tuple[str, ...] = ()
    ndots: int = 1
    seconds: float = _LONGEST
    own: frozenset[str] = frozenset()  # names that this machine knows itself

    def candidates(self, host: str) -> list[str]:
        """Return the names to ask for in sequence, as res_search(3) does; none: leave the host to the system."""
        if host in self.own or host.endswith(_LOCAL) or (host.startswith("_") and "." not in host):
            return []
        completed = [f"{host}.{domain}" for domain in self.search]
        return [host, *completed] if host.count(".") >= self.ndots else [*completed, host]


def signature(folder: Path = Path("/etc")) -> tuple[object, ...]:
    """Return a value that changes when one of the files does."""
    found: list[object] = []
    for name in _FILES:
        try:
            status = os.stat(folder / name)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)


def is_overruled(environment: Mapping[str, str]) -> bool:
    """Does a variable change what the system's resolver does, so that every name is left to it?"""
    return any(environment.get(name) for name in _VARIABLES)


def read(folder: Path = Path("/etc")) -> Configuration | None:
    """Read the configuration; None: leave every name to the system."""
    if sys.platform != "linux":
        return None
    if any(words[0] in ("label", "precedence", "scopev4") for words in _lines(folder / "gai.conf")):
        return None  # it sets its own order of addresses
    servers, search, options = _resolv_conf(folder / "resolv.conf")
    if not servers or not _may_ask(_sources(folder / "nsswitch.conf"), servers):
        return None
    settings = dict(option.partition(":")[::2] for option in options)
    try:
        ndots, timeout, attempts = (
            int(settings.pop(name, default)) for name, default in (("ndots", "1"), ("timeout", "5"), ("attempts", "2"))
        )
    except ValueError:
        return None
    if settings.keys() - _HARMLESS:
        return None
    seconds = min(_LONGEST, max(1.0, float(timeout * attempts * len(servers))))
    return Configuration(
        tuple((server, _PORT) for server in servers), search, ndots, seconds, frozenset(_own_names(folder / "hosts"))
    )


def _resolv_conf(path: Path) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for keyword, *values in _lines(path):
        if keyword == "nameserver" and values and len(servers) < _MOST_SERVERS:
            servers += [values[0]] if _is_address(values[0]) else []
        elif keyword in ("search", "domain"):  # the last one wins
            search = tuple(value.rstrip(".").lower() for value in values if value.strip("."))
        elif keyword == "options":
            options += values
    return tuple(servers), search, options


def _sources(path: Path) -> set[str]:
    """Return the sources of host names; without a file, as on musl: files and dns."""
    for keyword, *values in _lines(path, split=":"):
        if keyword == "hosts":
            return {value for value in values if not value.startswith("[") and not value.endswith("]")}
    return {"files", "dns"}


def _may_ask(sources: set[str], servers: tuple[str, ...]) -> bool:
    """Do the name servers know everything the sources know?"""
    if not sources <= _SOURCES or not sources & {"dns", "resolve"}:
        return False
    return "resolve" not in sources or set(servers) <= _RESOLVED


def _own_names(path: Path) -> Iterator[str]:
    yield "localhost"
    yield socket.gethostname().lower()
    for _address, *names in _lines(path):
        yield from (name.rstrip(".").lower() for name in names)


def _lines(path: Path, *, split: str = " ") -> Iterator[list[str]]:
    """Yield the words of each line that is not empty; an unreadable file has none."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return
    for line in text.splitlines():
        words = line.partition("#")[0].replace(split, " ", 1).split()
        if words and not words[0].startswith(";"):
            yield words


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
