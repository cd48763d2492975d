"""The cookies of one URL's redirect chain: set by a hop, sent with later hops, forgotten with the attempt.

RFC 6265; from its successor (RFC 6265bis, draft 22) what browsers agree on: the limits, the name prefixes, and that
a response without TLS neither sets nor hides a ``Secure`` cookie. There is no list of public suffixes: domains without
a dot, or like ``co.uk``, get no cookies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from math import inf
from typing import NamedTuple

from contract.urls.lines import Parsed
from worker.engine.http.cookie_dates import read_date

MOST_COOKIES = 50  #: kept per chain, and read per response; the oldest are dropped
LONGEST_COOKIE = 4096  #: bytes of name and value; longer ones are ignored (RFC 6265bis section 5.6)
LONGEST_FIELD = 8190  #: bytes of a request's Cookie field, as in libcurl: many servers reject more

_LONGEST_ATTRIBUTE = 1024  # bytes (RFC 6265bis section 5.6)
_LONGEST_AGE = 400 * 86400  # seconds (RFC 6265bis section 5.5)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # no tab, as in RFC 6265bis section 5.6
_AGE = re.compile(r"-?[0-9]+")
_ADDRESS = re.compile(r".*:.*|(?:.*\.)?[0-9]+")
_SUFFIX = re.compile(r"[^.]*|(?:ac|co|com|edu|go|gov|mil|ne|net|or|org)\.[a-z]{2}")


class Cookie(NamedTuple):
    """A cookie as kept (RFC 6265 section 5.3); ``expires`` is in Unix seconds."""

    name: str
    value: str
    domain: str
    is_host_only: bool
    path: str
    is_secure: bool
    expires: float

    def suits(self, url: Parsed) -> bool:
        """Is it sent with a request there (RFC 6265 section 5.4, step 1)?"""
        is_there = url.host == self.domain if self.is_host_only else _is_within(url.host, self.domain)
        return is_there and (url.scheme == "https" or not self.is_secure) and _leads_to(self.path, _path(url))


class CookieJar:
    """The cookies set by the hops of one attempt."""

    __slots__ = ("_cookies",)

    def __init__(self) -> None:
        self._cookies: dict[tuple[str, str, str], Cookie] = {}

    def store(self, fields: Iterable[str], url: Parsed, wall: float) -> None:
        """Store the cookies of a response from ``url`` (its Set-Cookie fields) at ``wall`` (Unix seconds)."""
        for field in islice(fields, MOST_COOKIES):
            cookie = read_cookie(field, url, wall)
            if cookie is None or (url.scheme != "https" and self._hides_secure(cookie)):
                continue
            # A replaced cookie keeps its position, which is its age. Servers delete a cookie by setting an expired one.
            self._cookies[cookie.name, cookie.domain, cookie.path] = cookie
        while len(self._cookies) > MOST_COOKIES:
            del self._cookies[next(iter(self._cookies))]

    def field_for(self, url: Parsed, wall: float) -> str:
        """Return the Cookie field's value for a request; empty if it has none (RFC 6265 section 5.4)."""
        suiting = [each for each in self._cookies.values() if each.expires > wall and each.suits(url)]
        suiting.sort(key=lambda each: -len(each.path))  # stable: among equals the older ones come first
        field = ""
        for name, value, *_ in suiting:
            longer = f"{field}; {name}={value}" if field else f"{name}={value}"
            field = longer if len(longer) <= LONGEST_FIELD else field
        return field

    def _hides_secure(self, new: Cookie) -> bool:
        """Would it replace or hide a secure cookie (RFC 6265bis section 5.7, step 15)?"""
        return any(
            old.is_secure
            and old.name == new.name
            and (_is_within(old.domain, new.domain) or _is_within(new.domain, old.domain))
            and _leads_to(old.path, new.path)
            for old in self._cookies.values()
        )


def read_cookie(field: str, url: Parsed, wall: float) -> Cookie | None:
    """Parse a Set-Cookie field of a response from ``url`` (RFC 6265 section 5.2); None: it sets no cookie."""
    pair, *attributes = field.split(";")
    name, equals, value = pair.partition("=")
    name, value = name.strip(" \t"), value.strip(" \t")
    if _CONTROL.search(field) or not equals or not name or len(name) + len(value) > LONGEST_COOKIE:
        return None
    said = _attributes(attributes)
    scope = _domain(said.get("domain", "").removeprefix(".").lower(), url.host)
    is_secure = "secure" in said
    if scope is None or (is_secure and url.scheme != "https"):
        return None
    path = said.get("path", "")
    if not path.startswith("/"):
        path = _path(url).rpartition("/")[0] or "/"
    cookie = Cookie(name, value, *scope, path, is_secure, _expiry(said, wall))
    return cookie if _keeps_its_prefix(cookie) else None


def with_cookies(own: Sequence[str], cookies: str) -> tuple[str, ...]:
    """Return the user's header lines and one Cookie line; cookies set by the user take precedence."""
    if not cookies:
        return tuple(own)
    theirs = [line for line in own if line.partition(":")[0].strip().lower() == "cookie"]
    given = [value for line in theirs if (value := line.partition(":")[2].strip())]
    named = {pair.partition("=")[0].strip() for value in given for pair in value.split(";")}
    added = [pair for pair in cookies.split("; ") if pair.partition("=")[0] not in named]
    return (*(line for line in own if line not in theirs), f"Cookie: {'; '.join([*given, *added])}")


def _attributes(parts: Iterable[str]) -> dict[str, str]:
    """Parse the attributes after the pair: by lower-case name, the last one of each."""
    pairs = (part.partition("=") for part in parts)
    return {
        name.strip(" \t").lower(): value.strip(" \t")
        for name, _, value in pairs
        if len(value.strip(" \t")) <= _LONGEST_ATTRIBUTE
    }


def _domain(said: str, host: str) -> tuple[str, bool] | None:
    """Return a cookie's domain, and is it for that host only? None: the host may not set it (5.3, steps 4 to 6)."""
    if not said:
        return host, True
    if _SUFFIX.fullmatch(said):
        return (host, True) if said == host else None
    return (said, False) if _is_within(host, said) else None


def _expiry(said: dict[str, str], wall: float) -> float:
    """Return when a cookie expires, in Unix seconds; Max-Age takes precedence over Expires."""
    age = said.get("max-age", "")
    if _AGE.fullmatch(age):
        return wall + min(int(age), _LONGEST_AGE) if int(age) > 0 else -inf
    date = read_date(said.get("expires", ""))
    return inf if date is None else date


def _keeps_its_prefix(cookie: Cookie) -> bool:
    """Does it meet the conditions of its name's prefix (RFC 6265bis section 4.1.3)?"""
    name = cookie.name.lower()
    if name.startswith("__host-"):
        return cookie.is_secure and cookie.is_host_only and cookie.path == "/"
    return cookie.is_secure or not name.startswith("__secure-")


def _is_within(host: str, domain: str) -> bool:
    """RFC 6265 section 5.1.3."""
    return host == domain or (host.endswith(f".{domain}") and not _ADDRESS.fullmatch(host))


def _leads_to(folder: str, path: str) -> bool:
    """RFC 6265 section 5.1.4."""
    return path == folder or path.startswith(folder if folder.endswith("/") else f"{folder}/")


def _path(url: Parsed) -> str:
    return "/" + url.target.split("/", 3)[3].partition("?")[0]
