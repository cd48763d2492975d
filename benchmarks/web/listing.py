"""The list of row W, drawn from a seed: hosts with latencies of their own, and URLs with a fate and a size each."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from math import log

URLS, HOSTS, IN_FLIGHT = 8_000, 3_330, 256
FATED = 0.08  # of the URLs, each fate but the good one as often as the others
SHORTEST, LONGEST = 0.020, 0.300  # seconds of round trip
DOMAIN = "w.test"
PLAIN, REFUSING, TLS, HTTP2 = 80, 81, 8443, 443  # ports

_MEDIAN, _SPREAD = 12_000, 1.1  # bytes, and of their logarithm
_SMALLEST, _LARGEST = 200, 2_000_000
_WIRES = (20, 30, 50)  # of 100 hosts, as in ``Wire``


class Wire(StrEnum):
    """What a host speaks."""

    HTTP = "http"  #: HTTP/1.1 in plain text
    TLS = "tls"  #: HTTP/1.1 over TLS
    HTTP2 = "http2"  #: HTTP/2 over TLS


class Fate(StrEnum):
    """What becomes of a request."""

    GOOD = "good"  #: a body, at the first try
    ONCE = "once"  #: 503 to the first request, then a body
    THROTTLED = "throttled"  #: 429 with Retry-After: 1 to the first request, then a body
    MOVED = "moved"  #: 302 to another host, which has the body
    MISSING = "missing"  #: 404
    FORBIDDEN = "forbidden"  #: 403
    REFUSED = "refused"  #: nobody listens at the port
    SILENT = "silent"  #: accepted, and never answered
    DRIPPING = "dripping"  #: a body of ten bytes a second
    NAMELESS = "nameless"  #: the host's name does not exist
    CUT = "cut"  #: every body breaks off in the middle


HAPPY = frozenset({Fate.GOOD, Fate.ONCE, Fate.THROTTLED, Fate.MOVED})  # there is a body in the end
UNHAPPY: tuple[Fate, ...] = tuple(fate for fate in Fate if fate is not Fate.GOOD)


@dataclass(frozen=True, slots=True)
class Host:
    """``latency`` is a round trip in seconds."""

    number: int
    wire: Wire
    latency: float

    @property
    def name(self) -> str:
        return f"h{self.number}.{DOMAIN}"

    @property
    def address(self) -> str:
        return f"198.18.{60 + self.number // 200}.{self.number % 200 + 1}"

    @property
    def round_trips(self) -> int:
        """How many a connection takes before its first request: TCP, and TLS 1.3."""
        return 1 if self.wire is Wire.HTTP else 2

    def url(self, path: str) -> str:
        match self.wire:
            case Wire.HTTP:
                return f"http://{self.name}/{path}"
            case Wire.TLS:
                return f"https://{self.name}:{TLS}/{path}"
            case Wire.HTTP2:
                return f"https://{self.name}/{path}"


@dataclass(frozen=True, slots=True)
class Line:
    """One URL of the list; ``size`` is that of its body, ``leads_to`` the host it is redirected to."""

    number: int
    host: Host
    fate: Fate
    size: int
    leads_to: Host | None = None

    @property
    def url(self) -> str:
        match self.fate:
            case Fate.NAMELESS:
                return f"https://gone{self.number}.{DOMAIN}/{self.number}"
            case Fate.REFUSED:
                return f"http://{self.host.name}:{REFUSING}/{self.number}"
            case Fate.GOOD | Fate.MISSING:
                return self.host.url(f"{self.fate}/{self.number}")
        return self.host.url(f"{self.fate}/{self.number}/{self.size}{f'/{self.location}' if self.leads_to else ''}")

    @property
    def location(self) -> str:
        """What a redirect says, as a part of a path: scheme and authority, then the good path is to be added."""
        assert self.leads_to is not None
        return self.leads_to.url("").rstrip("/").replace("://", "/")

    @property
    def name(self) -> str:
        """What every client is to call the file."""
        return hashlib.md5(self.url.encode()).hexdigest()

    @property
    def is_happy(self) -> bool:
        return self.fate in HAPPY


@dataclass(frozen=True, slots=True)
class Listing:
    hosts: Sequence[Host]
    lines: Sequence[Line]
    in_flight: int


def draw(seed: int = 1, scale: float = 1.0) -> Listing:
    """Draw a list; a smaller one has fewer hosts and fewer in flight as well, so that it takes as long."""
    dice = random.Random(f"web {seed}")
    count, most = max(20, round(URLS * scale)), max(4, round(IN_FLIGHT * scale))
    hosts = [_host(number, dice) for number in range(max(10, round(HOSTS * scale)))]
    weights = list(accumulate(1 / rank for rank in range(1, len(hosts) + 1)))  # Zipf
    chosen = hosts + dice.choices(hosts, cum_weights=weights, k=count - len(hosts))
    each = max(1, round(count * FATED / len(UNHAPPY)))
    fates: list[Fate] = [fate for fate in UNHAPPY for _ in range(each)]
    fates += [Fate.GOOD] * (count - len(fates))
    dice.shuffle(chosen)
    dice.shuffle(fates)
    lines = [_line(number, *pair, hosts, dice) for number, pair in enumerate(zip(chosen, fates, strict=True))]
    return Listing(hosts, lines, most)


def _host(number: int, dice: random.Random) -> Host:
    return Host(number, dice.choices(list(Wire), _WIRES)[0], dice.uniform(SHORTEST, LONGEST))


def _line(number: int, host: Host, fate: Fate, hosts: Sequence[Host], dice: random.Random) -> Line:
    size = min(_LARGEST, max(_SMALLEST, round(dice.lognormvariate(log(_MEDIAN), _SPREAD))))
    return Line(number, host, fate, size, dice.choice(hosts) if fate is Fate.MOVED else None)
