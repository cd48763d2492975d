"""Which family of addresses comes first (RFC 6724): IPv6 if this machine has a route to the internet by it."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, IPv6Network

_WORLD = IPv6Network("2000::/3")
_FAR_4, _FAR_6 = "198.41.0.4", "2001:503:ba3e::2:30"  # a.root-servers.net: any route to the internet leads there


def in_order(four: tuple[str, ...], six: tuple[str, ...]) -> tuple[str, ...]:
    """Return the addresses of a name, the preferred family first; within a family the order is kept."""
    if not four or not six:
        return four or six
    # From a local to a public address IPv4 is preferred, because its NAT leads out (rules 2, 5 and 6).
    source = _source(_FAR_6)
    is_first = source is not None and all(IPv6Address(each.partition("%")[0]) in _WORLD for each in (source, six[0]))
    return six + four if is_first else four + six


def reaches_ipv4() -> bool:
    """Does this machine have an IPv4 route to the internet?"""
    return _source(_FAR_4) is not None


def _source(address: str) -> str | None:
    """Return the source address that would be used. Connecting a datagram socket only looks up the route."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as wire:
        try:
            wire.connect((address, 53))
        except OSError:
            return None
        return str(wire.getsockname()[0])
