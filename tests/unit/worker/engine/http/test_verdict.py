"""The success predicate: a body is published only if everything about it is right."""

from __future__ import annotations

import pytest

from contract.records.outcomes import ErrorClass
from worker.engine.failures import Breakage, Failure, Kind
from worker.engine.http.headers import Head
from worker.engine.http.verdict import Reception, Redirected, judge, too_large

_BAD = (ErrorClass.BAD_RESPONSE, Kind.PERMANENT)
_TRUNCATED = (ErrorClass.TRUNCATED, Kind.TRANSIENT)
_NOT_READY = (ErrorClass.NOT_READY, Kind.TRANSIENT)


def _judge(
    status: int | None = 200,
    fields: dict[str, str] | None = None,
    *,
    received: int = 10,
    breakage: Breakage | None = None,
    stopped: Failure | None = None,
    ranged: bool = False,
    version: str = "1.1",
) -> Failure | Redirected | None:
    head = None if status is None else Head.of(status, version, {"content-length": "10"} if fields is None else fields)
    length = head.length if head is not None else None
    return judge(
        Reception(head=head, received=received, length=length, breakage=breakage, stopped=stopped, ranged=ranged),
        wall=0.0,
    )


def _failed(judged: Failure | Redirected | None) -> tuple[ErrorClass, Kind] | None:
    return (judged.error, judged.kind) if isinstance(judged, Failure) else None


def test_a_complete_body_succeeds() -> None:
    assert _judge(200) is _judge(203) is None
    assert _judge(200, {"transfer-encoding": "chunked"}) is None
    assert _judge(200, {"content-length": "0"}, received=0) is None
    assert _judge(206, ranged=True) is None


def test_a_body_ended_by_closing_may_be_empty_and_a_length_outweighs_a_reset() -> None:
    assert _judge(200, {}) is _judge(200, {}, received=0) is _judge(200, {}, received=0, version="2") is None
    assert _judge(breakage=Breakage.RESET, version="2") is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status: int) -> None:
    assert _judge(status, {"location": "/x"}) == Redirected(status, "/x")
    assert _judge(status, {}) == Redirected(status, None)


@pytest.mark.parametrize(
    ("expected", "statuses"),
    [
        (_BAD, (101, 201, 202, 204, 205, 206, 207, 226, 300, 304, 305, 306)),  # 206: it was not asked for
        ((ErrorClass.HTTP_4XX, Kind.PERMANENT), (400, 401, 403, 404, 405, 407, 410, 416, 421, 451, 499)),
        ((ErrorClass.HTTP_5XX, Kind.PERMANENT), (501, 505, 599)),
        ((ErrorClass.HTTP_4XX, Kind.TRANSIENT), (408, 425, 429)),
        ((ErrorClass.HTTP_5XX, Kind.TRANSIENT), (500, 502, 503, 504, 520, 521, 522, 523, 524)),
    ],
)
def test_other_statuses_carry_no_body(expected: tuple[ErrorClass, Kind], statuses: tuple[int, ...]) -> None:
    assert {status: _failed(_judge(status)) for status in statuses} == dict.fromkeys(statuses, expected)


def test_a_server_may_say_when_to_retry() -> None:
    for status in (202, 429, 503):
        judged = _judge(status, {"retry-after": "7"})
        assert isinstance(judged, Failure)
        assert (judged.kind, judged.retry_after) == (Kind.TRANSIENT, 7.0)
    for asked in ("7", "0", "Wed, 21 Oct 2015 07:28:00 GMT", "soon"):  # all but the first: no longer than ever
        assert _failed(_judge(202, {"retry-after": asked})) == _NOT_READY
    assert _failed(_judge(201, {"retry-after": "7"})) == _BAD


def test_an_incomplete_body_is_truncated() -> None:
    assert [_failed(_judge(received=received)) for received in (0, 9, 11)] == [_TRUNCATED] * 3
    assert _failed(_judge(None)) == _TRUNCATED, "libcurl answers OK to a header block that was cut"
    assert _failed(_judge(200, {}, breakage=Breakage.RESET, version="2")) == _TRUNCATED
    assert _failed(_judge(received=9, breakage=Breakage.RESET)) == _TRUNCATED


def test_a_status_or_our_own_stop_outweighs_a_broken_connection() -> None:
    assert _failed(_judge(404, breakage=Breakage.CUT)) == (ErrorClass.HTTP_4XX, Kind.PERMANENT)
    assert _failed(_judge(stopped=too_large(200, 5))) == (ErrorClass.TOO_LARGE, Kind.LIMIT)


@pytest.mark.parametrize(
    ("breakage", "error", "kind"),
    [
        (Breakage.CERTIFICATE, ErrorClass.TLS, Kind.PERMANENT),
        (Breakage.HANDSHAKE, ErrorClass.TLS, Kind.TRANSIENT),
        (Breakage.DISAGREEMENT, ErrorClass.TLS, Kind.PERMANENT),
        (Breakage.PROTOCOL, ErrorClass.BAD_RESPONSE, Kind.TRANSIENT),
        (Breakage.COMPLAINT, ErrorClass.BAD_RESPONSE, Kind.TRANSIENT),
        (Breakage.CONNECT, ErrorClass.CONNECT, Kind.TRANSIENT),
        (Breakage.CUT, ErrorClass.CONNECT, Kind.TRANSIENT),
        (Breakage.TIMEOUT, ErrorClass.TIMEOUT, Kind.TRANSIENT),
        (Breakage.NONSENSE, ErrorClass.BAD_RESPONSE, Kind.PERMANENT),
        (Breakage.REDIRECT, ErrorClass.BAD_REDIRECT, Kind.PERMANENT),
        (Breakage.UNRESOLVED, ErrorClass.DNS, Kind.TRANSIENT),
        (Breakage.TOO_LARGE, ErrorClass.TOO_LARGE, Kind.LIMIT),
    ],
)
def test_a_break_before_the_response_determines_the_error(breakage: Breakage, error: ErrorClass, kind: Kind) -> None:
    assert _failed(_judge(None, breakage=breakage)) == (error, kind)


@pytest.mark.parametrize("breakage", [each for each in Breakage if each is not Breakage.RESET])
def test_no_breakage_within_a_body_is_overlooked(breakage: Breakage) -> None:
    assert isinstance(_judge(breakage=breakage), Failure)
    assert isinstance(_judge(None, breakage=breakage), Failure)


def test_protocol_violations_are_retried_once() -> None:
    """Within a body a protocol error counts as a broken connection; before it, as a violation."""
    judged = [
        _judge(status, {}, breakage=breakage)
        for status in (None, 200)
        for breakage in (Breakage.PROTOCOL, Breakage.COMPLAINT)
    ]

    bad, truncated = (ErrorClass.BAD_RESPONSE, 2), (ErrorClass.TRUNCATED, None)
    assert [isinstance(each, Failure) and (each.error, each.tries) for each in judged] == [bad, bad, bad, truncated]
