"""Each hop of a redirect is judged like a first URL.

Which line a test protects is proved by ``python -m tests.mutants``: with that line changed, the test fails.
"""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from contract.records.outcomes import ErrorClass
from tests.support.spellings import locations
from worker.engine.http.redirects import FOLLOWED, LONGEST_TRAIL, Asked, DeadEnd, Hop, next_hop, resolve

HERE = "https://example.org/a/b?c"


def hop(location: bytes | str | None, *, current: str = HERE, status: int = 302) -> Hop:
    led = next_hop([Asked(current)], status, location)
    assert isinstance(led, Hop), led
    return led


def dead_end(location: bytes | str | None, *, status: int = 302, before: tuple[str, ...] = ()) -> DeadEnd:
    led = next_hop([*map(Asked, before), Asked(HERE)], status, location)
    assert isinstance(led, DeadEnd), led
    return led


# ---------------------------------------------------------------------------------------------- what is followed


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_five_redirects_are_followed(status: int) -> None:
    assert hop("/next", status=status).to.target == "https://example.org/next"


def test_no_other_status_is_followed_whatever_its_location() -> None:
    """Protects the status line: libcurl itself follows 300 and 304."""
    for status in set(range(100, 600)) - FOLLOWED:
        assert dead_end("https://example.org/next", status=status).error is ErrorClass.BAD_RESPONSE, status


@pytest.mark.parametrize("location", [None, "", b"", " ", "\t "], ids=repr)
def test_a_redirect_to_nowhere_is_a_bad_redirect(location: bytes | str | None) -> None:
    assert dead_end(location).error is ErrorClass.BAD_REDIRECT


# ------------------------------------------------------------------------------------------------ where it leads

# RFC 3986 section 5.4, but for what carries another scheme, a fragment or no path change.
RFC_BASE = "http://a/b/c/d;p?q"
RFC_EXAMPLES = {
    "g": "http://a/b/c/g", "./g": "http://a/b/c/g", "g/": "http://a/b/c/g/", "/g": "http://a/g", "//g": "http://g/",
    "?y": "http://a/b/c/d;p?y", "g?y": "http://a/b/c/g?y", "g#s": "http://a/b/c/g", "g?y#s": "http://a/b/c/g?y",
    ";x": "http://a/b/c/;x", "g;x": "http://a/b/c/g;x", "g;x?y#s": "http://a/b/c/g;x?y", ".": "http://a/b/c/",
    "./": "http://a/b/c/", "..": "http://a/b/", "../": "http://a/b/", "../g": "http://a/b/g", "../..": "http://a/",
    "../../": "http://a/", "../../g": "http://a/g", "../../../g": "http://a/g", "../../../../g": "http://a/g",
    "/./g": "http://a/g", "/../g": "http://a/g", "g.": "http://a/b/c/g.", ".g": "http://a/b/c/.g",
    "g..": "http://a/b/c/g..", "..g": "http://a/b/c/..g", "./../g": "http://a/b/g", "./g/.": "http://a/b/c/g/",
    "g/./h": "http://a/b/c/g/h", "g/../h": "http://a/b/c/h", "g;x=1/./y": "http://a/b/c/g;x=1/y",
    "g;x=1/../y": "http://a/b/c/y", "g?y/./x": "http://a/b/c/g?y/./x", "g?y/../x": "http://a/b/c/g?y/../x",
    "g#s/../x": "http://a/b/c/g",
}  # fmt: skip


