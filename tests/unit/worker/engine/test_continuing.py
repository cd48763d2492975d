"""A partial body, and the responses that may continue it: each must match its Content-Range."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from contract.records.outcomes import ErrorClass, Outcome
from contract.records.policy import JobPolicy
from contract.urls.naming import output_name
from tests.support.lying_server import Answer, Framing
from tests.support.small_bodies import small_bodies
from tests.support.virtual_http import VirtualClock
from tests.support.virtual_liar import LyingHttp
from tests.support.virtual_world import VirtualWorld

URL = "http://a.test/object"
BODY = Random(1).randbytes(3000)
TAG = ("ETag", '"v"')
CHUNKED, CLOSE = Framing.CHUNKED, Framing.CLOSE


class Script:
    """Keeps what ``LyingHttp`` needs of a server: one answer after the other."""

    def __init__(self, *answers: Answer) -> None:
        self.dice = Random(1)
        self.asked: list[str | None] = []
        self._answers = list(answers)

    def answer(self, given: dict[str, str]) -> Answer:
        self.asked.append(given.get("range"))
        return self._answers.pop(0)


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    with small_bodies():
        yield


def _fetch(script: Script, attempts: int = 5, *, pause: int = 0) -> tuple[Outcome, bytes | None]:
    clock = VirtualClock()
    world = VirtualWorld(clock=clock, http=LyingHttp(script, clock, pause))
    (outcome,) = world.fetch([URL], JobPolicy(attempts=attempts, first_wait=0.1, max_size=4000)).outcomes
    assert world.store.drafts == set()
    return outcome, world.store.bodies.get(output_name(URL))


def _whole(until: int | None = None, framing: Framing = CHUNKED) -> Answer:
    """The whole body, cut after so many bytes."""
    length = (("Content-Length", str(len(BODY))),) if framing is Framing.LENGTH else ()
    return Answer(200, (TAG, *length), framing, BODY[:until], is_cut=until is not None)


def _part(
    start: int, until: int | None = None, *, total: int = len(BODY), framing: Framing = CHUNKED, body: bytes = BODY
) -> Answer:
    said = ("Content-Range", f"bytes {start}-{total - 1}/{total}")
    return Answer(206, (TAG, said), framing, body[start:until], is_cut=until is not None)


@pytest.mark.parametrize("framing", [CHUNKED, CLOSE, Framing.STREAM])
def test_a_part_without_a_length_continues_a_body_and_is_proven(framing: Framing) -> None:
    script = Script(_whole(1000), _part(1000, framing=framing))

    outcome, body = _fetch(script)

    assert body == BODY
    assert outcome.notes == ("resumed",)
    assert script.asked == [None, "bytes=1000-"]


@pytest.mark.parametrize("framing", [CHUNKED, CLOSE, Framing.STREAM])
@pytest.mark.parametrize(
    "wrong", [BODY + b"Z" * 2000, BODY[:-1], BODY[:1500] + BODY[1501:]], ids=["longer", "shorter", "hole"]
)
def test_a_part_of_the_wrong_length_is_discarded(framing: Framing, wrong: bytes) -> None:
    """Guards ``close`` and ``_overrun``: no one can say which of its bytes are the right ones."""
    script = Script(_whole(1000), _part(1000, framing=framing, body=wrong), _whole())

    outcome, body = _fetch(script)

    assert body == BODY
    assert script.asked == [None, "bytes=1000-", None]
    assert [attempt.error for attempt in outcome.attempts] == [ErrorClass.TRUNCATED, None]


def test_a_part_whose_bytes_come_long_after_its_head_is_waited_for() -> None:
    """Guards 206 in ``is_answered``: by its status alone it is not a body to store, and would be ended like one."""
    script = Script(_whole(1000), _part(1000))

    outcome, body = _fetch(script, pause=60)

    assert body == BODY
    assert outcome.notes == ("resumed",)


def test_a_version_has_one_length_only() -> None:
    """Guards the total in ``part_of``: the first response had none, the second did, the third has another."""
    script = Script(_whole(1000), _part(1000, 2000), _part(2000, total=2500, body=BODY[:2500]), _whole())

    _, body = _fetch(script)

    assert body == BODY
    assert script.asked[-1] is None


def test_a_part_that_lacks_only_its_last_chunk_is_whole_if_the_server_says_so() -> None:
    """Guards ``ends`` for a 416: the first response's length is not what this one has to bring."""
    nothing_left = Answer(
        416, (TAG, ("Content-Range", f"bytes */{len(BODY)}"), ("Content-Length", "0")), Framing.LENGTH, b""
    )

    outcome, body = _fetch(Script(_whole(1000, Framing.LENGTH), _part(1000, 3000), nothing_left))

    assert body == BODY
    assert outcome.http_status == 200


def test_an_unrequested_range_of_the_whole_body_is_the_body() -> None:
    outcome, body = _fetch(Script(_part(0, framing=CLOSE)))

    assert body == BODY
    assert (outcome.http_status, outcome.notes) == (206, ())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (_part(0, body=BODY + b"Z"), ErrorClass.BAD_RESPONSE),
        (_part(0, total=len(BODY) + 1), ErrorClass.TRUNCATED),
        (_part(5), ErrorClass.BAD_RESPONSE),
    ],
    ids=["longer", "shorter", "a part"],
)
def test_any_other_unrequested_range_is_not(answer: Answer, error: ErrorClass) -> None:
    """Guards ``asked is None`` in ``_overrun``: a server that always does this would be asked for ever."""
    outcome, body = _fetch(Script(answer), attempts=1)

    assert body is None
    assert outcome.error is error


def test_a_part_of_an_earlier_run_outlasts_a_pause_of_its_host() -> None:
    """Guards that ``begin`` looks for a part only once: the first one would stay open, and be in the way."""
    busy = Answer(429, (("Retry-After", "1"),), Framing.LENGTH, b"")
    clock, script = VirtualClock(), Script(_whole(1500, Framing.LENGTH), busy, _part(1500))
    world = VirtualWorld(clock=clock, http=LyingHttp(script, clock))
    policy = JobPolicy(attempts=1, resume=True)
    world.fetch([URL], policy)

    (outcome,) = world.fetch([URL], policy).outcomes

    assert script.asked == [None, "bytes=1500-", "bytes=1500-"]
    assert outcome.notes == ("resumed",)
    assert world.store.drafts == set()
