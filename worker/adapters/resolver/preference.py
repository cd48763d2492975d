"""Which family of addresses comes first (RFC 6724): IPv6 where this machine has a way to the world by it."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, IPv6Network

_WORLD = IPv6Network("2000::/3")
_FAR_4, _FAR_6 = "198.41.0.4", "2001:503:ba3e::2:30"  # a.root-servers.net: whom routes to the world lead to


def in_order(four: tuple[str, ...], six: tuple[str, ...]) -> tuple[str, ...]:
    """Return the addresses of a name, the preferred first; within a family they stay as they came."""
    if not four or not six:
        return four or six
    # Between a local address and a public one IPv4 is preferred, as its NAT leads out (rules 2, 5 and 6).
    source = _source(_FAR_6)
    is_first = source is not None and all(IPv6Address(each.partition("%")[0]) in _WORLD for each in (source, six[0]))
    return six + four if is_first else four + six


def reaches_ipv4() -> bool:
    """Does this machine know a way to the world by IPv4?"""
    return _source(_FAR_4) is not None


def _source(address: str) -> str | None:
    """Return the address that would be sent from. Nothing is sent: connecting a datagram socket asks the routes."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as wire:
        try:
            wire.connect((address, 53))
        except OSError:
            return None
        return str(wire.getsockname()[0])
