"""What a lane does with a body that our disk can never store, or not now."""

from __future__ import annotations

import pytest

from contract.records.outcomes import ErrorClass
from contract.records.policy import JobPolicy
from tests.support.virtual_world import Reply, VirtualWorld
from worker.engine.exchange import SPACE_WAIT
from worker.engine.ports import BodyTooLargeError, NoSpaceError

BIG = "http://a.test/big"
URLS = [BIG, "http://a.test/1", "http://a.test/2"]


def _world(refusal: Exception) -> VirtualWorld:
    def script(url: str, _turn: int) -> Reply:
        return Reply(body=b"x" * (1000 if url == BIG else 10))

    world = VirtualWorld(script)
    world.store.fault = lambda call, size: refusal if call == "open" and size >= 1000 else None
    return world


def test_a_body_the_disk_can_never_store_fails_alone_after_one_request() -> None:
    """Guards the BodyTooLargeError caught in take: it would count as a bug, or be retried for ever."""
    world = _world(BodyTooLargeError("It never fits."))

    run = world.fetch(URLS)

    outcomes = {outcome.url: outcome for outcome in run.outcomes}
    assert (outcomes[BIG].error, outcomes[BIG].detail) == (ErrorClass.TOO_LARGE, "It never fits.")
    assert run.progress.ok == 2
    assert run.stalled is None
    assert len(world.http.requests_for(BIG)) == 1


def test_a_body_without_space_now_waits_alone_and_loses_no_time() -> None:
    """Guards the second GoBack: a stall would make its neighbours wait for it, and time spent end it as a timeout."""
    world = _world(NoSpaceError("It waits."))

    run = world.fetch(URLS, JobPolicy(timeout=5.0))

    assert run.progress.ok == 2
    assert run.stalled is None
    assert run.short_of_space == "It waits."
    (leftover,) = run.leftovers
    assert (leftover.entry.url, leftover.entry.spent, leftover.entry.attempts) == (BIG, 0.0, ())
    assert leftover.after == pytest.approx(SPACE_WAIT)
