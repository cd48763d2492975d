"""The success predicate: a body is published only if everything about it is right."""

from __future__ import annotations

import pytest

from contract.records.outcomes import ErrorClass
from worker.engine.failures import Breakage, Failure, Kind
from worker.engine.http.headers import Head
from worker.engine.http.verdict import Reception, Redirected, judge, too_large

_WHOLE = {"content-length": "10"}


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
    head = None if status is None else Head(status, version, _WHOLE if fields is None else fields)
    length = head.length if head is not None else None
    return judge(
        Reception(head=head, received=received, length=length, breakage=breakage, stopped=stopped, ranged=ranged),
        wall=0.0,
    )


def _failed(judged: Failure | Redirected | None) -> tuple[ErrorClass, Kind]:
    assert isinstance(judged, Failure)
    return judged.error, judged.kind


@pytest.mark.parametrize("status", [200, 203])
def test_a_whole_body_is_right(status: int) -> None:
    assert _judge(status) is None
    assert _judge(status, {"transfer-encoding": "chunked"}) is None
    assert _judge(status, {"content-length": "0"}, received=0) is None


def test_a_range_is_right_only_where_it_was_asked_for_and_checked() -> None:
    assert _judge(206, ranged=True) is None
    assert _failed(_judge(206)) == (ErrorClass.BAD_RESPONSE, Kind.PERMANENT)


@pytest.mark.parametrize("status", [101, 201, 202, 204, 205, 207, 226, 300, 304, 305, 306])
def test_other_statuses_carry_no_body(status: int) -> None:
    assert _failed(_judge(status)) == (ErrorClass.BAD_RESPONSE, Kind.PERMANENT)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_lead_on(status: int) -> None:
    assert _judge(status, {"location": "/x"}) == Redirected(status, "/x")
    assert _judge(status, {}) == Redirected(status, None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 407, 410, 416, 421, 451, 499, 501, 505, 599])
def test_these_statuses_are_final(status: int) -> None:
    error = ErrorClass.HTTP_4XX if status < 500 else ErrorClass.HTTP_5XX
    assert _failed(_judge(status)) == (error, Kind.PERMANENT)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524])
def test_these_statuses_may_pass(status: int) -> None:
    judged = _judge(status, {"retry-after": "7"})

    assert isinstance(judged, Failure)
    assert (judged.kind, judged.retry_after) == (Kind.TRANSIENT, 7.0)


@pytest.mark.parametrize("received", [0, 9, 11])
def test_a_body_of_another_length_is_truncated(received: int) -> None:
    assert _failed(_judge(received=received)) == (ErrorClass.TRUNCATED, Kind.TRANSIENT)


def test_a_body_framed_by_closing_may_be_empty() -> None:
    assert _judge(200, {}) is None
    assert _judge(200, {}, received=0) is None
    assert _judge(200, {}, received=0, version="2") is None


def test_a_body_that_is_not_ready_is_asked_for_again_when_the_server_says_so() -> None:
    judged = _judge(202, {"retry-after": "7"})

    assert isinstance(judged, Failure)
    assert (judged.error, judged.kind, judged.retry_after) == (ErrorClass.NOT_READY, Kind.TRANSIENT, 7.0)
    for at_once in ("0", "Wed, 21 Oct 2015 07:28:00 GMT", "soon"):  # no wait is asked for: that of any attempt
        assert _failed(_judge(202, {"retry-after": at_once})) == (ErrorClass.NOT_READY, Kind.TRANSIENT)
    assert _failed(_judge(202, {})) == (ErrorClass.BAD_RESPONSE, Kind.PERMANENT)
    assert _failed(_judge(201, {"retry-after": "7"})) == (ErrorClass.BAD_RESPONSE, Kind.PERMANENT)


def test_a_header_block_without_end_is_no_response() -> None:
    """Guards the ``head is None`` line: libcurl answers OK to a header block that was cut."""
    assert _failed(_judge(None, breakage=None)) == (ErrorClass.TRUNCATED, Kind.TRANSIENT)


def test_a_stream_that_was_reset_is_whole_only_where_a_length_says_so() -> None:
    assert _failed(_judge(200, {}, breakage=Breakage.RESET, version="2")) == (ErrorClass.TRUNCATED, Kind.TRANSIENT)
    assert _judge(breakage=Breakage.RESET, version="2") is None
    assert _failed(_judge(received=9, breakage=Breakage.RESET)) == (ErrorClass.TRUNCATED, Kind.TRANSIENT)


@pytest.mark.parametrize("breakage", [each for each in Breakage if each is not Breakage.RESET])
def test_no_breakage_within_a_body_is_overlooked(breakage: Breakage) -> None:
    assert isinstance(_judge(breakage=breakage), Failure)
    assert isinstance(_judge(None, breakage=breakage), Failure)


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
def test_what_broke_before_the_response_says_why(breakage: Breakage, error: ErrorClass, kind: Kind) -> None:
    assert _failed(_judge(None, breakage=breakage)) == (error, kind)


def test_broken_rules_are_tried_once_more() -> None:
    """Within a body a complaint is one way to break off; what breaks the rules is not."""
    judged = [
        _judge(None, breakage=Breakage.PROTOCOL),
        _judge(None, breakage=Breakage.COMPLAINT),
        _judge(200, {}, breakage=Breakage.PROTOCOL),
        _judge(200, {}, breakage=Breakage.COMPLAINT),
    ]

    bad, truncated = (ErrorClass.BAD_RESPONSE, 2), (ErrorClass.TRUNCATED, None)
    assert [isinstance(each, Failure) and (each.error, each.tries) for each in judged] == [bad, bad, bad, truncated]


def test_a_status_counts_although_its_body_broke_off() -> None:
    assert _failed(_judge(404, breakage=Breakage.CUT)) == (ErrorClass.HTTP_4XX, Kind.PERMANENT)


def test_what_we_stopped_ourselves_stays_stopped() -> None:
    assert _failed(_judge(stopped=too_large(200, 5))) == (ErrorClass.TOO_LARGE, Kind.LIMIT)
