"""A line of a list becomes a URL to fetch and what its body must be, a refusal, or nothing.

Which line a test protects is proved by ``python -m tests.mutants``: with that line changed, the test fails.
"""

from __future__ import annotations

import pytest

from contract.urls.expected import Expected
from contract.urls.lines import LONGEST_URL, RefusedUrl, intake, parse
from tests.support.lines import accepted, entry, md5, refusal

SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
MD5 = "098f6bcd4621d373cade4e832627b4f6"


# ------------------------------------------------------------------------------------------------------------- lines


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\n", b"\r\n", b" \t \r\n", b"# https://example.org/", b"  #", b"\t#a\n", b"#" + b"a" * 9_000_000,
        b"#\xff\0",
    ],
    ids=lambda raw: ascii(raw)[:40],
)  # fmt: skip
def test_blank_lines_and_comments_are_skipped(raw: bytes) -> None:
    assert intake(raw, line=1) is None
    assert intake(raw, line=7) is None


@pytest.mark.parametrize("before", [b"", b" ", b"\t \t"])
@pytest.mark.parametrize("after", [b"", b"\n", b"\r\n", b" \r\n", b"\t\n", b"\r", b"\r\r\n"])
def test_surrounding_blanks_are_trimmed(before: bytes, after: bytes) -> None:
    read = entry(before + b"https://twitter.com" + after)

    assert (read.url, read.name) == ("https://twitter.com", "be8b09f7f1f66235a9c91986952483f0")
    assert (read.target, read.expect) == ("https://twitter.com/", None)


def test_a_byte_order_mark_is_dropped_from_the_first_line_only() -> None:
    marked = b"\xef\xbb\xbfhttps://twitter.com\r\n"

    assert entry(marked, line=1).url == "https://twitter.com"
    assert "byte order mark" in refusal(marked, line=2).reason
    assert intake(b"\xef\xbb\xbf\r\n", line=1) is None
    assert intake(b"\xef\xbb\xbf# a comment", line=1) is None


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"http://example.org/\xff", "not UTF-8"),
        (b"http://example.org/\xc0\xaf", "not UTF-8"),
        (b"http://example.org/\xed\xa0\x80", "not UTF-8"),
        ("http://example.org/".encode("utf-16"), "is UTF-16"),
        ("http://example.org/".encode("utf-16-le"), "is UTF-16"),
        (b"http://example.org/\0", "NUL"),
        (b"http://example.org/a\x0b", "U+000B"),
        (b"http://example.org/one\rhttp://example.org/two", "end with CR alone"),
    ],
)
def test_bytes_that_are_not_text_are_refused(raw: bytes, why: str) -> None:
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


def test_the_length_of_a_line_is_checked_first() -> None:
    """Protects the first check of the length: 9 MB are not decoded and split only to be refused."""
    for rest in (b"\xff", b" a" * 4_500_000, b" size=1"):
        assert "longer than" in refusal(b"http://example.org/" + b"a" * 20_000 + rest).reason


def test_a_refused_line_can_be_shown_on_a_terminal() -> None:
    raw = "ftp://a/\x1b[2J\x07\u202egpj.exe\u2066\x9b\0".encode() + b"\xff"

    shown = refusal(raw).raw

    assert shown == "ftp://a/\ufffd[2J\ufffd\ufffdgpj.exe\ufffd\ufffd\ufffd\ufffd"


def test_text_is_read_as_utf8_bytes() -> None:
    url = "http://b\u00fccher.example/\u00e4"

    assert intake(url, line=2) == intake(url.encode(), line=2)
    assert entry(url).name == md5(url.encode())


# ------------------------------------------------------------------------------------------------------- expectations


def test_a_line_may_state_expectations() -> None:
    read = entry(f"http://example.org/a\tsha256={SHA256.upper()}  MD5={MD5} size=0042\r\n")

    assert (read.url, read.name) == ("http://example.org/a", md5(b"http://example.org/a"))
    assert read.expect == Expected(sha256=SHA256, md5=MD5, size=42)


@pytest.mark.parametrize(
    ("line", "url", "expect"),
    [
        ("http://h/a size=0", "http://h/a", Expected(size=0)),
        ("http://h/a b.jpg", "http://h/a b.jpg", None),
        ("http://h/a b.jpg size=1", "http://h/a b.jpg", Expected(size=1)),
        ("http://h/a?q size=1 b", "http://h/a?q size=1 b", None),
        ("http://h/a?q size=1 b size=2", "http://h/a?q size=1 b", Expected(size=2)),
        ("http://h/a?q other=1", "http://h/a?q other=1", None),
        ("http://h/a?q other=1 size=2", "http://h/a?q other=1", Expected(size=2)),
        ("http://h/a?q size = 1", "http://h/a?q size = 1", None),
        ("http://h/a?q \u017fize=1", "http://h/a?q \u017fize=1", None),  # long s
        ("http://h/?size=1", "http://h/?size=1", None),
        ("http://h/a%20size=1", "http://h/a%20size=1", None),
        ("http://h/a#f size=1", "http://h/a#f", Expected(size=1)),
        ("http://h/a  b/", "http://h/a  b/", None),
    ],
)
def test_expectations_are_at_the_end_of_the_line(line: str, url: str, expect: Expected | None) -> None:
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
def test_an_impossible_expectation_is_refused(written: str, why: str) -> None:
    refused = refusal(f"http://example.org/a {written}")

    assert why in refused.reason
    assert refused.name == md5(b"http://example.org/a")


def test_a_line_of_only_expectations_has_no_url() -> None:
    assert "start with" in refusal("size=1 size=2").reason
