"""The addresses libcurl is handed, so that it asks nobody for a name."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pycurl

from worker.engine.exchange import Exchange

NAMES_KEPT = 120  # seconds libcurl keeps the addresses we hand over
_HAND_OVER = 45.0  # seconds after which a host's addresses are handed to libcurl again
_HOSTS_HANDED = 10_000


class HandedAddresses:
    """Which addresses one multi handle was handed for which host and port, and when."""

    def __init__(self) -> None:
        self.unread: set[tuple[str, int]] = set()  # handed over since libcurl last looked
        self._handed: OrderedDict[tuple[str, int], tuple[tuple[str, ...], float]] = OrderedDict()

    def hand_over(self, curl: Any, host: str, port: int, exchange: Exchange) -> None:
        """Give libcurl the addresses our resolver found, unless it has them."""
        key, now = (host, port), exchange.began
        handed = self._handed.get(key)
        is_known = handed is not None and now - handed[1] < _HAND_OVER and handed[0] == exchange.addresses
        # libcurl may look at a handle begun later first: until it has looked, each handle brings the addresses.
        if is_known and key not in self.unread:
            return
        if host not in exchange.addresses:
            there = f":{port}:{','.join(_bracketed(each) for each in exchange.addresses)}"
            # To libcurl a name with a trailing dot is another name.
            curl.setopt(pycurl.RESOLVE, [f"+{host}{there}", f"+{host}.{there}"])
            self.unread.add(key)
        self._handed[key] = (exchange.addresses, now)
        self._handed.move_to_end(key)
        if len(self._handed) > _HOSTS_HANDED:
            self._handed.popitem(last=False)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
