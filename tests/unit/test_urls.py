"""A line of a list becomes a URL to fetch, a refusal that says what to do, or nothing.

Which line a test protects is proved by ``python -m tests.mutants``: with that line changed, the test fails.
"""

from __future__ import annotations

import hashlib
import re
from ipaddress import IPv4Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.batches import Expected
from contract.urls import BAD_PORTS, LONGEST_URL, Entry, Parsed, Refusal, RefusedUrl, intake, parse

SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
MD5 = "098f6bcd4621d373cade4e832627b4f6"


def accepted(url: str) -> Parsed:
    parsed = parse(url)
    assert isinstance(parsed, Parsed), parsed
    return parsed


def entry(raw: bytes | str, *, line: int = 2) -> Entry:
    read = intake(raw, line=line)
    assert isinstance(read, Entry), read
    return read


def refusal(raw: bytes | str, *, line: int = 2) -> Refusal:
    read = intake(raw, line=line)
    assert isinstance(read, Refusal), read
    return read


def md5(url: bytes) -> str:
    return hashlib.md5(url).hexdigest()


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
def test_a_url_goes_on_the_wire_as_a_browser_would_send_it(url: str, target: str | None) -> None:
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


def test_a_long_query_is_kept_and_16_kib_is_the_end() -> None:
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
    "http://[]/": "no IPv6 address",
    "http://[::1%25eth0]/": "no IPv6 address",
    "http://[::1%eth0]/": "no IPv6 address",
    "http://[fe80::1::2]/": "no IPv6 address",
    "http://[127.0.0.1]/": "no IPv6 address",
    "http://[v1.a]/": "no IPv6 address",
    "http://256.256.256.256/": "no IPv4 address",
    "http://256.2.3.4/": "no IPv4 address",
    "http://1.256.3/": "no IPv4 address",
    "http://1.2.3.4.5/": "no IPv4 address",
    "http://1.2.3.4.0/": "no IPv4 address",
    "http://127.0.0.08/": "no IPv4 address",
    "http://4294967296/": "no IPv4 address",
    "http://1.2.65536/": "no IPv4 address",
    "http://example.123/": "no IPv4 address",
    "http://example.0x1f/": "no IPv4 address",
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
    assert refusal(url).reason == refused.reason


def test_a_reason_never_quotes_the_url() -> None:
    """Reasons reach logs; a URL may be a secret."""
    for url in REFUSED:
        parsed = parse(url + "?token=canary" if url.startswith("http://") else url + "canary")
        assert not isinstance(parsed, RefusedUrl) or not re.search("canary|secret|passwd", parsed.reason)


@pytest.mark.parametrize("port", sorted(BAD_PORTS - {0}))
def test_a_port_of_another_service_is_refused(port: int) -> None:
    for url in (f"http://example.org:{port}/", f"https://[2001:db8::1]:0{port}/"):
        refused = parse(url)
        assert isinstance(refused, RefusedUrl)
        assert f"Port {port} belongs" in refused.reason


def test_the_bad_ports_are_those_of_browsers_and_of_what_stands_beside_workers() -> None:
    ours = {2375, 3306, 5432, 5672, 6379, 9200, 11211, 27017}

    assert ours < BAD_PORTS
    assert len(BAD_PORTS - ours) == 83
    assert not BAD_PORTS & {80, 443, 8000, 8080, 8443, 3000, 5000, 9000}


# ------------------------------------------------------------------------------------------------------------- lines


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"\r\n",
        b" \t \r\n",
        b"# https://example.org/",
        b"  #",
        b"\t#a\n",
        b"#" + b"a" * 9_000_000,
        b"#\xff\0",
    ],
    ids=lambda raw: ascii(raw)[:40],
)
def test_blank_lines_and_comments_ask_for_nothing(raw: bytes) -> None:
    assert intake(raw, line=1) is None
    assert intake(raw, line=7) is None


@pytest.mark.parametrize("before", [b"", b" ", b"\t \t"])
@pytest.mark.parametrize("after", [b"", b"\n", b"\r\n", b" \r\n", b"\t\n", b"\r", b"\r\r\n"])
def test_what_surrounds_a_url_is_no_part_of_it(before: bytes, after: bytes) -> None:
    read = entry(before + b"https://twitter.com" + after)

    assert (read.url, read.name) == ("https://twitter.com", "be8b09f7f1f66235a9c91986952483f0")
    assert (read.target, read.expect) == ("https://twitter.com/", None)


