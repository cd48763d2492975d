"""Cookies of one redirect chain: what is stored, where it is sent, and what is never sent.

``python -m tests.mutants cookies`` takes out the lines these tests protect.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.urls.lines import Parsed, parse
from worker.engine.http.cookies import LONGEST_COOKIE, LONGEST_FIELD, MOST_COOKIES, CookieJar, with_cookies

NOW = 1_700_000_000.0
HERE = "http://www.example.org/a/b?c=/d/e"


def parsed(url: str) -> Parsed:
    found = parse(url)
    assert isinstance(found, Parsed), found
    return found


def sent(*fields: str, at: str = HERE, to: str = HERE, after: float = 0.0) -> str:
    """Return what goes to one place after another set cookies."""
    jar = CookieJar()
    jar.store(fields, parsed(at), NOW)
    return jar.field_for(parsed(to), NOW + after)


# ------------------------------------------------------------------------------------------------ how it is read


@pytest.mark.parametrize(
    ("field", "comes_back"),
    [
        ("a=b", "a=b"),
        (" a\t =  b c ;", "a=b c"),
        ('a="b, c"', 'a="b, c"'),
        ("a=b=c==", "a=b=c=="),
        ("a=", "a="),
        ("a=caf\xc3\xa9", "a=caf\xc3\xa9"),  # bytes, whatever they mean
        ("a=b; SameSite=Lax; HttpOnly; Priority=High; x; =; y=z", "a=b"),
        ("a=b; Max-Age=x; Expires=never; Domain=; Path=", "a=b"),
        ("a", ""),
        ("=b", ""),
        ("", ""),
        ("a=b\x00c", ""),
        ("a=b\rc", ""),
        ("a=b; Path=/\x7f", ""),
    ],
)
def test_a_field_sets_a_cookie_or_nothing(field: str, comes_back: str) -> None:
    assert sent(field) == comes_back


@given(st.lists(st.text(max_size=60), max_size=8))
def test_any_cookies_become_one_line(fields: list[str]) -> None:
    assert not set("\r\n\0") & set(sent(*fields))


# ----------------------------------------------------------------------------------------------------- where to


@pytest.mark.parametrize(
    ("domain", "to", "goes"),
    [
        (None, "www.example.org", True),
        (None, "WWW.EXAMPLE.ORG.", True),
        (None, "www.example.org:8080", True),  # RFC 6265 section 8.5: ports are not kept apart
        (None, "sub.www.example.org", False),
        (None, "example.org", False),
        (None, "evil.test", False),
        ("www.example.org", "sub.www.example.org", True),
        ("example.org", "example.org", True),
        (".Example.ORG", "other.example.org", True),
        ("example.org", "notexample.org", False),
        ("example.org", "example.org.evil.test", False),
        ("sub.www.example.org", "sub.www.example.org", False),  # from a parent for a child
        ("other.example.org", "other.example.org", False),
        ("xample.org", "www.example.org", False),
        ("org", "example.org", False),
        ("org", "www.example.org", False),
        (".", "www.example.org", True),  # says nothing
    ],
)
def test_a_cookie_goes_to_its_host_or_within_its_domain(domain: str | None, to: str, goes: bool) -> None:
    field = "a=b; Path=/" + ("" if domain is None else f"; Domain={domain}")

    assert (sent(field, to=f"http://{to}/") == "a=b") is goes


@pytest.mark.parametrize(
    ("host", "domain", "to", "goes"),
    [
        ("shop.co.uk", "co.uk", "other.co.uk", False),
        ("shop.co.uk", "co.uk", "shop.co.uk", False),
        ("shop.co.uk", "shop.co.uk", "www.shop.co.uk", True),
        ("co.uk", "co.uk", "shop.co.uk", False),
        ("co.uk", "co.uk", "co.uk", True),
        ("localhost", "localhost", "localhost", True),
        ("localhost", "localhost", "a.localhost", False),
        ("www.t.co", "t.co", "t.co", True),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "0.0.1", "127.0.0.1", False),
        ("127.0.0.1", "0.0.1", "7.0.0.1", False),
        ("[::1]", "::1", "[::1]", True),
    ],
)
def test_shared_domains_get_no_cookies(host: str, domain: str, to: str, goes: bool) -> None:
    """Protects ``_SUFFIX`` and ``_ADDRESS``."""
    assert (sent(f"a=b; Domain={domain}", at=f"http://{host}/", to=f"http://{to}/") == "a=b") is goes


@pytest.mark.parametrize(
    ("path", "to", "goes"),
    [
        (None, "/a/c", True),  # the default: the folder of the request's path
        (None, "/a", True),
        (None, "/ab", False),
        (None, "/", False),
        ("/a", "/a", True),
        ("/a", "/a/b", True),
        ("/a", "/a?b", True),
        ("/a", "/ab", False),
        ("/a/", "/a/b", True),
        ("/a/", "/a", False),
        ("/", "/x", True),
        ("x", "/a/x", True),  # no absolute path: the default
        ("x", "/x", False),
    ],
)
def test_a_cookie_is_sent_below_its_path(path: str | None, to: str, goes: bool) -> None:
    field = "a=b" if path is None else f"a=b; Path={path}"

    assert (sent(field, to=f"http://www.example.org{to}") == "a=b") is goes


@pytest.mark.parametrize(
    ("field", "at", "to", "goes"),
    [
        ("a=b; Secure", "https", "https", True),
        ("a=b; Secure", "https", "http", False),
        ("a=b; Secure", "http", "https", False),
        ("a=b", "https", "http", True),
        ("__Secure-a=b; Secure", "https", "https", True),
        ("__Secure-a=b", "https", "https", False),
        ("__Host-a=b; Secure; Path=/", "https", "https", True),
        ("__host-a=b; Secure; Path=/; Domain=example.org", "https", "https", False),
        ("__Host-a=b; Secure; Path=/a", "https", "https", False),
        ("__Host-a=b; Path=/", "https", "https", False),
    ],
)
def test_a_secure_cookie_is_set_and_sent_over_tls_only(field: str, at: str, to: str, goes: bool) -> None:
    came = sent(field, at=f"{at}://www.example.org/a/", to=f"{to}://www.example.org/a/")

    assert (came == field.partition(";")[0]) is goes


def test_a_hop_without_tls_cannot_hide_a_secure_cookie() -> None:
    jar = CookieJar()
    jar.store(["id=good; Secure; Domain=example.org"], parsed("https://www.example.org/"), NOW)

    jar.store(["id=evil; Domain=example.org", "id=evil", "id=evil; Path=/a", "other=1"], parsed(HERE), NOW)

    assert jar.field_for(parsed("https://www.example.org/a/"), NOW) == "other=1; id=good"


# ----------------------------------------------------------------------------------------------------- how long


@pytest.mark.parametrize(
    ("lasts", "after", "goes"),
    [
        ("Max-Age=10", 9.0, True),
        ("Max-Age=10", 10.0, False),
        ("Max-Age=0", 0.0, False),
        ("Max-Age=-5", 0.0, False),
        ("Max-Age=" + "9" * 900, 1.0, True),
        ("Max-Age=10; Expires=Thu, 01 Jan 1970 00:00:00 GMT", 9.0, True),
        ("Expires=Tue, 14 Nov 2023 22:13:25 GMT", 4.0, True),  # five seconds after NOW
        ("Expires=Tue, 14 Nov 2023 22:13:25 GMT", 5.0, False),
        ("Expires=Thu, 01-Jan-70 00:00:10 GMT", 0.0, False),
        ("Expires=Sun Nov  6 08:49:37 2050", 0.0, True),
        ("Expires=1 jan 69 1:2:3", 0.0, True),
        ("Expires=31 Feb 2020 00:00:00", 0.0, True),  # none that there is: as long as the attempt
        ("Expires=1 Jan 1600 00:00:00", 0.0, True),
        ("Expires=1 Jan 2020 24:00:00", 0.0, True),
        ("Expires=1 Jan 2020", 0.0, True),
    ],
)
def test_a_cookie_lasts_as_long_as_it_says(lasts: str, after: float, goes: bool) -> None:
    assert (sent(f"a=b; {lasts}", after=after) == "a=b") is goes


def test_a_cookie_is_replaced_in_place_and_deleted() -> None:
    jar = CookieJar()
    jar.store(["a=1", "b=2", "a=3"], parsed(HERE), NOW)
    replaced = jar.field_for(parsed(HERE), NOW)

    jar.store(["a=; Max-Age=0"], parsed(HERE), NOW)

    assert (replaced, jar.field_for(parsed(HERE), NOW)) == ("a=3; b=2", "b=2")


def test_longer_paths_come_first() -> None:
    assert sent("a=1; Path=/", "b=2; Path=/a", "c=3; Path=/", "d=4; Path=/a") == "b=2; d=4; a=1; c=3"


# ----------------------------------------------------------------------------------------------------- how much


def test_the_oldest_of_too_many_are_dropped() -> None:
    jar = CookieJar()
    for start in range(0, 3 * MOST_COOKIES, MOST_COOKIES):
        jar.store([f"c{start + number}={number}" for number in range(MOST_COOKIES)], parsed(HERE), NOW)

    names = [pair.partition("=")[0] for pair in jar.field_for(parsed(HERE), NOW).split("; ")]

    assert names == [f"c{2 * MOST_COOKIES + number}" for number in range(MOST_COOKIES)]


def test_one_response_sets_no_more_than_are_kept() -> None:
    first = sent(*(f"c{number}={number}" for number in range(10_000))).split("; ")

    assert (len(first), first[0]) == (MOST_COOKIES, "c0=0")


def test_a_cookie_that_is_too_long_is_ignored() -> None:
    fits = "a=" + "b" * (LONGEST_COOKIE - 1)

    assert sent(fits) == fits
    assert sent(fits + "b") == ""


def test_no_more_is_sent_than_servers_accept() -> None:
    large = [f"{name}={'x' * 4000}" for name in "abc"]

    field = sent(*large, "d=small")

    assert field == f"{large[0]}; {large[1]}; d=small"
    assert len(field) <= LONGEST_FIELD


# ---------------------------------------------------------------------------------------- beside the user's own


@pytest.mark.parametrize(
    ("own", "cookies", "lines"),
    [
        ((), "", ()),
        (("X-Key: 1",), "", ("X-Key: 1",)),
        (("cookie: a=1",), "", ("cookie: a=1",)),
        ((), "a=1; b=2", ("Cookie: a=1; b=2",)),
        (("X-Key: 1",), "a=1", ("X-Key: 1", "Cookie: a=1")),
        (("COOKIE: mine=1", "X-Key: 1"), "a=1", ("X-Key: 1", "Cookie: mine=1; a=1")),
        (("Cookie: a=mine;  b=2",), "b=theirs; c=3", ("Cookie: a=mine;  b=2; c=3",)),
        (("Cookie: a=mine", "Cookie: b=2"), "a=theirs", ("Cookie: a=mine; b=2",)),
        (("Cookie:",), "a=1", ("Cookie: a=1",)),
    ],
)
def test_the_users_own_cookies_take_precedence(own: tuple[str, ...], cookies: str, lines: tuple[str, ...]) -> None:
    assert with_cookies(own, cookies) == lines
