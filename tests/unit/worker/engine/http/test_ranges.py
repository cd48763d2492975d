"""Only an exact response, of the same strong version, continues a body."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.http.headers import Head
from worker.engine.http.ranges import Version, continues, from_record, range_fields, span_of, to_record, version_of

_VERSION = Version('"v1"', None, 100)


def _answer(status: int = 206, **changed: str | None) -> Head:
    fields: dict[str, str | None] = {"content-range": "bytes 40-99/100", "etag": '"v1"', "content-length": "60"}
    fields |= {name.replace("_", "-"): value for name, value in changed.items()}
    return Head.of(status, "1.1", {name: value for name, value in fields.items() if value is not None})


def test_the_exact_response_continues_a_body() -> None:
    assert continues(_answer(), _VERSION, 40)
    assert continues(_answer(content_range="bytes 40-49/100", content_length="10"), _VERSION, 40, 50)
    assert continues(_answer(content_length=None), _VERSION, 40)


@pytest.mark.parametrize(
    "answer",
    [
        _answer(200),
        _answer(content_range=None),
        _answer(content_range="bytes 39-99/100"),
        _answer(content_range="bytes 41-99/100"),
        _answer(content_range="bytes 40-98/100"),
        _answer(content_range="bytes 40-100/100"),
        _answer(content_range="bytes 40-99/101"),
        _answer(content_range="bytes 40-99/*"),
        _answer(content_range="bytes 99-40/100"),
        _answer(content_range="items 40-99/100"),
        _answer(content_range="bytes 40-99/100, bytes 0-1/100"),
        _answer(etag='"v2"'),
        _answer(etag='W/"v1"'),
        _answer(etag=None),
        _answer(content_length="61"),
        _answer(content_length="59"),
        _answer(content_encoding="gzip"),
        _answer(content_type="multipart/byteranges; boundary=x"),
    ],
    ids=lambda answer: str(sorted(answer.fields.items())),
)
def test_no_other_response_continues_a_body(answer: Head) -> None:
    """Guards every line of ``continues``: if one is wrong, bytes of two positions or versions are mixed."""
    assert not continues(answer, _VERSION, 40)


def test_a_part_is_as_long_as_content_range_says_whatever_frames_it() -> None:
    """Guards the length in ``span_of``: a chunked part, or one ended by closing, has no other."""
    assert span_of(_answer()) == (40, 100, 100)
    assert span_of(_answer(content_length=None, transfer_encoding="chunked")) == (40, 100, 100)
    assert span_of(_answer(content_length="59")) is None


@pytest.mark.parametrize("content_range", ["bytes 40-99/100", "bytes 0-98/100", "bytes 0-99/101", "bytes 1-99/100"])
def test_a_part_is_the_whole_body_only_from_first_to_last_byte(content_range: str) -> None:
    whole, part = (
        span_of(_answer(content_range="bytes 0-99/100", content_length="100")),
        span_of(_answer(content_range=content_range, content_length=None)),
    )

    assert whole is not None
    assert whole.is_all
    assert part is not None
    assert not part.is_all


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200), st.integers(0, 99))
def test_only_the_requested_bytes_continue_a_body(first: int, last: int, total: int, start: int) -> None:
    answer = _answer(content_range=f"bytes {first}-{last}/{total}", content_length=None)

    assert continues(answer, _VERSION, start) == ((first, last, total) == (start, 99, 100))


@given(st.text(max_size=40))
def test_no_text_raises(text: str) -> None:
    assert not continues(_answer(content_range=text), _VERSION, 7)


@pytest.mark.parametrize("etag", ['W/"x"', "x", "", '"', '"a"b"', '"a', 'w/"x"'])
def test_only_a_strong_validator_makes_a_version(etag: str) -> None:
    assert version_of(Head.of(200, "1.1", {"etag": etag})) is None


def test_a_version_needs_a_complete_response_that_allows_ranges() -> None:
    fields = {"etag": '"x"', "content-length": "5"}

    assert version_of(Head.of(200, "1.1", fields)) == Version('"x"', None, 5)
    assert version_of(Head.of(206, "1.1", fields)) is None
    assert version_of(Head.of(200, "1.1", {**fields, "accept-ranges": "none"})) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '["W/\\"v\\"", null, 5]', '["\\"v\\"", 5, 5]', '["\\"v\\"", null, "5"]']
)
def test_only_what_was_recorded_is_a_version_again(text: str) -> None:
    assert from_record(to_record(_VERSION)) == _VERSION
    assert from_record(text) is None


def test_a_range_is_requested_with_its_version() -> None:
    assert range_fields(_VERSION, 40) == ("Range: bytes=40-", 'If-Range: "v1"')
    assert range_fields(_VERSION, 40, 50) == ("Range: bytes=40-49", 'If-Range: "v1"')