def test_a_byte_order_mark_is_dropped_from_the_first_line_only() -> None:
    marked = b"\xef\xbb\xbfhttps://twitter.com\r\n"

    assert entry(marked, line=1).url == "https://twitter.com"
    assert "start with" in refusal(marked, line=2).reason
    assert intake(b"\xef\xbb\xbf\r\n", line=1) is None
    assert intake(b"\xef\xbb\xbf# a comment", line=1) is None


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"http://example.org/\xff", "not UTF-8"),
        (b"http://example.org/\xc0\xaf", "not UTF-8"),
        (b"http://example.org/\xed\xa0\x80", "not UTF-8"),
        ("http://example.org/".encode("utf-16"), "not UTF-8"),
        ("http://example.org/".encode("utf-16-le"), "NUL"),
        (b"http://example.org/\0", "NUL"),
        (b"http://example.org/a\x0b", "U+000B"),
        (b"http://example.org/one\rhttp://example.org/two", "U+000D"),
    ],
)
def test_bytes_that_are_no_text_are_refused(raw: bytes, why: str) -> None:
    refused = refusal(raw)

    assert why in refused.reason
    assert refused.name == md5(raw)


def test_half_a_surrogate_pair_is_refused_too() -> None:
    assert "UTF-8" in refusal("http://example.org/\ud800").reason
    assert isinstance(parse("http://example.org/\ud800"), RefusedUrl)


def test_a_line_of_9_mb_is_one_short_refusal() -> None:
    raw = b"http://example.org/" + b"a" * 9_000_000

    refused = refusal(raw, line=17)

    assert refused.reason == f"The URL is longer than {LONGEST_URL} bytes; shorten it."
    assert refused.name == md5(raw)
    assert refused.line == 17
    assert refused.raw.startswith("http://example.org/aaa")
    assert refused.raw.endswith("... (9000019 bytes)")
    assert len(refused.raw) < 400


def test_how_long_a_line_is_comes_before_what_it_holds() -> None:
    """Protects the first look at the length: 9 MB are not decoded and split to be refused in the end."""
    for rest in (b"\xff", b" a" * 4_500_000, b" size=1"):
        assert "longer than" in refusal(b"http://example.org/" + b"a" * 20_000 + rest).reason


def test_a_refused_line_can_be_shown_on_a_terminal() -> None:
    raw = "ftp://a/\x1b[2J\x07\u202egpj.exe\u2066\x9b\0".encode() + b"\xff"

    shown = refusal(raw).raw

    assert shown == "ftp://a/\ufffd[2J\ufffd\ufffdgpj.exe\ufffd\ufffd\ufffd\ufffd"


def test_text_is_read_as_its_utf8_bytes() -> None:
    url = "http://b\u00fccher.example/\u00e4"

    assert intake(url, line=2) == intake(url.encode(), line=2)
    assert entry(url).name == md5(url.encode())


# ------------------------------------------------------------------------------------------------------- expectations


def test_a_line_may_say_what_the_body_must_be() -> None:
    read = entry(f"http://example.org/a\tsha256={SHA256.upper()}  MD5={MD5} size=0042\r\n")

    assert (read.url, read.name) == ("http://example.org/a", md5(b"http://example.org/a"))
    assert read.expect == Expected(sha256=SHA256, md5=MD5, size=42)


@pytest.mark.parametrize(
    ("line", "url", "expect"),
    [
        ("http://h/a size=0", "http://h/a", Expected(size=0)),
        ("http://h/a b", "http://h/a b", None),
        ("http://h/a b size=1", "http://h/a b", Expected(size=1)),
        ("http://h/a size=1 b", "http://h/a size=1 b", None),
        ("http://h/a size=1 b size=2", "http://h/a size=1 b", Expected(size=2)),
        ("http://h/a other=1", "http://h/a other=1", None),
        ("http://h/a other=1 size=2", "http://h/a other=1", Expected(size=2)),
        ("http://h/a size = 1", "http://h/a size = 1", None),
        ("http://h/a \u017fize=1", "http://h/a \u017fize=1", None),  # long s
        ("http://h/?size=1", "http://h/?size=1", None),
        ("http://h/a%20size=1", "http://h/a%20size=1", None),
        ("http://h/a#f size=1", "http://h/a#f", Expected(size=1)),
        ("http://h/a  b", "http://h/a  b", None),
    ],
)
def test_expectations_are_what_stands_at_the_end(line: str, url: str, expect: Expected | None) -> None:
    read = entry(line)

    assert (read.url, read.expect, read.name) == (url, expect, md5(url.encode()))
    assert read.target == accepted(url).target


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("sha256=", "64 hexadecimal"),
        (f"sha256={SHA256[:-1]}", "64 hexadecimal"),
        (f"sha256={SHA256}0", "64 hexadecimal"),
        (f"sha256={'g' * 64}", "64 hexadecimal"),
        (f"md5={SHA256}", "32 hexadecimal"),
        ("size=", "number of bytes"),
        ("size=-1", "number of bytes"),
        ("size=1.5", "number of bytes"),
        ("size=1MB", "number of bytes"),
        ("size=\u0661", "number of bytes"),
        ("size=" + "9" * 19, "number of bytes"),
        ("size=1 size=1", "twice"),
        (f"md5={MD5} MD5={MD5}", "twice"),
    ],
)
def test_an_expectation_nobody_could_meet_is_refused(written: str, why: str) -> None:
    refused = refusal(f"http://example.org/a {written}")

    assert why in refused.reason
    assert refused.name == md5(b"http://example.org/a")


