"""Gives libcurl the addresses of hosts, so that it never resolves a name itself."""

from __future__ import annotations

from collections.abc import Sequence

# Idle names that libcurl keeps. Its own expiry is off, because it would check every known name after every transfer.
# Its hash table has 71 lists (CURL_DNS_HASH_SIZE), so there must not be many names either.
NAMES_KEPT = 500

Name = tuple[str, int]  # a host, without brackets, and a port


class _Handed:
    """A name that libcurl knows: its addresses, and the number of exchanges that use it."""

    __slots__ = ("addresses", "users")

    def __init__(self) -> None:
        self.addresses: Sequence[str] = ()
        self.users = 0


class HandedAddresses:
    """Tracks which names a multi handle of libcurl knows, and which lines for CURLOPT_RESOLVE each new handle needs.

    libcurl reads a handle's lines when it first processes it, and it may process new handles in any order.
    """

    def __init__(self) -> None:
        self.unread: set[Name] = set()  # added or withdrawn since libcurl last processed handles
        self._known: dict[Name, _Handed] = {}
        self._idle: dict[Name, None] = {}  # not used by any exchange; the most recently used is last

    def __len__(self) -> int:
        return len(self._known)

    @property
    def in_use(self) -> int:
        """The number of names that exchanges use."""
        return len(self._known) - len(self._idle)

    def is_leaving(self, name: Name) -> bool:
        """Will a handle that libcurl has not processed yet make it forget this name?"""
        return name in self.unread and name not in self._known

    def use(self, name: Name, addresses: Sequence[str]) -> list[str]:
        """Return the lines that a handle needs; the name stays known at least until ``release``."""
        lines: list[str] = []
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = _Handed()
        if known.addresses != addresses or (self.unread and name in self.unread):
            known.addresses = addresses
            if name[0] not in addresses:  # libcurl parses addresses itself
                self.unread.add(name)
                lines = _added(name, addresses)
        if not known.users:
            self._idle.pop(name, None)
        known.users += 1
        if len(self._idle) > NAMES_KEPT:
            lines += self._withdraw(next(iter(self._idle)))
        return lines

    def release(self, name: Name) -> None:
        """Note that an exchange that used this name has ended."""
        known = self._known[name]
        known.users -= 1
        if not known.users:
            self._idle[name] = None

    def _withdraw(self, name: Name) -> list[str]:
        del self._known[name], self._idle[name]
        self.unread.add(name)
        return [f"-{host}:{name[1]}" for host in _spellings(name[0])]


def _added(name: Name, addresses: Sequence[str]) -> list[str]:
    there = f"{name[1]}:{','.join(map(_bracketed, addresses))}"
    return [f"+{host}:{there}" for host in _spellings(name[0])]


def _spellings(host: str) -> tuple[str, ...]:
    """Return the spellings under which libcurl may look a host up: with a trailing dot it is another name."""
    return (_bracketed(host),) if ":" in host else (host, f"{host}.")


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
