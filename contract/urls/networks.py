"""Networks as a person writes them in a setting."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from contract.errors import SettingError

Network = IPv4Network | IPv6Network

_SEPARATORS = re.compile(r"[\s,;]+")
_MAPPED = IPv6Network("::ffff:0:0/96")


def parse_networks(written: str | Iterable[str], *, setting: str) -> tuple[Network, ...]:
    """Return the networks of a setting, given as one text (separated by commas, semicolons or blanks) or one by one.

    A bare address is a network of one. IPv4-mapped networks become the IPv4 network they stand for.

    Raises:
        SettingError: a part is not a network; the sentence names ``setting`` and that part.
    """
    texts = [written] if isinstance(written, str) else written
    return tuple(_network(part, setting) for text in texts for part in _SEPARATORS.split(text) if part)


def _network(text: str, setting: str) -> Network:
    if "%" in text:
        raise SettingError(f"{setting}: {text!r} has a zone; write the network without it.")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise SettingError(f"{setting}: {text!r} is not a network; write one like 10.0.0.0/8 or fd00::/8.") from None
    if "/" in text and ip_address(text.partition("/")[0]) != network.network_address:
        raise SettingError(f"{setting}: {text!r} has bits set outside its prefix; write {network}.")
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network
