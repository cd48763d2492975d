"""The target of a redirect, and which redirects are not followed.

libcurl's own following is off: it also follows Location on 300 and 304, and checks no hop. Here every hop is checked
like a URL of the list, and its address again when connecting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from contract.records.outcomes import ErrorClass
from contract.urls.lines import Parsed, RefusedUrl, parse

FOLLOWED = frozenset({301, 302, 303, 307, 308})  #: RFC 9110 section 15.4; 300 offers choices, 304 is about a cache
LONGEST_TRAIL = 10  # hops

_OUR_SCHEME = re.compile(r"(https?):", re.IGNORECASE)
_ANY_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BASE = re.compile(r"(?P<scheme>https?):(?P<authority>//[^/?]*)(?P<path>[^?]*)(?P<query>.*)", re.DOTALL)
_PATH = re.compile(r"(?P<path>[^?#]*)(?P<query>\?[^#]*)?")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


class Asked(NamedTuple):
    """A request of an attempt: its target and the chain's cookies sent with it. The same one twice is a loop."""

    target: str
    cookies: str = ""


@dataclass(frozen=True, slots=True)
class Hop:
    """The next request of a redirect; its method is GET, as ours always is. ``downgraded``: from https to http."""

    to: Parsed
    downgraded: bool


@dataclass(frozen=True, slots=True)
class DeadEnd:
    """A redirect that is not followed: ``REFUSED_URL`` is a refusal, the other classes are permanent failures."""

    error: ErrorClass
    detail: str


def next_hop(
    trail: Sequence[Asked],
    status: int,
    location: bytes | str | None,
    *,
    cookies_for: Callable[[Parsed], str] = lambda _url: "",
    longest: int = LONGEST_TRAIL,
) -> Hop | DeadEnd:
    """Return the next request of a redirect.

    ``trail`` holds the attempt's requests, the redirected one last. ``cookies_for`` returns the chain's cookies for a
    request.
    """
    current = trail[-1].target
    if status not in FOLLOWED:
        return DeadEnd(ErrorClass.BAD_RESPONSE, f"Status {status} is not a redirect that can be followed.")
    if len(trail) > longest:
        return DeadEnd(ErrorClass.TOO_MANY_REDIRECTS, f"More than {longest} redirects.")
    reference = _decoded(location).strip(" \t").replace("\t", "")  # browsers drop tabs anywhere
    if not reference:
        return DeadEnd(ErrorClass.BAD_REDIRECT, f"Status {status} has no Location.")
    to = parse(resolve(current, reference))
    if isinstance(to, RefusedUrl):
        return DeadEnd(ErrorClass.REFUSED_URL, f"The redirect's Location is refused. {to.reason}")
    if Asked(to.target, cookies_for(to)) in trail:
        return DeadEnd(ErrorClass.TOO_MANY_REDIRECTS, "The redirects form a loop.")
    return Hop(to, downgraded=current.startswith("https:") and to.scheme == "http")


def resolve(base: str, reference: str) -> str:
    """Resolve a Location against an absolute http or https URL without fragment, as browsers do.

    URL Standard, "basic URL parser", for the schemes it calls special: before the query a backslash is a slash, and
    any number of slashes may precede a host; otherwise it is RFC 3986 section 5.2.2. More lenient in one point: what
    follows the current scheme and a single slash is a path to browsers, but here a host if it has a port or is the
    current host. Dot segments are left in: ``contract.urls.lines.parse`` removes them.
    """
    own = _BASE.fullmatch(base)
    assert own is not None
    text = _with_slashes(reference)
    if scheme := _OUR_SCHEME.match(text):
        text = text[scheme.end() :]
        is_relative = scheme[1].lower() == own["scheme"] and not text.startswith("//")
        if not is_relative or _names_host(text, own["authority"]):
            return f"{scheme[1]}://{text.lstrip('/')}"
    elif _ANY_SCHEME.match(text):
        return reference
    elif text.startswith("//"):
        return f"{own['scheme']}://{text.lstrip('/')}"
    return f"{own['scheme']}:{own['authority']}{_from_path(own['path'], own['query'], text)}"


def _with_slashes(reference: str) -> str:
    end = next((at for at, char in enumerate(reference) if char in "?#"), len(reference))
    return reference[:end].replace("\\", "/") + reference[end:]


def _names_host(text: str, authority: str) -> bool:
    """Is the text after a single slash a host? A slash was probably lost, because no path looks like these."""
    first = re.split(r"[/?#]", text[1:], maxsplit=1)[0] if text.startswith("/") else ""
    return first.lower() == authority[2:] or re.fullmatch(r".+:[0-9]+", first) is not None


def _from_path(path: str, query: str, text: str) -> str:
    """Return path and query of a reference without authority; its fragment is dropped."""
    given = _PATH.match(text)
    assert given is not None
    if given["path"].startswith("/"):
        return given[0]
    if given["path"]:
        return f"{path.rpartition('/')[0]}/{given[0]}"
    return f"{path}{given['query'] or query}"


def _decoded(location: bytes | str | None) -> str:
    """Return a Location as text; bytes that are not UTF-8 are kept as percent escapes, as browsers do."""
    if not isinstance(location, bytes):
        return location or ""
    try:
        return location.decode()
    except UnicodeDecodeError:
        return _NOT_ASCII.sub(lambda byte: b"%%%02X" % ord(byte[0]), location).decode()