@pytest.mark.parametrize(("reference", "target"), RFC_EXAMPLES.items())
def test_relative_references_resolve_as_the_rfc_says(reference: str, target: str) -> None:
    assert hop(reference, current=RFC_BASE).to.target == target


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("http://example.net", "http://example.net/"),
        ("HTTP://EXAMPLE.net:80/x", "http://example.net/x"),
        ("//example.net:8443/x", "https://example.net:8443/x"),
        ("next", "https://example.org/a/next"),
        ("a:b", None),  # a scheme, not a path
        ("./a:b", "https://example.org/a/a:b"),
        (" /next ", "https://example.org/next"),
        ("/a b", "https://example.org/a%20b"),
        ("/a%20b", "https://example.org/a%20b"),
        ("/%zz", "https://example.org/%zz"),
        ("/caf\u00e9", "https://example.org/caf%C3%A9"),
        (b"/caf\xc3\xa9", "https://example.org/caf%C3%A9"),
        (b"/caf\xe9", "https://example.org/caf%E9"),  # not UTF-8: the server's own bytes come back to it
        ("https://b\u00fccher.example/", "https://xn--bcher-kva.example/"),
        ("/x#@evil.example/", "https://example.org/x"),
    ],
)
def test_a_location_is_encoded_like_a_url_of_the_list(location: bytes | str, target: str | None) -> None:
    led = next_hop([Asked(HERE)], 301, location)

    assert (led.to.target if isinstance(led, Hop) else None) == target


# What the URL Standard says of "http://a.test/b/c?d", as browsers do it: new URL(location, base).href.
BROWSERS = {
    "http://b.test/x": "http://b.test/x",
    "http:///b.test/x": "http://b.test/x",
    "http://///b.test/x": "http://b.test/x",
    "http:\\\\b.test\\x\\y": "http://b.test/x/y",
    "http:/\\b.test/x": "http://b.test/x",
    "http:\\/b.test/x": "http://b.test/x",
    "https:/b.test/x": "https://b.test/x",
    "https:b.test/x": "https://b.test/x",
    "https:\\b.test": "https://b.test/",
    "HTTP:///b.test": "http://b.test/",
    "//b.test": "http://b.test/",
    "///b.test/x": "http://b.test/x",
    "/////b.test/x": "http://b.test/x",
    "\\\\b.test/x": "http://b.test/x",
    "/\\b.test/x": "http://b.test/x",
    "\\/b.test/x": "http://b.test/x",
    "\\/\\b.test": "http://b.test/",
    "/\t/b.test": "http://b.test/",
    "ht\ttp://b.test/\tx": "http://b.test/x",
    "http:/x": "http://a.test/x",
    "http:\\x": "http://a.test/x",
    "http:x": "http://a.test/b/x",
    "http:?x": "http://a.test/b/c?x",
    "http:a:b": "http://a.test/b/a:b",
    "http:/": "http://a.test/",
    "\\x\\y": "http://a.test/x/y",
    "x\\..\\y": "http://a.test/b/y",
    "..\\x": "http://a.test/x",
    "/x?y\\z": "http://a.test/x?y%5Cz",  # they send it as it is, and servers read it in the same way
    "?y\\z": "http://a.test/b/c?y%5Cz",
    "/x#\\\\b.test": "http://a.test/x",
    "//b.test\\@c.test/": "http://b.test/@c.test/",
    "http://b.test\\@c.test/": "http://b.test/@c.test/",
    "http://b.test#\\@c.test/": "http://b.test/",
    "http://b.test?\\@c.test/": "http://b.test/?%5C@c.test/",
}


@pytest.mark.parametrize(("location", "target"), BROWSERS.items())
def test_odd_slashes_are_read_as_by_browsers(location: str, target: str) -> None:
    assert hop(location, current="http://a.test/b/c?d").to.target == target


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("http:/b.test:8080/x", "http://b.test:8080/x"),
        ("http:/127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ("http:\\[::1]:8080\\x", "http://[::1]:8080/x"),
        ("http:/A.test/x", "http://a.test/x"),
        ("http:/b.test/x", "http://a.test/b.test/x"),  # as browsers do: it may be a path
        ("http:/x?b:80", "http://a.test/x?b:80"),
        ("http:b.test:8080/x", "http://a.test/b/b.test:8080/x"),
    ],
)
def test_after_one_slash_what_cannot_be_a_path_is_a_host(location: str, target: str) -> None:
    assert hop(location, current="http://a.test/b/c").to.target == target


def test_a_base_without_a_path_resolves_too() -> None:
    assert hop("next", current="http://example.org/").to.target == "http://example.org/next"
    assert resolve("http://example.org", "?q") == "http://example.org?q"
    assert resolve("http://example.org", "g") == "http://example.org/g"


