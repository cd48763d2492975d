"""Parses a line of a list into a URL to fetch, or the reason why it is not fetched.

A line is ``URL [sha256=HEX] [md5=HEX] [size=BYTES]``, separated by blanks (spaces and tabs). It is parsed from its end:
``key=value`` tokens with one of these three keys (in any case) are expectations, and everything before them is the
URL. Blanks within the URL are percent-encoded if they can belong to it: in a query, or if the last word ends like a
URL. Otherwise the URL is followed by a caption or a column, and the line is refused. To make `` size=1`` part of a
URL, write its blank as ``%20``. Surrounding blanks, CR and LF are trimmed, and so is a byte order mark before the
first line. Blank lines and lines that start with ``#`` are skipped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from msgspec import Struct

from contract.urls.expected import Expected
from contract.urls.hosts import HostError, canonical_host
from contract.urls.naming import output_name
from contract.urls.shapes import fault_of_rest, shape_of

LONGEST_URL = 16 * 1024  #: bytes, as given and as sent
_LONGEST_LINE = LONGEST_URL + 1024  # bytes; the expectations need about 130
_LONGEST_ORIGIN = 1100  # characters; keeps the cache of origins small whatever a list holds
_LONGEST_SHOWN = 300  # characters of a refused line that are kept

DEFAULT_PORTS = {"http": 80, "https": 443}

# Ports of services that are not HTTP servers and that an HTTP request could harm.
# "Bad port" of the Fetch Standard, https://fetch.spec.whatwg.org/#port-blocking.
_BAD_FOR_BROWSERS = """
    0 1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 115 117 119 123 135
    137 139 143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 556 563 587 601 636 989 990 993 995 1719
    1720 1723 2049 3659 4045 4190 5060 5061 6000 6566 6665 6666 6667 6668 6669 6679 6697 10080
