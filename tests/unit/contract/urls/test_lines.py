"""A URL goes on the wire as a browser would send it, or is refused with what to do.

Which line a test protects is proved by ``python -m tests.mutants``: with that line changed, the test fails.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.urls.lines import BAD_PORTS, LONGEST_URL, Entry, Parsed, RefusedUrl, intake, is_ordinary, parse
from contract.urls.naming import output_digest
from contract.urls.shapes import fault_of_rest, shape_of
from tests.support.lines import accepted, refusal

# ---------------------------------------------------------------------------------------- ordinary lists are not hurt

ORDINARY = {
    # as they are
    "https://example.org/": "https://example.org/",
    "https://example.org/a/b.jpg?x=1&y=2;z=%20": "https://example.org/a/b.jpg?x=1&y=2;z=%20",
    "http://example.org:8080/a": "http://example.org:8080/a",
    "https://example.org:443x/": None,
    "http://localhost:8000/x": "http://localhost:8000/x",
    "https://r3---sn-4g5e6nsz.googlevideo.example/v": "https://r3---sn-4g5e6nsz.googlevideo.example/v",
    "https://my_bucket.s3.example.com/key": "https://my_bucket.s3.example.com/key",
    "https://-odd-.example.com/": "https://-odd-.example.com/",
    "https://example.org/~user/(a)_b,c;d=e!*'$&+@:/[x]": "https://example.org/~user/(a)_b,c;d=e!*'$&+@:/[x]",
    "https://example.org/caf%C3%A9/%E2%82%ac": "https://example.org/caf%C3%A9/%E2%82%ac",
    "https://example.org/100%/x%2": "https://example.org/100%/x%2",
    "https://example.org/a%2Fb%00%0a": "https://example.org/a%2Fb%00%0a",
    "https://example.org//a//b": "https://example.org//a//b",
    "https://example.org/.well-known/x": "https://example.org/.well-known/x",
    "https://example.org/a.../b..c/..d": "https://example.org/a.../b..c/..d",
    "https://example.org/?u=http://other.example/../x": "https://example.org/?u=http://other.example/../x",
    "https://example.org/a?b?c": "https://example.org/a?b?c",
    "https://1.example.org/": "https://1.example.org/",
    "https://example.0x1g/": "https://example.0x1g/",
    # given another form
    "HTTPS://EXAMPLE.ORG/ABC": "https://example.org/ABC",
    "https://example.org": "https://example.org/",
    "https://example.org?q": "https://example.org/?q",
    "https://example.org#f": "https://example.org/",
    "https://example.org/a#f?g": "https://example.org/a",
    "https://example.org/a?b#/c d\\": "https://example.org/a?b",
    "https://example.org:443/": "https://example.org/",
    "http://example.org:80/": "http://example.org/",
    "http://example.org:443/": "http://example.org:443/",
    "http://example.org:/a": "http://example.org/a",
    "http://example.org:0008080/a": "http://example.org:8080/a",
    "http://example.org:00000000000000080/a": "http://example.org/a",
    "http://example.org/a/./b/../c": "http://example.org/a/c",
    "http://example.org/..": "http://example.org/",
    "http://example.org/a/..": "http://example.org/",
    "http://example.org/a/.": "http://example.org/a/",
    "http://example.org/../../a": "http://example.org/a",
    "http://example.org/a//../b": "http://example.org/a/b",
    "http://example.org/.//a": "http://example.org//a",
    "http://example.org/%2e%2e/a": "http://example.org/%2e%2e/a",
    'http://example.org/a b"<>^`{|}': "http://example.org/a%20b%22%3C%3E%5E%60%7B%7C%7D",
    "http://example.org/a\\b?c\\d": "http://example.org/a%5Cb?c%5Cd",
    "http://example.org/\u00e4?\u20ac=\U0001f600": "http://example.org/%C3%A4?%E2%82%AC=%F0%9F%98%80",
    "http://example.org/\u00e4%20%zz%": "http://example.org/%C3%A4%20%zz%",
    "http://example.org/\u00a0\u3000": "http://example.org/%C2%A0%E3%80%80",
    # international names
    "http://b\u00fccher.example/": "http://xn--bcher-kva.example/",
    "http://B\u00dcCHER.example/": "http://xn--bcher-kva.example/",
    "http://bu\u0308cher.example/": "http://xn--bcher-kva.example/",  # two code points for one letter
    "http://b%C3%BCcher.example/": "http://xn--bcher-kva.example/",
    "http://xn--bcher-kva.example/": "http://xn--bcher-kva.example/",
    "http://fa\u00df.example/": "http://xn--fa-hia.example/",  # not fass: non-transitional
    "http://\u4f8b\u3048.\u30c6\u30b9\u30c8/": "http://xn--r8jz45g.xn--zckzah/",
    "http://\u4f8b\u3048\u3002\u30c6\u30b9\u30c8/": "http://xn--r8jz45g.xn--zckzah/",
    "http://\u0645\u062b\u0627\u0644.\u0625\u062e\u062a\u0628\u0627\u0631/": "http://xn--mgbh0fb.xn--kgbechtv/",
    "http://\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444/": "http://xn--e1afmkfd.xn--p1ai/",
    "http://\u2603.example/": "http://xn--n3h.example/",  # emoji domains exist
    "http://i\u2764.example/": "http://xn--i-7iq.example/",
    "http://xn--i-7iq.example/": "http://xn--i-7iq.example/",
    "http://example.com\uff0fx/": None,
    # trailing dots
    "http://example.org./a": "http://example.org./a",
    "http://EXAMPLE.org.:8080/a": "http://example.org.:8080/a",
    # addresses
    "http://93.184.215.14/a": "http://93.184.215.14/a",
    "http://93.184.215.14./a": "http://93.184.215.14/a",
    "http://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/a": "http://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/a",
    "http://[2001:DB8:0:0::1]:8080": "http://[2001:db8::1]:8080/",
    "http://[::ffff:7f00:1]/": "http://[::ffff:7f00:1]/",
    "http://[::ffff:127.0.0.1]/": "http://[::ffff:7f00:1]/",  # the same in Python 3.11 and 3.13
    "http://2130706433/": "http://127.0.0.1/",
    "http://0x7f.1/": "http://127.0.0.1/",
    "http://017700000001/": "http://127.0.0.1/",
    "http://127.1/": "http://127.0.0.1/",
    "http://0/": "http://0.0.0.0/",
    "http://0x/": "http://0.0.0.0/",
}


@pytest.mark.parametrize(("url", "target"), ORDINARY.items())
def test_a_url_is_sent_as_by_a_browser(url: str, target: str | None) -> None:
    parsed = parse(url)

    assert (parsed.target if isinstance(parsed, Parsed) else None) == target


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port"),
    [
        ("http://example.org", "http", "example.org", 80),
        ("https://Example.ORG./", "https", "example.org", 443),
        ("https://example.org:8443/", "https", "example.org", 8443),
        ("HTTP://[2001:DB8::1]:8080/", "http", "2001:db8::1", 8080),
        ("http://0X7F.1/", "http", "127.0.0.1", 80),
        ("http://B\u00dcCHER.example./", "http", "xn--bcher-kva.example", 80),
    ],
)
def test_the_host_has_one_spelling(url: str, scheme: str, host: str, port: int) -> None:
    parsed = accepted(url)

    assert (parsed.scheme, parsed.host, parsed.port) == parsed.origin == (scheme, host, port)


def test_a_url_may_have_16_kib() -> None:
    start = "https://example.org/?q="
    longest = start + "a" * (LONGEST_URL - len(start))

    assert accepted(longest).target == longest
    assert refusal(longest + "a").reason == f"The URL is longer than {LONGEST_URL} bytes; shorten it."
    assert "encoded" in refusal(start + "\u00e4" * 7000).reason


# ------------------------------------------------------------------------------------------------- what is refused

REFUSED = {
    "example.org/a": "start with http:// or https://",
    "/etc/passwd": "start with http:// or https://",
    "//example.org/a": "start with http:// or https://",
    "://example.org/": "start with http:// or https://",
    "example.org:8080/a": "start with http:// or https://",
    "ftp://example.org/a": "Only http:// and https://",
    "file:///etc/hostname": "Only http:// and https://",
    "dict://127.0.0.1:6379/info": "Only http:// and https://",
    "javascript:alert(1)": "Only http:// and https://",
    "httpss://example.org/": "Only http:// and https://",
    "http+unix://%2fvar%2frun%2fa.sock/": "Only http:// and https://",
    "http\u017f://example.org/": "start with http:// or https://",  # long s, which equals s where case is ignored
    "http:example.org": "names no host",
    "http:/example.org": "names no host",
    "https:\\\\example.org": "names no host",
    "http://": "names no host",
    "http:///a": "names no host",
    "http://?a": "names no host",
    "http://#a": "names no host",
    "http://:80/": "names no host",
    "http://user@example.org/": "user name or password",
    "http://user:secret@example.org/": "user name or password",
    "http://@example.org/": "user name or password",
    "http://example.org:80@127.0.0.1/": "user name or password",
    "http://a@b@example.org/": "user name or password",
    "http://evil\\@example.org/": "backslash",
    "http://example.org\\a/b": "backslash",
    "http://example.org\\": "backslash",
    "http://example.org:a/": "host or port is malformed",
    "http://example.org:8 0/": "host or port is malformed",
    "http://example.org:-80/": "host or port is malformed",
    "http://example.org:+80/": "host or port is malformed",
    "http://example.org:\u0661/": "host or port is malformed",
    "http://a:b:80/": "host or port is malformed",
    "http://::1/": "host or port is malformed",
    "http://[::1/": "host or port is malformed",
    "http://::1]/": "host or port is malformed",
    "http://[::1]80/": "host or port is malformed",
    "http://example.org:0/": "between 1 and 65535",
    "http://example.org:65536/": "between 1 and 65535",
    "http://example.org:" + "9" * 5000 + "/": "longer than a name",
    "http://example.org:99999999999999999999/": "between 1 and 65535",
    "http://[]/": "do not hold an IPv6 address",
    "http://[::1%25eth0]/": "do not hold an IPv6 address",
    "http://[::1%eth0]/": "do not hold an IPv6 address",
    "http://[fe80::1::2]/": "do not hold an IPv6 address",
    "http://[127.0.0.1]/": "do not hold an IPv6 address",
    "http://[v1.a]/": "do not hold an IPv6 address",
    "http://256.256.256.256/": "is not an IPv4 address",
    "http://256.2.3.4/": "is not an IPv4 address",
    "http://1.256.3/": "is not an IPv4 address",
    "http://1.2.3.4.5/": "is not an IPv4 address",
    "http://1.2.3.4.0/": "is not an IPv4 address",
    "http://127.0.0.08/": "is not an IPv4 address",
    "http://4294967296/": "is not an IPv4 address",
    "http://1.2.65536/": "is not an IPv4 address",
    "http://example.123/": "is not an IPv4 address",
    "http://example.0x1f/": "is not an IPv4 address",
    "http://./": "not a name or address",
    "http://a..b/": "not a name or address",
    "http://.a/": "not a name or address",
    "http://a../": "not a name or address",
    "http://a b/": "not a name or address",
    "http://a*b/": "not a name or address",
    "http://a%20b/": "not a name or address",
    "http://a%00b/": "not a name or address",
    "http://a%2fb/": "not a name or address",
    "http://a%40b/": "not a name or address",
    "http://a%/": "not a name or address",
    "http://a%25/": "not a name or address",
    "http://a\uff20b/": "not a name or address",  # fullwidth @
    "http://a\u2100b/": "not a name or address",  # one sign that maps to a/c
    "http://\u00ad/": "not a name or address",  # nothing but a soft hyphen
    "http://" + "a" * 64 + ".example/": "not a name or address",
    "http://" + "a." * 127 + "example/": "longer than the 253",
    "http://" + "\u00e4" * 1001 + "/": "longer than the 253",
    "http://" + "a" * 2000 + "/": "longer than a name",
    "http://a%ffb/": "not UTF-8",
    "http://a\ufffdb/": "international name",
    "http://a\u200bb\u202e/": "international name",
    "http://\u0300a.example/": "international name",  # starts with a combining mark
    "http://a\u05d0b.example/": "international name",  # mixes directions
    "http://" + "\u00e4" * 70 + ".example/": "international name",
    "http://xn--/": "xn--",
    "http://xn--a/": "xn--",
    "http://xn--abc-/": "xn--",
    "http://xn--99999999.example/": "xn--",
    "http://example.org/\0": "NUL",
    "http://exam\0ple.org/": "NUL",
    "http://example.org/\x01": "U+0001",
    "http://example.org/a\rb": "U+000D",
    "http://example.org/a\nb": "U+000A",
    "http://example.org/a\tb": "U+0009",
    "http://exam\tple.org/": "U+0009",
    "http://example.org/\x7f": "U+007F",
    "http://example.org/\x85": "U+0085",
    "http://example.org/#\x1b[31m": "U+001B",
    "\ufeffhttp://example.org/": "start with http:// or https://",
}


@pytest.mark.parametrize(("url", "why"), REFUSED.items(), ids=lambda text: ascii(text)[:50] + str(len(text)))
def test_a_url_that_is_not_fetched_is_refused_with_what_to_do(url: str, why: str) -> None:
    refused = parse(url)

    assert isinstance(refused, RefusedUrl), refused
    assert why in refused.reason
    said = shape_of(url) or (fault_of_rest(url) if "\t" in url else None)  # what the line looks like says more
    assert refusal(url).reason == (said or refused.reason)


def test_a_reason_never_quotes_the_url() -> None:
    """Reasons appear in logs; a URL may be a secret."""
    parsed = [parse(f"{url}?token=canary" if url.startswith("http://") else f"{url}canary") for url in REFUSED]
    reasons = [each.reason for each in parsed if isinstance(each, RefusedUrl)]

    assert not [reason for reason in reasons if re.search("canary|secret|passwd", reason)]


@pytest.mark.parametrize("port", sorted(BAD_PORTS - {0}))
def test_a_port_of_another_service_is_refused(port: int) -> None:
    for url in (f"http://example.org:{port}/", f"https://[2001:db8::1]:0{port}/"):
        refused = parse(url)
        assert isinstance(refused, RefusedUrl)
        assert f"Port {port} belongs" in refused.reason


def test_the_bad_ports_are_those_of_browsers_and_of_services_beside_workers() -> None:
    ours = {2375, 3306, 5432, 5672, 6379, 9200, 11211, 27017}

    assert ours < BAD_PORTS
    assert len(BAD_PORTS - ours) == 83
    assert not BAD_PORTS & {80, 443, 8000, 8080, 8443, 3000, 5000, 9000}


# ---------------------------------------------------------------------------------------- the short way

LABELS = st.sampled_from(
    [
        "a", "www", "xn--mnchen-3ya", "xn--", "x", "n--a", "0x7f", "127", "1", "-", "_", "a" * 63, "a" * 64, "A", "%41",
        "",
    ]
)  # fmt: skip
PARTS = st.sampled_from(
    [
        "/", "/.", "/..", "a", "?", "#", "%", "%zz", " ", "\t", "\\", ":", ":80", ":25", "@", "[", "é", "\r", "\0",
        "/a b",
    ]
)  # fmt: skip


@given(
    st.sampled_from(["http://", "https://", "HTTP://", "ftp://", "http:/", "#http://", ""]),
    st.lists(LABELS, min_size=1, max_size=6),
    st.lists(PARTS, max_size=5),
)
def test_the_fast_path_judges_lines_like_the_slow_one(start: str, labels: list[str], rest: list[str]) -> None:
    """Guards is_ordinary: a line it accepts is an entry, whole, without being parsed."""
    raw = (start + ".".join(labels) + "".join(rest)).encode()
    if is_ordinary(raw):
        read = intake(raw, line=2)
        assert isinstance(read, Entry)
        assert (read.url.encode(), read.expect, bytes.fromhex(read.name)) == (raw, None, output_digest(raw))


@pytest.mark.parametrize(
    "line",
    [
        "http://a", "https://www.example.org/a/../b?x=1&y=%20", f"https://{'a' * 63}.example/", "http://a_b.1.c2/[x]",
        "http://127.0.0.1:8080/x", "https://www.Example.org:8443/x",
    ],
)  # fmt: skip
def test_almost_every_line_takes_the_fast_path(line: str) -> None:
    assert is_ordinary(line.encode())


@pytest.mark.parametrize(
    "line",
    [
        f"http://{'a.' * 126}aa/", f"http://{'a.' * 126}aa", f"http://a/{'x' * LONGEST_URL}", "http://xn--/",
        "http://a.0x1/", f"http://127.0.0.1/{'x' * LONGEST_URL}", "http://a:6379/x", "http://127.0.0.256/x",
        f"http://1/./{'x' * (LONGEST_URL - 11)}",
    ],
)  # fmt: skip
def test_overlong_and_refused_lines_never_take_the_fast_path(line: str) -> None:
    assert not is_ordinary(line.encode())
