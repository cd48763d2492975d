"""What a transfer leaves behind: nothing for the collector; and what a bug costs: its own URL, or a batch its time."""

from __future__ import annotations

import gc
import weakref
from math import inf

import pytest

from contract.records.outcomes import Ending, ErrorClass, Timing
from contract.records.policy import JobPolicy
from contract.urls.naming import output_name
from tests.support.memory_store import MemoryStore
from tests.support.virtual_world import Reply, VirtualWorld, always, urls
from worker.engine import rows
from worker.engine.exchange import NOT_ENDED
from worker.engine.ports import Answer, Ended
from worker.engine.transfer import Transfer

OPEN = JobPolicy(timeout=30.0, attempts=3)


def test_transfers_leave_no_garbage_for_the_collector() -> None:
    """Garbage in cycles cost a lane a twelfth of its time."""
    world = always(Reply())
    world.fetch(urls(10))
    gc.collect()
    gc.disable()
    try:
        world.fetch(urls(500))
        world.lane.drive_once()
        found = gc.collect()
    finally:
        gc.enable()

    assert found < 500


def test_a_finished_run_needs_no_collector() -> None:
    """Guards that Settlement keeps no reference to its run: each would hold its outcomes until the collector came."""
    world = always(Reply())
    gc.disable()
    try:
        run = weakref.ref(world.fetch(urls(10)))
        world.drive_until(lambda: world.lane.is_idle)
        assert run() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("status", "digest"),
    [
        pytest.param(200, "", id="of a body"),
        pytest.param(200, "sha-256=:Iw2DWNyOiJC0xY3utikS7i8gNXrpKlzIYbmOaP4xrLU=:", id="of a body read back"),
        pytest.param(404, "", id="of a failure"),
    ],
)
def test_an_outcome_that_cannot_be_written_costs_its_own_url_only(
    status: int, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the ``except`` of ``rows``: without it the lane fails, and its URLs are retried for ever."""

    def break_down(transfer: Transfer, ended: Ended, now: float, _lag: float = 0.0) -> Timing:
        if ended is not NOT_ENDED and "odd" in transfer.entry.url:
            raise RuntimeError("a bug")
        return Timing(total=now)

    monkeypatch.setattr(rows, "_timing", break_down)
    fields = (("Content-Digest", digest),) if digest else ()
    world = VirtualWorld(lambda url, _turn: Reply(status=status if "odd" in url else 200, fields=fields))

    run = world.fetch([*urls(20), "http://a.test/odd"], OPEN)

    endings = {outcome.url: (outcome.ending, outcome.error) for outcome in run.outcomes}
    assert endings.pop("http://a.test/odd") == (Ending.FAILED, ErrorClass.INTERNAL)
    assert endings == dict.fromkeys(urls(20), (Ending.OK, None))
    assert not world.store.drafts


def test_an_attempt_that_cannot_begin_costs_its_own_url_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the ``except`` around ``transfer.begin``: a partial body may be anything."""

    def break_down(store: MemoryStore, name: str) -> None:
        if name == output_name("http://a.test/odd"):
            raise RecursionError("a bug")

    monkeypatch.setattr(MemoryStore, "resume", break_down)
    world = always(Reply())

    run = world.fetch(["http://a.test/odd", *urls(20)], JobPolicy(resume=True, per_host=1))

    endings = {outcome.url: (outcome.ending, outcome.error) for outcome in run.outcomes}
    assert endings.pop("http://a.test/odd") == (Ending.FAILED, ErrorClass.INTERNAL)
    assert endings == dict.fromkeys(urls(20), (Ending.OK, None))


def test_a_bug_in_the_loop_hands_every_url_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards _collapse: a URL that the loop had in hand belonged to nobody, and its batch never ended."""
    world, given = always(Reply(after=1.0)), [*urls(20), "http://slow.test/", "http://odd.test/"]
    world.names.slow.add("slow.test")
    known = world.resolver.known

    def break_down(host: str, after: float = -inf) -> Answer | None:
        if host == "odd.test":
            monkeypatch.undo()
            raise RuntimeError("a bug")
        return known(host, after)

    monkeypatch.setattr(world.resolver, "known", break_down)
    run = world.start(given, OPEN)

    with pytest.raises(RuntimeError) as raised:
        world.drive_until(lambda: run.wait(0))
    world.lane._collapse(raised.value)

    assert run.wait(0)
    assert sorted(leftover.entry.url for leftover in run.leftovers) == sorted(given)
    assert "a bug" in caplog.text
    again = world.fetch(urls(20), OPEN)
    assert [outcome.ending for outcome in again.outcomes] == [Ending.OK] * 20
    assert world.lane._schedule.flying == 0
    assert not world.store.drafts