"""
# Docker, MySQL, PostgreSQL, AMQP, Redis, Elasticsearch, memcached, MongoDB.
_BAD_FOR_WORKERS = "2375 3306 5432 5672 6379 9200 11211 27017"
BAD_PORTS = frozenset(map(int, f"{_BAD_FOR_BROWSERS} {_BAD_FOR_WORKERS}".split()))

_BLANKS = b" \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ALLOWED = "A-Za-z0-9._~!$&'()*+,;=:@/?%[\\]-"  # RFC 3986, plus brackets, which servers expect unencoded
_PLAIN = re.compile(rf"(https?://[A-Za-z0-9.:_-]{{1,300}})(/[{_ALLOWED}]*)?")
_PLAIN_LINE = re.compile(_PLAIN.pattern.encode())
# A line that is only an ordinary URL: a name in lower case, no port, nothing to decode.
_ORDINARY = re.compile(
    rb"https?://(?=[^/]{1,253}(?:/|\Z))(?:(?!xn--)[a-z0-9_-]{1,63}\.)*(?!xn--)[a-z][a-z0-9_-]{0,62}"
    rb"(?:/[" + _ALLOWED.encode() + rb"]{0,16000})?"
)
_ANY = re.compile(r"(https?://[^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?", re.IGNORECASE | re.ASCII | re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_TOKEN = re.compile(r"[^ \t]+")
_EXPECTATION = re.compile(r"(sha256|md5|size)=(.*)", re.IGNORECASE | re.ASCII)
_VALUES = {
    "sha256": re.compile(r"[0-9a-f]{64}"),
    "md5": re.compile(r"[0-9a-f]{32}"),
    "size": re.compile(r"[0-9]{1,18}"),
}
_VALUE_HELP = {
    "sha256": "sha256= takes 64 hexadecimal digits.",
    "md5": "md5= takes 32 hexadecimal digits.",
    "size": "size= takes a number of bytes.",
}
_NOT_UTF8 = "The line is not UTF-8; save the list as UTF-8 or percent-encode the URL."
_TOO_LONG = f"The URL is longer than {LONGEST_URL} bytes; shorten it."


@dataclass(frozen=True, slots=True)
class RefusedUrl:
    """A URL that is not fetched; ``reason`` is one sentence that says what to do and quotes nothing secret."""

    reason: str


# Not a dataclass, nor a tuple: it is created once per URL, and its fields are read twenty times.
class Parsed(Struct, frozen=True, gc=False):
    """A URL that may be fetched; whether its address may be connected to is decided when connecting.

    ``target`` is the URL as it is sent: printable ASCII without blanks or fragment. ``host`` is lower-case ASCII,
    without trailing dot or brackets. ``host_key`` is host and port as one text, the same object for all URLs of a host.
    """

    target: str
    scheme: str
    host: str
    port: int
    host_key: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """The origin that credentials belong to (RFC 6454)."""
        return self.scheme, self.host, self.port


# Tuples, not dataclasses: created once per line, they cost a third (0.4 against 1.2 us).
class Entry(NamedTuple):
    """A line with a URL: ``url`` exactly as given, ``name`` its md5, the rest as in ``Parsed``."""

    url: str
    name: str
    target: str
    scheme: str
    host: str
    port: int
    expect: Expected | None


class Refusal(NamedTuple):
    """A line that is not fetched.

    ``raw`` can be shown anywhere: undecodable bytes and terminal control characters are replaced, and a long line is
    cut. ``name`` is the md5 of the exact bytes of the URL, ``line`` counts from 1.
    """

    raw: str
    name: str
    reason: str
    line: int


def is_ordinary(raw: bytes) -> bool:
    """Is a line certainly an entry whose URL is the whole line? Almost all are, and ``intake`` takes much longer."""
    if _ORDINARY.fullmatch(raw):
        return True
    plain = _PLAIN_LINE.fullmatch(raw)
    if plain is None or b"/." in raw:  # without dot segments it may be too long as sent: 1 becomes 0.0.0.1
        return False
    return len(raw) <= LONGEST_URL and isinstance(_origin(plain[1].decode()), _Origin)


def has_content(raw: bytes) -> bool:
    """Is a line neither blank nor a comment?"""
    exact = raw.strip(_BLANKS)
    return bool(exact) and not exact.startswith(b"#")


def intake(raw: bytes | str, *, line: int) -> Entry | Refusal | None:
    """Parse one line of a list, the first being ``line`` 1; None if it is blank or a comment. Never raises."""
    exact = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    if line == 1:
        exact = exact.removeprefix(_BYTE_ORDER_MARK)
    exact = exact.strip(_BLANKS)
    if not exact or exact.startswith(b"#"):
        return None
    if len(exact) > _LONGEST_LINE:
        return _refusal(exact, shape_of(exact[:_LONGEST_LINE].decode("latin-1")) or _TOO_LONG, line)
    try:
        text = exact.decode()
    except UnicodeDecodeError:
        return _refusal(exact, shape_of(exact.decode("latin-1")) or _NOT_UTF8, line)
    expect = None
    if " " in text or "\t" in text:
        text, expect = _split_line(text)
        exact = text.encode()
        if (" " in text or "\t" in text) and _ANY.fullmatch(text) and (fault := fault_of_rest(text)):
            return _refusal(exact, fault, line)
    parsed = parse(text)
    if isinstance(parsed, RefusedUrl):
        return _refusal(exact, shape_of(text) or parsed.reason, line)
    if isinstance(expect, RefusedUrl):
        return _refusal(exact, expect.reason, line)
    name = output_name(exact)
    return Entry(text, name, parsed.target, parsed.scheme, parsed.host, parsed.port, expect)


def parse(url: str) -> Parsed | RefusedUrl:
    """Check one absolute URL by its text alone and return how it is sent. Never raises.

    ``parse(parse(url).target)`` is ``parse(url)``.
    """
    plain = _PLAIN.fullmatch(url)
    # Almost every URL of almost every list is plain: nothing to encode, nothing to drop, no dot segments.
    if plain and "/." not in url and len(url) <= LONGEST_URL:
        start, rest = plain.groups("/")
        origin = _origin(start)
    else:
        origin, rest = _split_url(url)
    if not isinstance(origin, _Origin):
        return origin
    wire, scheme, host, port, host_key = origin
    return Parsed(wire + rest, scheme, host, port, host_key)


class _Origin(NamedTuple):
    wire: str
    scheme: str
    host: str
    port: int
    host_key: str


def _split_url(url: str) -> tuple[_Origin | RefusedUrl, str]:
    """Return the origin, and path and query as they are sent."""
    fault = _fault_of_text(url)
    if fault:
        return RefusedUrl(fault), ""
    match = _ANY.fullmatch(url)
    if not match:
        return RefusedUrl(_fault_of_scheme(url)), ""
    start, path, query, _ = match.groups("")
    if len(start) > _LONGEST_ORIGIN:
        return RefusedUrl("The URL's host is longer than a name may be; correct it."), ""
    origin = _origin(start)
    rest = _without_dot_segments(_encoded(path)) + _encoded(query)
    if isinstance(origin, _Origin) and len(origin.wire) + len(rest) > LONGEST_URL:
        return RefusedUrl(f"The URL is longer than {LONGEST_URL} bytes once percent-encoded; shorten it."), ""
    return origin, rest


def _fault_of_text(url: str) -> str | None:
    try:
        length = len(url.encode())
    except UnicodeEncodeError:
        return "The URL holds half of a surrogate pair; write it as valid Unicode."
    if length > LONGEST_URL:
        return _TOO_LONG
    control = _CONTROL.search(url)
    if control and control[0] == "\0":
        return "The URL holds a NUL character; save the list as UTF-8 text."
    if control:
        return f"The URL holds the control character U+{ord(control[0]):04X}; remove or percent-encode it."
    return None


def _fault_of_scheme(url: str) -> str:
    scheme = _SCHEME.match(url)
    if scheme and scheme[0].lower() in {"http:", "https:"}:
        return "The URL names no host; write http://host/ or https://host/, with two slashes."
    if scheme and "." not in scheme[0]:
        return "Only http:// and https:// are fetched; correct the URL or remove it."
    return "The line does not start with http:// or https://; put one of them before it."


@lru_cache(maxsize=8192)
def _origin(start: str) -> _Origin | RefusedUrl:
    """Check ``scheme://authority``."""
    scheme, _, authority = start.partition("://")
    scheme = scheme.lower()
    if "\\" in authority:
        return RefusedUrl("The URL has a backslash before its path, which programs read in different ways; remove it.")
    if "@" in authority:
        return RefusedUrl("The URL carries a user name or password; remove it and give credentials per host instead.")
    match = _AUTHORITY.fullmatch(authority)
    if not match:
        return RefusedUrl("The URL's host or port is malformed; write http://host:port/.")
    digits = match[2].lstrip("0") or "0" if match[2] else str(DEFAULT_PORTS[scheme])
    port = int(digits[:6])  # six digits are too many already, however many follow
    if not 0 < port < 65536:
        return RefusedUrl("The URL's port is not between 1 and 65535; correct it.")
    if port in BAD_PORTS:
        return RefusedUrl(f"Port {port} belongs to a service other than HTTP and is refused; correct or remove it.")
    try:
        host = canonical_host(match[1])
    except HostError as error:
        return RefusedUrl(str(error))
    wire = host.wire if port == DEFAULT_PORTS[scheme] else f"{host.wire}:{port}"
    return _Origin(f"{scheme}://{wire}", scheme, host.name, port, f"{host.name}:{port}")