def test_a_line_of_expectations_only_names_no_url() -> None:
    assert "start with" in refusal("size=1 size=2").reason


# --------------------------------------------------------------------------------------------------------- properties

HOSTS = st.sampled_from(
    [
        "example.org",
        "EXAMPLE.org.",
        "b\u00fccher.example",
        "[::1]",
        "127.1",
        "h:8080",
        "a@b",
        "a\\b",
        "\u2603",
        "xn--a",
        "",
    ]
)
URLS = st.one_of(
    st.text(),
    st.builds("{}://{}{}".format, st.sampled_from(["http", "https", "HTTP", "ftp"]), HOSTS, st.text()),
    st.builds("http://{}/{}".format, st.text(), st.text()),
    st.from_regex(r"https?://[a-z0-9.%\[\]:@\\-]{1,30}(/[ -~]{0,30})?", fullmatch=True),
)
LINES = st.one_of(
    st.binary(max_size=200),
    URLS.map(lambda url: url.encode("utf-8", "surrogatepass")),
    st.builds(
        "{}{}{}".format,
        URLS,
        st.sampled_from([" ", "\t", "  size=", " sha256=", " md5="]),
        st.text("0123456789abcdef "),
    ).map(lambda line: line.encode("utf-8", "surrogatepass")),
)


@given(LINES, st.integers(1, 3))
def test_any_line_is_read(raw: bytes, line: int) -> None:
    """The accounting of a job rests on it: a line is an entry, a refusal or nothing, never an exception."""
    read = intake(raw, line=line)

    if isinstance(read, Refusal):
        assert (read.line, len(read.name)) == (line, 32)
        assert re.fullmatch(r"[A-Za-z][ -~]*\.", read.reason)
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", read.raw)
    elif isinstance(read, Entry):
        assert read.name == md5(read.url.encode())
        assert raw.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n").startswith(read.url.encode())
        assert intake(read.target, line=2) == read._replace(
            url=read.target, name=md5(read.target.encode()), expect=None
        )


@given(URLS)
@example("http://h/\u00e4 b/../c?d e#f")
@example("http://[::ffff:1.2.3.4]:080/..")
def test_the_name_is_the_md5_of_the_trimmed_bytes_when_nothing_is_expected(url: str) -> None:
    exact = url.encode("utf-8", "surrogatepass").strip(b" \t\r\n")
    read = intake(b" \t" + exact + b"\r\n", line=2)

    if isinstance(read, Refusal) or (isinstance(read, Entry) and read.expect is None):
        assert read.name == md5(exact) or re.search(r"(?i)[ \t](sha256|md5|size)=\S*$", url)
    else:
        assert read is None or read.expect


@given(URLS)
@example("http://h/\u00e4 b/../c?d e#f")
@example("http://h/.//../..//x")
@example("http://\uff11\uff12\uff17.1./")
def test_what_goes_on_the_wire_is_plain_and_stays_as_it_is(url: str) -> None:
    parsed = parse(url)

    if isinstance(parsed, Parsed):
        assert re.fullmatch(r"https?://[a-z0-9._:\[\]-]+/[!-~]*", parsed.target)
        assert "#" not in parsed.target
        assert "\\" not in parsed.target
        assert len(parsed.target) <= LONGEST_URL
        assert parse(parsed.target) == parsed
        assert re.fullmatch(r"[a-z0-9._:-]*[a-z0-9_:-]", parsed.host)
        assert 0 < parsed.port < 65536


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"], exclude_characters='"<>\\^`{|}#?.')))
def test_a_path_without_anything_special_is_sent_as_it_is(path: str) -> None:
    assert accepted(f"http://example.org/{path}").target == f"http://example.org/{path}"


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{}", "{:#x}", "0{:o}", "{}.", "0X{:X}"]))
def test_any_number_is_the_address_it_stands_for(value: int, form: str) -> None:
    assert accepted(f"http://{form.format(value)}/").host == str(IPv4Address(value))


@given(URLS, st.text("\t\n\r\x00\x0b\x0c\x7f\x85", min_size=1, max_size=1), st.integers(0, 50))
def test_a_control_character_anywhere_inside_is_refused(url: str, control: str, place: int) -> None:
    """Protects the search for control characters: browsers drop tabs and line feeds, and so hide hosts."""
    start = url[:place] or "http://h/"

    assert isinstance(parse(f"{start}{control}x"), RefusedUrl)
