"""A batch is closed around its stragglers before a few slow URLs keep others waiting."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import cast

import pytest

from contract.ledger.control import pause
from contract.records.batches import BatchEntry, unpack_entries
from contract.records.messages import BatchMessage
from contract.records.outcomes import Ending, Outcome
from tests.support.floor import URL, FakeRun, Floor
from worker.batch import held_batch as held_batch_module
from worker.batch import runner as runner_module
from worker.batch.held_batch import HeldBatch
from worker.batch.lease import Lease
from worker.engine.results import Leftover
from worker.engine.run import Run


def _lease() -> Lease:
    return Lease(lambda: True, seconds=30.0, is_stopping=lambda: False)


def with_outcomes(run: FakeRun, count: int) -> None:
    run.outcomes = [Outcome(url=URL.format(number), name="0" * 32, ending=Ending.OK) for number in range(count)]


@dataclass
class Stragglers:
    """A runner all of whose batches have 40 outcomes and then one URL that takes long; the last of them ends it."""

    floor: Floor = field(default_factory=lambda: Floor(ends_at_once=False))
    batches: int = 8
    outcomes: int = 40

    def work(self) -> None:
        self.floor.line_up(*map(str, range(2, self.batches + 1)))
        self.floor.on_start = self._start
        self.floor.runner(room=1, lease_seconds=30.0).work(self.floor.claim("1"))

    def _start(self, batch: str) -> None:
        with_outcomes(self.floor.runs[batch], self.outcomes)
        if batch == str(self.batches):
            self.end()

    def end(self) -> None:
        pause(self.floor.ledger, "job")
        for run in list(self.floor.runs.values()):
            run.end()


def test_a_batch_is_closed_around_its_stragglers_before_it_keeps_others_waiting() -> None:
    """Guards ``_close_one_early``: one URL that never answered kept a process from all other batches."""
    stragglers = Stragglers()

    stragglers.work()

    floor = stragglers.floor
    assert floor.waiting == []
    (kept,) = floor.report("1").handed_off
    assert (floor.report("1").counts(), floor.report(kept).counts()) == ({"ok": 40}, {})
    assert not floor.runs["1"].is_abandoned
    assert floor.begun[kept].entries() == [BatchEntry(url=URL.format("1-slow"))]


def test_each_successor_is_reported_with_its_predecessor() -> None:
    stragglers = Stragglers()

    stragglers.work()

    told, kept = stragglers.floor.told, stragglers.floor.report("1").handed_off[0]
    assert told.index(("closed", "1")) + 1 == told.index(("begun", kept))
    assert ("closed", kept) in told


def test_a_batch_with_few_outcomes_is_not_closed_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the 32 outcomes and the 5 seconds: each close costs the follower and Redis as much as a whole batch."""
    stragglers = Stragglers(outcomes=31, batches=4)
    ends = threading.Timer(0.5, stragglers.end)
    ends.start()

    stragglers.work()
    ends.join()

    assert not stragglers.floor.report("1").handed_off
    monkeypatch.setattr(held_batch_module, "_PART_PAUSE", 0.0)
    in_time = Stragglers(outcomes=31, batches=4)
    in_time.work()
    assert in_time.floor.report("1").handed_off


def test_a_successor_is_closed_around_its_own_stragglers_only_after_a_while() -> None:
    floor = Floor(ends_at_once=False)
    batch = HeldBatch(floor.claim("1"), _lease(), cast("Run", FakeRun("1", lambda: None, fetching=1, leftovers=[])))
    with_outcomes(floor.runs.setdefault("1", cast("FakeRun", batch.run)), 40)
    assert batch.may_part(batch.began)

    batch.continue_as(batch.claim.kept(1, b"", 1))

    assert not batch.may_part(batch.began + 4.9)
    assert batch.may_part(batch.began + 5.0)


def test_a_successor_with_only_stragglers_left_is_closed_again_at_once_for_many_outcomes() -> None:
    """Guards ``is_straggling``: bodies published right after an early close kept the process idle for five seconds."""
    floor = Floor(ends_at_once=False)
    run = FakeRun("1", lambda: None, fetching=1, leftovers=[])
    batch = HeldBatch(floor.claim("1"), _lease(), cast("Run", run))
    batch.continue_as(batch.claim.kept(1, b"", 1))
    run.is_straggling = True

    with_outcomes(run, 31)
    assert not batch.may_part(batch.began)
    with_outcomes(run, 32)
    assert batch.may_part(batch.began)


def test_a_batch_that_only_straggles_is_closed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the order in ``_close_one_early``: the others may soon have more outcomes to report at once."""
    floor = Floor(ends_at_once=False)
    runner, claim = floor.runner(room=1), floor.claim("1")
    busy, straggling = (FakeRun("1", lambda: None, fetching=1, leftovers=[]) for _ in range(2))
    with_outcomes(busy, 80)
    with_outcomes(straggling, 40)
    straggling.is_straggling = True
    runner._held = [HeldBatch(claim, _lease(), cast("Run", run)) for run in (busy, straggling)]
    closed: list[object] = []
    monkeypatch.setattr(runner, "_close_early", lambda batch: closed.append(batch.run))

    runner._close_one_early()

    assert closed == [straggling]


@pytest.mark.parametrize(("held_by", "host"), [("", ""), ("halted", ""), ("stopping", ""), ("", "a.test:80")])
def test_leftovers_do_not_wait_for_their_batchs_stragglers(
    monkeypatch: pytest.MonkeyPatch, held_by: str, host: str
) -> None:
    """Guards ``_hand_off_due``; what only drains lets go of it with its end, a moment later.

    What waited for a host is parked, to be gathered with what else waits for it, and has no message before.
    """
    monkeypatch.setattr(held_batch_module, "_PART_PAUSE", 0.2)
    back = BatchEntry(url=URL.format("back"))
    floor = Floor(ends_at_once=False, leftovers=[Leftover(back, host=host)])

    def start(batch: str) -> None:
        run = floor.runs[batch]
        run.outcomes.clear()
        run.has_due = True
        monkeypatch.setattr(run, "stop", lambda within: None)
        floor.is_stopping, floor.halted = held_by == "stopping", {"job"} if held_by == "halted" else set()
        threading.Timer(1.0, run.end).start()

    floor.on_start = start
    floor.runner(room=0).work(floor.claim("1"))

    first, *kept = floor.report("1").handed_off
    assert unpack_entries(floor.ledger.job_of("job").batches[first].payload) == [back]
    assert bool(kept) == (not held_by)
    assert floor.sent == ([] if host else [BatchMessage("job", first)])


def test_a_lost_batch_closed_around_its_stragglers_is_abandoned() -> None:
    stragglers = Stragglers(batches=3)
    stragglers.floor.lost = {"1"}

    stragglers.work()

    assert stragglers.floor.runs["1"].is_abandoned
    assert "1" not in stragglers.floor.closed


def test_the_urls_a_process_holds_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the URLs in memory: each batch may leave some that only wait."""
    monkeypatch.setattr(runner_module, "_MOST_UNFINISHED", 3)
    stragglers = Stragglers(batches=100)
    ends = threading.Timer(0.5, stragglers.end)
    ends.start()

    stragglers.work()
    ends.join()

    assert len(stragglers.floor.runs) <= 4
