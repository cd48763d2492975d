"""What holds for every line and every URL, whatever is in it.

Which line a test protects is proved by ``python -m tests.mutants``: with that line changed, the test fails.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address

from hypothesis import assume, example, given
from hypothesis import strategies as st

from contract.urls.lines import LONGEST_URL, Entry, Parsed, Refusal, RefusedUrl, intake, parse
from tests.support.lines import accepted, md5

HOSTS = st.sampled_from(
    [
        "example.org", "EXAMPLE.org.", "b\u00fccher.example", "[::1]", "127.1", "h:8080", "a@b", "a\\b", "\u2603",
        "xn--a", "",
    ]
)  # fmt: skip
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
def test_any_line_can_be_read(raw: bytes, line: int) -> None:
    """A job's accounting relies on it: a line is an entry, a refusal or nothing, never an exception."""
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
    assume(not re.search(r"(?i)[ \t](sha256|md5|size)=\S*$", url))
    exact = url.encode("utf-8", "surrogatepass").strip(b" \t\r\n")
    read = intake(b" \t" + exact + b"\r\n", line=2)

    if read is not None:
        assert read.name == md5(exact)


@given(URLS)
@example("http://h/\u00e4 b/../c?d e#f")
@example("http://h/.//../..//x")
@example("http://\uff11\uff12\uff17.1./")
def test_the_sent_url_is_plain_and_parses_to_itself(url: str) -> None:
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
def test_any_number_as_host_is_the_address_it_stands_for(value: int, form: str) -> None:
    assert accepted(f"http://{form.format(value)}/").host == str(IPv4Address(value))


@given(URLS, st.text("\t\n\r\x00\x0b\x0c\x7f\x85", min_size=1, max_size=1), st.integers(0, 50))
def test_a_control_character_anywhere_inside_is_refused(url: str, control: str, place: int) -> None:
    """Protects the search for control characters: browsers drop tabs and line feeds, which can hide a host."""
    start = url[:place] or "http://h/"

    assert isinstance(parse(f"{start}{control}x"), RefusedUrl)
