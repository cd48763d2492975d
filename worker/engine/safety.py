"""Which addresses a transfer may connect to.

Addresses that are not public are denied by default. The tables are explicit, because ``ipaddress.is_global`` answers
differently in Python 3.11, 3.12 and 3.13 and lets embedded, metadata and multicast addresses through. They follow the
IANA special-purpose address registries (RFC 6890 and its successors).

- The *never* tier (link-local and metadata services, unspecified, multicast, reserved, addresses that embed another)
  is closed whatever the settings, and so are our own broker, result backend, Flower and metrics endpoints.
- The *private* tier (loopback, RFC 1918, CGNAT, ULA) is opened by ``--allow-net``. Documentation and benchmark networks
  are in it: laboratories use them, and no one opens them by accident.
- An IPv4-mapped or NAT64 address is judged by the IPv4 address inside. A network-specific NAT64 prefix looks like any
  other network; its operator lists it in ``TRAWL_WORKER_DENY_NETS``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

from contract.urls.networks import Network

Address = IPv4Address | IPv6Address

ALLOW_SETTING = "TRAWL_ALLOW_NETS"
DENY_SETTING = "TRAWL_DENY_NETS"
WORKER_DENY_SETTING = "TRAWL_WORKER_DENY_NETS"


class Tier(Enum):
    """How an address is treated by default."""

    PUBLIC = "public"  #: open unless denied
    PRIVATE = "private"  #: closed unless allowed
    NEVER = "never"  #: closed


_NEVER: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "unspecified"),
    ("100.100.100.200/32", "a cloud's metadata service"),  # Alibaba Cloud; inside CGNAT
    ("168.63.129.16/32", "a cloud's metadata service"),  # Azure; looks public
    ("169.254.0.0/16", "link-local, where clouds keep metadata"),
    ("192.0.0.0/24", "reserved for protocols"),  # RFC 6890; 192.0.0.192 is Oracle's metadata service
    ("192.88.99.0/24", "a 6to4 relay"),  # RFC 7526
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "unspecified"),
    ("64:ff9b:1::/48", "a local NAT64, which embeds another address"),  # RFC 8215
    ("2001::/23", "reserved for protocols"),  # Teredo (embeds IPv4), ORCHID, benchmarking: RFC 2928
    ("2002::/16", "6to4, which embeds another address"),
    ("fd00:42::42/128", "a cloud's metadata service"),  # Scaleway; inside ULA, as the next two
    ("fd00:ec2::/32", "a cloud's metadata service"),  # AWS
    ("fd20:ce::254/128", "a cloud's metadata service"),  # Google Cloud
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local, which is abolished"),  # RFC 3879
    ("ff00::/8", "multicast"),
)
_PRIVATE: tuple[tuple[str, str], ...] = (
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by a carrier's customers"),  # CGNAT, RFC 6598
    ("127.0.0.0/8", "loopback"),
    ("172.16.0.0/12", "private"),
    ("192.0.2.0/24", "for documentation"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("::1/128", "loopback"),
    ("2001:db8::/32", "for documentation"),
    ("3fff::/20", "for documentation"),
    ("fc00::/7", "private"),
)
_RANGES: tuple[tuple[IPv4Network | IPv6Network, Tier, str], ...] = tuple(
    (IPv6Network(net) if ":" in net else IPv4Network(net), tier, kind)
    for tier, table in ((Tier.NEVER, _NEVER), (Tier.PRIVATE, _PRIVATE))
    for net, kind in table
)
_UNICAST = IPv6Network("2000::/3")  # everything IANA has allocated; the rest of IPv6 is not public
_NAT64 = IPv6Network("64:ff9b::/96")
_LOOPBACKS = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_LOOPBACK = "127.0.0.1"


class Verdict(NamedTuple):
    """May this address and port be connected to? ``setting`` is what would change a refusal, None if nothing does."""

    allowed: bool
    reason: str
    setting: str | None = None


class _Judged(NamedTuple):
    forms: tuple[Address, ...]  # the address that decides, then the one that embeds it
    key: str  # to look up own endpoints; the same for all loopback addresses
    tier: Tier
    kind: str
    network: str  # the network to allow


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPolicy:
    """The networks that a job allows and denies and that the worker's operator denies, and our own services.

    ``own`` holds address and port of the services Trawlnet itself uses. One on a loopback address matches all loopback
    addresses, one on an unspecified address (``0.0.0.0``, ``::``) every address.
    """

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    worker_deny: tuple[Network, ...] = ()
    own: frozenset[tuple[str, int]] = field(default=frozenset())

    def __post_init__(self) -> None:
        own = frozenset((_own_key(address), port) for address, port in self.own)
        object.__setattr__(self, "own", own)

    def verdict(self, address: str | bytes | Address, port: int) -> Verdict:
        """Judge a socket address: text, with or without a scope id, or 4 or 16 packed bytes. Never raises."""
        judged = _judge(address)
        if judged is None:
            return Verdict(False, "The connection's target is not an IP address.")
        forms, key, tier, kind, network = judged
        shown = forms[0]
        if self.own and ((key, port) in self.own or ("*", port) in self.own):
            return Verdict(False, f"{shown} port {port} is a service of Trawlnet itself; no setting opens it.")
        if tier is Tier.NEVER:
            return Verdict(False, f"{shown} is {kind} ({network}); no setting opens it.")
        if _within(forms, self.worker_deny):
            return Verdict(False, f"{shown} is denied by the worker's operator.", WORKER_DENY_SETTING)
        if _within(forms, self.deny):
            return Verdict(False, f"{shown} is denied by --deny-net ({DENY_SETTING}).", DENY_SETTING)
        if tier is Tier.PUBLIC:
            return _PUBLIC
        if _within(forms[:1], self.allow):
            return _OPENED
        how = f"--allow-net {network} ({ALLOW_SETTING}) opens it"
        return Verdict(False, f"{shown} is {kind}; {how}.", ALLOW_SETTING)


_PUBLIC = Verdict(True, "The address is public.")
_OPENED = Verdict(True, "The address is opened by --allow-net.", ALLOW_SETTING)


def tier_of(address: str | bytes | Address) -> Tier:
    """Return the tier of an address; what is not an address is in the never tier."""
    judged = _judge(address)
    return judged.tier if judged else Tier.NEVER


def _within(forms: tuple[Address, ...], networks: tuple[Network, ...]) -> bool:
    return any(form in network for network in networks for form in forms)


@lru_cache(maxsize=8192)
def _judge(address: str | bytes | Address) -> _Judged | None:
    outer = _read(address)
    if outer is None:
        return None
    inner = _embedded(outer)
    deciding = outer if inner is None else inner
    tier, kind, network = _classify(deciding)
    forms = (outer,) if inner is None else (inner, outer)
    return _Judged(forms, _key(deciding), tier, kind, network)


def _read(address: str | bytes | Address) -> Address | None:
    try:
        # A scope id names an interface, not another address.
        return ip_address(address if isinstance(address, bytes) else str(address).partition("%")[0])
    except ValueError:
        return None


def _embedded(address: Address) -> IPv4Address | None:
    """Return the IPv4 address embedded in a mapped (RFC 4291) or NAT64 (RFC 6052) address."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped


def _classify(address: Address) -> tuple[Tier, str, str]:
    for network, tier, kind in _RANGES:
        if address in network:
            return tier, kind, str(network)
    if isinstance(address, IPv6Address):
        if address not in _UNICAST:
            return Tier.NEVER, "outside the public part of IPv6", "not in 2000::/3"
        if int(address) >> 32 & 0xFDFFFFFF == 0x5EFE:
            return Tier.NEVER, "ISATAP, which embeds another address", "RFC 5214"
    return Tier.PUBLIC, "public", str(address)


def _key(address: Address) -> str:
    return _LOOPBACK if any(address in loopback for loopback in _LOOPBACKS) else str(address)


def _own_key(address: str) -> str:
    judged = _judge(address)
    if judged is None:
        raise ValueError(f"an own service is given by its IP address, not {address!r}")
    return "*" if judged.forms[0].is_unspecified else judged.key
