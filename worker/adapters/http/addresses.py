"""The addresses libcurl is handed, so that it asks nobody for a name."""

from __future__ import annotations

from collections.abc import Sequence

# Idle names libcurl may keep. It is told to forget none by itself: for that it would look at every name it knows after
# every transfer. Its table has 71 lists (CURL_DNS_HASH_SIZE), so it must not become long either.
NAMES_KEPT = 500

Name = tuple[str, int]  # a host, without brackets, and a port


class _Handed:
    """A name that libcurl knows: its addresses, and how many exchanges use it."""

    __slots__ = ("addresses", "users")

    def __init__(self) -> None:
        self.addresses: Sequence[str] = ()
        self.users = 0


class HandedAddresses:
    """Which names one multi handle of libcurl knows, and what each handle has to bring for it to know its own.

    A handle brings lines of CURLOPT_RESOLVE. libcurl reads them when it first looks at the handle, and of several new
    handles it may look at any first.
    """

    def __init__(self) -> None:
        self.unread: set[Name] = set()  # brought or withdrawn since libcurl last looked
        self._known: dict[Name, _Handed] = {}
        self._idle: dict[Name, None] = {}  # those that no exchange uses; the one used last is last

    def __len__(self) -> int:
        return len(self._known)

    @property
    def in_use(self) -> int:
        """How many names have exchanges that use them."""
        return len(self._known) - len(self._idle)

    def is_leaving(self, name: Name) -> bool:
        """Will libcurl be told to forget this name by a handle that it has not looked at yet?"""
        return name in self.unread and name not in self._known

    def use(self, name: Name, addresses: Sequence[str]) -> list[str]:
        """Return the lines a handle has to bring; the name stays known at least until ``release``."""
        lines: list[str] = []
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = _Handed()
        if known.addresses != addresses or (self.unread and name in self.unread):
            known.addresses = addresses
            if name[0] not in addresses:  # libcurl reads an address by itself, and keeps it like a name
                self.unread.add(name)
                lines = _added(name, addresses)
        if not known.users:
            self._idle.pop(name, None)
        known.users += 1
        if len(self._idle) > NAMES_KEPT:
            lines += self._withdraw(next(iter(self._idle)))
        return lines

    def release(self, name: Name) -> None:
        """An exchange that used this name has ended."""
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
    """Return all that libcurl may know a host by: a name with a trailing dot is another name to it."""
    return (_bracketed(host),) if ":" in host else (host, f"{host}.")


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