def _encoded(text: str) -> str:
    """Percent-encode what RFC 3986 does not allow; escapes and stray percent signs are left unchanged."""
    return quote(text, safe="!$&'()*+,;=:@/?%[]")


def _without_dot_segments(path: str) -> str:
    """RFC 3986 section 5.2.4; an empty path is ``/``."""
    if "/." not in path:
        return path or "/"
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)


def _split_line(text: str) -> tuple[str, Expected | RefusedUrl | None]:
    """Return the URL and what is expected of its body, parsed from the line's end."""
    tokens = list(_TOKEN.finditer(text))
    found: list[tuple[str, str]] = []
    while len(tokens) > 1 and (match := _EXPECTATION.fullmatch(tokens[-1][0])):
        found.append((match[1].lower(), match[2].lower()))
        tokens.pop()
    return text[: tokens[-1].end()], _expected(found) if found else None


def _expected(found: list[tuple[str, str]]) -> Expected | RefusedUrl:
    values = dict(found)
    if len(values) < len(found):
        return RefusedUrl("The line gives sha256=, md5= or size= twice; keep one of each.")
    for key, value in values.items():
        if not _VALUES[key].fullmatch(value):
            return RefusedUrl(_VALUE_HELP[key])
    size = values.get("size")
    return Expected(values.get("sha256"), values.get("md5"), None if size is None else int(size))


def _refusal(exact: bytes, reason: str, line: int) -> Refusal:
    return Refusal(_shown(exact), output_name(exact), reason, line)


def _shown(exact: bytes) -> str:
    text = exact[: 4 * _LONGEST_SHOWN].decode(errors="replace")
    is_whole = len(exact) <= 4 * _LONGEST_SHOWN and len(text) <= _LONGEST_SHOWN
    shown = _UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", text[:_LONGEST_SHOWN])
    return shown if is_whole else f"{shown}... ({len(exact)} bytes)"