# ----------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "location",
    [
        "https://user:secret@example.net/", "//user@example.net/", "ftp://example.net/", "file:///etc/passwd",
        "dict://127.0.0.1:11211/", "javascript:alert(1)", "data:,x", "mailto:a@b.c", "gopher:x", "https://", "http:",
        "http:/", "////", "\\\\", "http:\\user@example.net", "//example.net\t:99999", "https://example.net:6379/",
        "https://example.net:22/", "https://example.net:0/", "https://example.net:99999/", "https://256.256.256.256/",
        "https://a..b/", "/next\r\nSet-Cookie: a=b", "/next\0", "/" + "a" * 16 * 1024, b"https://caf\xe9.example/",
        "/\ud800",
    ],
)  # fmt: skip
def test_urls_refused_in_a_list_are_refused_in_a_redirect(location: bytes | str) -> None:
    led = dead_end(location)

    assert led.error is ErrorClass.REFUSED_URL
    assert "secret" not in led.detail


def test_a_redirect_to_any_spelling_of_an_address_names_that_address() -> None:
    """The address guard then judges the same host that a first URL would have had."""
    for spelling in locations("169.254.169.254", port=8080):
        led = next_hop([Asked("http://example.org/a/b?c")], 302, spelling.url)

        if spelling.reaches is None:
            assert isinstance(led, DeadEnd), (spelling, led)
        else:
            assert isinstance(led, Hop), (spelling, led)
            host = ip_address(led.to.host)
            assert (getattr(host, "ipv4_mapped", None) or host) == ip_address(spelling.reaches), spelling


# ------------------------------------------------------------------------------------------------------ how long


def test_ten_hops_are_followed_and_no_more() -> None:
    trail = [Asked("http://example.org/0")]
    while isinstance(led := next_hop(trail, 302, f"/{len(trail)}"), Hop):
        trail.append(Asked(led.to.target))
        assert len(trail) <= LONGEST_TRAIL + 1

    assert (len(trail), trail[-1].target) == (LONGEST_TRAIL + 1, "http://example.org/10")
    assert led.error is ErrorClass.TOO_MANY_REDIRECTS


def test_the_longest_trail_can_be_set() -> None:
    led = next_hop([Asked(HERE)], 302, "/x", longest=0)

    assert isinstance(led, DeadEnd)
    assert led.error is ErrorClass.TOO_MANY_REDIRECTS


@pytest.mark.parametrize("location", [HERE, "?c", "/a/b?c#other", "HTTPS://EXAMPLE.ORG:443/a/./b?c", "#top"])
def test_a_redirect_to_itself_is_a_circle(location: str) -> None:
    assert dead_end(location).error is ErrorClass.TOO_MANY_REDIRECTS


def test_a_redirect_to_an_earlier_hop_is_a_circle() -> None:
    led = dead_end("http://example.org/first", before=("http://example.org/first", "https://example.net/"))

    assert led.error is ErrorClass.TOO_MANY_REDIRECTS
    assert "loop" in led.detail


def test_a_repeated_hop_is_a_circle_only_with_the_same_cookies() -> None:
    """Sites set a cookie and redirect to themselves; those that set it again and again are a circle after all."""
    asked = [Asked(HERE), Asked("https://example.org/set", "seen=1")]

    again = next_hop(asked, 302, HERE, cookies_for=lambda url: "seen=1")
    circle = next_hop([*asked, Asked(HERE, "seen=1")], 302, HERE, cookies_for=lambda url: "seen=1")

    assert isinstance(again, Hop)
    assert again.to.target == HERE
    assert isinstance(circle, DeadEnd)
    assert circle.error is ErrorClass.TOO_MANY_REDIRECTS


# -------------------------------------------------------------------------------------------- what is remembered


@pytest.mark.parametrize(
    ("current", "location", "is_lost"),
    [
        ("https://example.org/", "/x", False),
        ("https://example.org/", "http://example.org/", True),
        ("http://example.org/", "http://example.net/", False),
    ],
)
def test_a_hop_records_lost_tls(current: str, location: str, is_lost: bool) -> None:
    assert hop(location, current=current).downgraded is is_lost
