"""Backoff and Retry-After."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.records.outcomes import Attempt, ErrorClass
from worker.engine.failures import Failure, Kind
from worker.engine.http.retry import RetryPolicy, retry_after

_WALL = 1_800_000_000.0


def _failure(kind: Kind = Kind.TRANSIENT, *, wanted: float | None = None, tries: int | None = None) -> Failure:
    return Failure(error=ErrorClass.CONNECT, kind=kind, detail="", retry_after=wanted, tries=tries)


def _history(count: int, error: ErrorClass = ErrorClass.CONNECT) -> list[Attempt]:
    return [Attempt(error, None, 0.1)] * count


@given(st.integers(1, 40), st.floats(0, 1, exclude_max=True), st.floats(0, 10), st.floats(0, 100))
def test_a_wait_stays_below_its_ceiling(attempts: int, luck: float, first: float, longest: float) -> None:
    policy = RetryPolicy(attempts=50, first_wait=first, longest_wait=longest)

    wait = policy.wait_after(_failure(), _history(attempts), random=lambda: luck)

    assert wait is not None
    assert 0 <= wait <= min(longest, first * 2.0 ** (attempts - 1))


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.TRANSIENT])
def test_only_transient_failures_are_retried(kind: Kind) -> None:
    assert RetryPolicy().wait_after(_failure(kind), _history(1), random=lambda: 0.5) is None


def test_the_last_attempt_is_the_last() -> None:
    policy = RetryPolicy(attempts=3)

    assert policy.wait_after(_failure(), _history(2), random=lambda: 0.5) is not None
    assert policy.wait_after(_failure(), _history(3), random=lambda: 0.5) is None


def test_a_failure_may_limit_its_own_attempts() -> None:
    """NXDOMAIN and a wrong digest are retried once; other errors before do not count."""
    others = _history(5, ErrorClass.TRUNCATED)
    policy = RetryPolicy(attempts=20)

    assert policy.wait_after(_failure(tries=2), [*others, *_history(1)], random=lambda: 0.5) is not None
    assert policy.wait_after(_failure(tries=2), [*others, *_history(2)], random=lambda: 0.5) is None


def test_the_wait_is_as_long_as_the_server_asks() -> None:
    assert RetryPolicy().wait_after(_failure(wanted=9.0), _history(1), random=lambda: 0.1) == 9.0


@given(st.integers(1, 10**8))
def test_seconds_and_dates_are_read(seconds: int) -> None:
    assert retry_after(f" {seconds} ", wall=_WALL) == seconds
    assert retry_after(formatdate(_WALL + seconds, usegmt=True), wall=_WALL) == seconds


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_date_is_read_by_the_servers_clock(ahead: int) -> None:
    """Guards ``date``: with a clock one hour off, the wait was an hour, or nothing."""
    sent, wanted = formatdate(_WALL + ahead, usegmt=True), formatdate(_WALL + ahead + 7, usegmt=True)

    assert retry_after(wanted, date=sent, wall=_WALL) == 7
    assert retry_after(wanted, date="yesterday", wall=_WALL) == (3607 if ahead > 0 else None)


@pytest.mark.parametrize("text", ["0", "00", formatdate(_WALL, usegmt=True), formatdate(_WALL - 100, usegmt=True)])
def test_zero_and_what_is_past_count_as_absent(text: str) -> None:
    assert retry_after(text, wall=_WALL) is None


@pytest.mark.parametrize("digits", [10, 40, 1000])
def test_any_number_of_digits_is_a_long_wait(digits: int) -> None:
    """Guards ``_SECONDS``: a number taken for nonsense was retried after half a second."""
    wanted = retry_after("9" * digits, wall=_WALL)

    assert wanted is not None
    assert 1e8 < wanted < float("inf")


@pytest.mark.parametrize("text", [None, "", "-1", "1.5", "soon", "Mon, 99 Foo 2026 99:99:99 GMT", "\u0665"])
def test_examples_of_nonsense_are_ignored(text: str | None) -> None:
    assert retry_after(text, wall=_WALL) is None
