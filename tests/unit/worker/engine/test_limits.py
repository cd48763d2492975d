"""How long a response may take: until its body begins, and while it comes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contract.records.outcomes import Ending, ErrorClass, Outcome
from contract.records.policy import JobPolicy
from tests.support.virtual_http import VirtualClock
from tests.support.virtual_pace import Pace, PacedHttp
from tests.support.virtual_world import VirtualWorld

DEFAULT = JobPolicy(attempts=1)
WINDOW = DEFAULT.slow_window


def _fetch(*paces: Pace, policy: JobPolicy = DEFAULT) -> tuple[Outcome, float, int]:
    """Return how the URL ended, after how many seconds and requests."""
    clock = VirtualClock()
    http = PacedHttp(clock, list(paces))
    (outcome,) = VirtualWorld(clock=clock, http=http).fetch(["http://a.test/"], policy).outcomes
    return outcome, clock.seconds, len(http.asked)


def _steadily(rate: float) -> Pace:
    return Pace(lambda seconds: rate * seconds, 100_000)


# ---- the first byte


def test_a_body_that_begins_after_half_a_minute_is_fetched_by_one_request() -> None:
    """Guards when the floor begins: it counted from the request, and such a server was asked four times in vain."""
    outcome, _, asked = _fetch(Pace(lambda seconds: 5000 if seconds > 35 else 0, size=5000))

    assert (outcome.ending, asked) == (Ending.OK, 1)


def _head_without_end() -> dict[float, str]:
    return {0.0: "HTTP/1.1 200 X\r\n", **{float(second): f"X-{second}: {'x' * 5000}\r\n" for second in range(1, 400)}}


@pytest.mark.parametrize(
    "head",
    [{0.0: ""}, {0.0: "HTTP/1.1 200 X\r\n\r\n"}, {0.0: "HTTP/1.1 103 X\r\n\r\n"}, _head_without_end()],
    ids=["nothing", "a head", "an interim answer", "a head without end"],
)
def test_a_body_that_never_begins_is_waited_for_as_long_as_the_policy_says(head: dict[float, str]) -> None:
    """Guards ``received``: header bytes do not extend the wait."""
    outcome, seconds, _ = _fetch(Pace(lambda _seconds: 0, head=head), policy=replace(DEFAULT, first_byte_timeout=20.0))

    assert outcome.error is ErrorClass.TOO_SLOW
    assert outcome.detail == "No byte of the body arrived for 20 s."
    assert 20.0 <= seconds < 21.0


def test_without_a_limit_of_its_own_the_first_byte_has_until_the_deadline() -> None:
    outcome, seconds, _ = _fetch(Pace(lambda _seconds: 0), policy=replace(DEFAULT, first_byte_timeout=0.0))

    assert outcome.error is ErrorClass.TIMEOUT
    assert DEFAULT.timeout <= seconds < DEFAULT.timeout + 1


# ---- unwanted bodies


@pytest.mark.parametrize("status", [404, 503])
@pytest.mark.parametrize("come", [0.0, 10.0], ids=["silent", "dripping"])
def test_a_final_status_does_not_wait_for_its_page(status: int, come: float) -> None:
    """Guards ``is_over``: an error page held its slot for a minute, and the error was ``too-slow``."""
    head = f"HTTP/1.1 {status} X\r\nContent-Length: 10000\r\n\r\n"
    page = Pace(lambda seconds: come * max(0.0, seconds - 2.0), head={2.0: head})

    outcome, seconds, _ = _fetch(page, policy=replace(DEFAULT, first_byte_timeout=2.5))

    assert outcome.http_status == status
    assert outcome.error in (ErrorClass.HTTP_4XX, ErrorClass.HTTP_5XX)
    assert 3.0 <= seconds < 3.5


def test_a_redirect_is_followed_even_if_its_body_never_ends() -> None:
    led = Pace(lambda _seconds: 0, head={0.0: "HTTP/1.1 302 X\r\nLocation: /there\r\n\r\n"})

    outcome, seconds, _ = _fetch(led, Pace(size=10))

    assert (outcome.ending, outcome.redirects) == (Ending.OK, 1)
    assert seconds < 2.0


# ---- the speed floor


def test_a_body_that_is_fast_and_then_silent_is_ended_after_the_window() -> None:
    """Guards the marks: without them the floor is an average since the start, and the URL ends at its deadline."""
    outcome, seconds, _ = _fetch(Pace(lambda seconds: min(seconds, 5.0) * 1e5))

    assert outcome.error is ErrorClass.TOO_SLOW
    assert outcome.detail == "Fewer than 100 bytes/s arrived for 30 s."
    assert 5.0 + WINDOW <= seconds < 5.0 + WINDOW * 1.3


def test_a_body_below_the_floor_has_one_window() -> None:
    outcome, seconds, _ = _fetch(_steadily(0.9 * DEFAULT.slowest))

    assert outcome.error is ErrorClass.TOO_SLOW
    assert WINDOW <= seconds < WINDOW * 1.1


def test_pauses_shorter_than_the_window_end_nothing() -> None:
    outcome, _, _ = _fetch(Pace(lambda seconds: 10_000 * (seconds // 25), size=50_000))

    assert outcome.ending is Ending.OK


def test_floor_and_window_are_the_jobs() -> None:
    strict = replace(DEFAULT, slowest=5000, slow_window=4.0)

    outcome, seconds, _ = _fetch(_steadily(4000), policy=strict)
    assert outcome.detail == "Fewer than 5000 bytes/s arrived for 4 s."
    assert 4.0 <= seconds < 5.0

    outcome, seconds, _ = _fetch(Pace(lambda seconds: 1), policy=replace(DEFAULT, slowest=0))
    assert outcome.error is ErrorClass.TIMEOUT
