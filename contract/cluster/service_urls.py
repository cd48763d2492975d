"""URLs of broker and result backend: validation, redaction, and passwords."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from contract.errors import SettingError

_REDIS = ("redis", "rediss", "sentinel")
_NAMES_A_HOST = (*_REDIS, "amqp", "amqps", "pyamqp")  # kombu silently uses localhost if none is named

_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")
_LOGIN = re.compile(r"(?:[^][@%]|%[0-9A-Fa-f]{2})*")  # RFC 3986 section 3.2.1: other characters are percent-encoded
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[\w.-]*)(?::([0-9]{0,5}))?")
_DATABASE = re.compile(r"/{0,2}[0-9]{0,9}")

HOW_TO_WRITE = (
    "write it as redis://user:password@host:6379/0, with %-escapes for special characters of the password"
    " (/ is %2F, ? is %3F, # is %23, @ is %40, ; is %3B, [ is %5B, % is %25), or put the password into a file and name"
    " that in TRAWL_REDIS_PASSWORD_FILE."
)


def is_redis_url(url: str) -> bool:
    return url.split(":", 1)[0] in ("redis", "rediss", "redis+socket", "sentinel")


def check_url(url: str, *, variable: str) -> None:
    """Make sure that kombu, Celery and redis-py all read this URL the same way.

    Raises:
        SettingError: they would not. The sentence names the variable and quotes nothing of the URL, because what looks
            like its host, port or path may be part of the password.
    """
    fault = _fault(url)
    if fault is not None:
        raise SettingError(f"{variable} is not a usable URL: {fault}; {HOW_TO_WRITE}")
    _check_query(url)


def _fault(url: str) -> str | None:
    if _BLANK.search(url):
        return "it holds a blank or a line break"
    scheme, _, rest = url.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    login, _, place = authority.rpartition("@")
    path, _, query = rest[len(authority) :].partition("?")
    if "#" in rest or "@" in path + query:
        return "a special character (/ ? #) in it is not escaped"
    if not _LOGIN.fullmatch(login):
        return "a special character (@ [ ] %) in its user or password is not escaped"
    if scheme == "redis+socket":
        return None if not place and path else "a socket's is redis+socket:///path?virtual_host=0"
    if scheme in _NAMES_A_HOST and not re.split(r":(?=[^\]]*$)", place)[0]:
        return "it names no host"
    if not all(map(_is_place, place.split(","))):
        return "its host and port are not host:port, with a port from 1 to 65535"
    if scheme in _REDIS and not _DATABASE.fullmatch(path):
        return "its database, after the host, is not a number"
    return None


def _is_place(text: str) -> bool:
    match = _PLACE.fullmatch(text)
    return match is not None and (not match[2] or 0 < int(match[2]) < 65536)


def _check_query(url: str) -> None:
    """Refuse options that Celery, kombu and redis-py interpret differently or not at all."""
    parts = urlsplit(url)
    allowed = {"rediss": "ssl_", "redis+socket": "virtual_host"}.get(parts.scheme, "?")
    if parts.scheme in ("redis", "rediss", "redis+socket"):
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if not name.startswith(allowed):
                raise SettingError(
                    f"A {parts.scheme}:// URL cannot hold the option {name[:40]}: transport options go into"
                    " TRAWL_BROKER_OPTIONS and TRAWL_BACKEND_OPTIONS."
                )
            if name == "virtual_host" and not _DATABASE.fullmatch(value):
                raise SettingError("virtual_host in a redis+socket:// URL must be a number, the database.")


def places(url: str) -> Iterator[tuple[str, int | None]]:
    """Yield each host of a checked URL with its port; None: no port is named."""
    for place in urlsplit(url).netloc.rpartition("@")[2].split(","):
        named = urlsplit(f"//{place}")
        if named.hostname:
            yield named.hostname, named.port


def redacted(url: str) -> str:
    """Return a service URL without its credentials, for messages."""
    return ";".join(map(_without_login, url.split(";")))


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url.split("?", 1)[0] if parts.scheme != "redis+socket" else url
    return urlunsplit((parts.scheme, "***@" + parts.netloc.rpartition("@")[2], parts.path, "", ""))


def with_password(url: str, password: str) -> str:
    """Return a Redis URL with this password, unless it already has one."""
    parts = urlsplit(url)
    if not password or parts.scheme not in ("redis", "rediss"):
        return url
    user, _, place = parts.netloc.rpartition("@")
    if ":" in user:
        return url
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}"))
