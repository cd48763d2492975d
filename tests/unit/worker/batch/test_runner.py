"""A runner runs its batch, prefetches while there is room, follows orders, and hands off the leftovers."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import pytest
import redis

from contract.errors import SettingError
from contract.ledger.values import Child, Claim
from contract.records.batches import BatchEntry, unpack_entries
from contract.records.messages import BatchMessage
from tests.support.clocked_ledger import batch_of, next_of, report_of
from tests.support.floor import URL, FakeRun, Floor
from tests.support.memory_ledger import MemoryLedger
from tests.support.processes import PATIENCE
from worker.batch import held_batch as held_batch_module
from worker.batch import runner as runner_module
from worker.engine.results import Leftover
from worker.events import BatchClosed, BatchInterrupted, BatchNotStarted, CloseDelayed


def test_a_batch_is_run_reported_and_closed() -> None:
    floor = Floor()

    line = floor.runner().work(floor.claim("1"))

    report = floor.report("1")
    assert report.counts() == {"ok": 1}
    assert (report.job, report.batch, report.worker, report.busy) == ("job", "1", "worker@here", 1.0)
    assert not report.handed_off
    assert line.startswith("1 ok, ")


def test_with_room_the_next_batches_are_claimed_before_their_messages_come() -> None:
    floor = Floor(ends_at_once=False, fetching=10)
    floor.line_up("2", "3", "4")

    def all_end_when_three_run(_batch: str) -> None:
        if len(floor.runs) == 3:
            for run in floor.runs.values():
                run.end()

    floor.on_start = all_end_when_three_run
    line = floor.runner(room=30).work(floor.claim("1"))

    # 10 + 10 URLs leave room below 30, a third batch fills it: the fourth is left to others.
    assert floor.closed == ["1", "2", "3"]
    assert floor.waiting == ["4"]
    assert line.endswith("; 2 prefetched")


def test_the_next_batch_is_claimed_before_the_report_of_the_last_is_written() -> None:
    """Guards the check before the reports: an idle lane would wait for them."""
    floor = Floor()
    floor.line_up("2")
    closed: list[list[str]] = []
    floor.on_start = lambda _batch: closed.append(floor.closed)

    floor.runner().work(floor.claim("1"))

    assert closed == [[], []]
    assert floor.closed == ["1", "2"]


def test_listeners_are_notified_of_every_batch_and_how_it_ended() -> None:
    floor = Floor(ends_at_once=False, fetching=10)
    floor.line_up("2", "3")
    floor.lost = {"2"}

    def others_end_with_the_last(batch: str) -> None:
        if batch == "3":
            floor.runs["1"].end()
            floor.runs["3"].end()

    floor.on_start = others_end_with_the_last
    floor.runner(lease_seconds=0.01).work(floor.claim("1"))

    assert floor.told[:3] == [("begun", "1"), ("begun", "2"), ("begun", "3")]
    assert sorted(floor.told[3:]) == [("closed", "1"), ("closed", "3"), ("lost", "2")]


def test_a_batch_that_cannot_start_harms_no_other() -> None:
    """Guards the ``except`` of ``_prefetch``: a prefetched batch may be of another job."""
    floor = Floor(ends_at_once=False)
    floor.line_up("2", "3")

    def start(batch: str) -> None:
        if batch == "2":
            raise SettingError("Its policy names a digest that this worker has no package for.")
        if batch == "3":
            floor.runs["1"].end()
            floor.runs["3"].end()

    floor.on_start = start
    line = floor.runner().work(floor.claim("1"))

    assert floor.closed == ["1", "3"]
    assert line.endswith("; 1 prefetched")
    (event,) = [event for event in floor.events if isinstance(event, BatchNotStarted)]
    assert event.claim.batch == "2"


def test_a_ledger_with_nothing_to_claim_is_asked_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the growing pause: a slow batch would cost four round trips a second."""
    monkeypatch.setattr(runner_module, "_PREFETCH_PAUSE", 0.01)
    monkeypatch.setattr(runner_module, "_LONGEST_PREFETCH_PAUSE", 1000.0)
    monkeypatch.setattr(runner_module, "_POLL_INTERVAL", 0.001)
    floor = Floor(ends_at_once=False)
    began = time.monotonic()

    floor.on_start = lambda batch: threading.Timer(0.5, floor.runs[batch].end).start()
    floor.runner().work(floor.claim("1"))

    assert 1 <= floor.ledger.calls["claim_next"] <= 2 + math.log2(1 + (time.monotonic() - began) / 0.01)


def test_a_prefetch_that_came_too_early_is_repeated_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ``_pause``: the first attempt leaves what idle workers may claim; soon after, lanes have nothing to do."""
    monkeypatch.setattr(runner_module, "_POLL_INTERVAL", 3600.0)

    class Ageing(MemoryLedger):
        def claim_next(self, **options: Any) -> Claim | None:
            found = super().claim_next(**options)
            self.advance(1.0)
            return found

    floor = Floor(Ageing(), ends_at_once=False)
    first = floor.claim("1")
    floor.ledger.open("job", [batch_of("2", URL.format("2"))])

    def end_all(batch: str) -> None:
        if batch == "2":
            for run in floor.runs.values():
                run.end()

    floor.on_start = end_all

    def give_up() -> None:
        floor.runs["1"].end()

    gives_up = threading.Timer(PATIENCE * 2.0, give_up)
    gives_up.start()
    floor.runner().work(first)
    gives_up.cancel()

    assert floor.closed == ["1", "2"]


def test_a_batch_that_outlives_its_own_deadlines_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the check of ``longest``: its lease would be renewed for ever, and its job never end."""
    monkeypatch.setattr(held_batch_module, "_GRACE", -360.0)  # the policy's 60 s and 300 s
    floor = Floor(ends_at_once=False, fetching=64)
    floor.on_start = lambda batch: threading.Timer(0.5, floor.runs[batch].end).start()

    floor.runner().work(floor.claim("1"))

    assert set(floor.stuck) == {"not finished after 0 s: stuck."}


def test_a_batch_that_had_to_wait_for_redis_is_not_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ``_excused``: files are not renamed meanwhile, so their batches do not end."""
    monkeypatch.setattr(held_batch_module, "_GRACE", -356.0)  # 4 s in all
    monkeypatch.setattr(runner_module, "_CLOSE_PAUSE", 4.2)
    floor = Floor(ends_at_once=False, fetching=10)
    floor.line_up("2")
    floor.ledger.failures["close"] = [redis.exceptions.ConnectionError()]

    def first_ends(batch: str) -> None:
        if batch == "2":
            floor.runs["1"].end()
            threading.Timer(4.6, floor.runs["2"].end).start()

    floor.on_start = first_ends
    floor.runner().work(floor.claim("1"))

    assert floor.stuck == []


@pytest.mark.parametrize("reason", ["no room", "the worker is stopping", "its disk is full", "another's disk is full"])
def test_nothing_is_prefetched_when(reason: str) -> None:
    """Guards the check of the disk back-off: another task's run may be the one that stalled."""
    floor = Floor(ends_at_once=False, fetching=10)
    floor.line_up("2")
    floor.is_stopping = reason == "the worker is stopping"
    if reason == "another's disk is full":
        floor.disk_backoff.note("The disk is full.", began=0.0)

    def start(batch: str) -> None:
        if reason == "its disk is full":
            floor.runs[batch].stalled = "The disk is full."
            floor.runs[batch].end()
        threading.Timer(0.3, floor.runs[batch].end).start()

    floor.on_start = start
    floor.runner(room=10 if reason == "no room" else 64).work(floor.claim("1"))

    assert (floor.waiting, floor.closed) == (["2"], ["1"])


def test_a_stopping_worker_gives_its_run_the_drain_and_hands_off_the_rest() -> None:
    now, later = BatchEntry(url=URL.format("now")), BatchEntry(url=URL.format("later"))
    floor = Floor(ends_at_once=False, is_stopping=True, leftovers=[Leftover(now), Leftover(later, after=9.0)])

    floor.runner().work(floor.claim("1"))

    first, second = floor.handed_off("1")
    assert floor.runs["1"].stopped_within == 7.0
    assert (unpack_entries(first.payload), first.urls, first.state) == ([now], 1, "queued")
    assert (unpack_entries(second.payload), second.urls, second.state) == ([later], 1, "deferred")
    assert second.until == floor.ledger.now() + 9.0
    assert floor.sent == [BatchMessage("job", floor.report("1").handed_off[0])], "the sweep sends the deferred one"


@pytest.mark.parametrize(
    ("pieces", "failures", "sent"), [(2, [], 1), (1, [], 0), (2, [redis.exceptions.ConnectionError()], 0)]
)
def test_a_hosts_next_batch_gets_a_message(pieces: int, failures: list[Exception], sent: int) -> None:
    floor = Floor()
    for number in range(pieces):
        claim = floor.claim(str(number))
        parked = Child(claim.payload, 1, 5.0, {"slow.test:80": 1})
        assert floor.ledger.close(claim, report_of(claim, [], handed_off=[claim.child(1)]), [parked])
    floor.ledger.advance(6.0)
    floor.ledger.gather("job")
    floor.ledger.failures["gather"] = failures

    floor.runner().work(next_of(floor.ledger))

    assert floor.sent == [BatchMessage("job", batch) for batch in floor.waiting]
    assert len(floor.sent) == sent


def test_a_paused_jobs_batch_drains_and_the_others_continue() -> None:
    """Guards ``_stop_halted``, and that a batch is told to drain only once: its time would start again."""
    now = BatchEntry(url=URL.format("now"))
    floor = Floor(ends_at_once=False, leftovers=[Leftover(now)], fetching=10)
    floor.line_up("2")
    drained: list[FakeRun] = []

    class Draining(FakeRun):
        def stop(self, within: float) -> None:
            self.stopped_within = within
            drained.append(self)
            threading.Timer(0.6, self.end).start()

    def start(batch: str) -> None:
        floor.runs[batch].__class__ = Draining
        if batch == "2":
            floor.halted = {"job"}

    floor.on_start = start
    floor.runner(room=15).work(floor.claim("1"))

    assert [run.stopped_within for run in drained] == [7.0, 7.0]
    assert [len(floor.report(batch).handed_off) for batch in floor.closed] == [1, 1]


def test_a_body_that_waits_for_space_is_noted_and_holds_up_no_other() -> None:
    floor = Floor()

    def runs_short(batch: str) -> None:
        floor.runs[batch].short_of_space = "A body waits."

    floor.on_start = runs_short
    floor.runner().work(floor.claim("1"))

    assert floor.disk_backoff.waiting == "A body waits."
    assert not floor.disk_backoff.lasts


def test_a_stalled_run_suspends_the_worker_with_the_reason() -> None:
    """Guards the note: without it the worker would claim what it just handed off."""
    entry = BatchEntry(url=URL.format("1"))
    floor = Floor(stalled="The disk is full.", leftovers=[Leftover(entry, after=5.0)])
    floor.line_up("2")

    line = floor.runner().work(floor.claim("1"))

    assert line.endswith(": The disk is full.")
    assert floor.disk_backoff.lasts
    assert [child.until for child in floor.handed_off("1")] == [floor.ledger.now() + 5.0]


def test_a_batch_handed_off_whole_because_of_the_disk_is_a_failure() -> None:
    entry = BatchEntry(url=URL.format("1"))
    floor = Floor(stalled="The disk is full.", leftovers=[Leftover(entry, after=5.0)])
    floor.on_start = lambda batch: floor.runs[batch].outcomes.clear()

    floor.runner().work(floor.claim("1"))

    (closed,) = [event for event in floor.events if isinstance(event, BatchClosed)]
    assert (closed.stalled, closed.report.outcomes, closed.handed_off.later) == ("The disk is full.", [], 1)


def test_a_batch_claimed_by_another_worker_is_abandoned_and_not_closed() -> None:
    floor = Floor(ends_at_once=False)
    floor.lost = {"1"}

    line = floor.runner(lease_seconds=0.01).work(floor.claim("1"))

    assert floor.runs["1"].is_abandoned
    assert floor.closed == []
    assert line == "another worker took it over"


def test_closing_waits_for_an_unreachable_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "_CLOSE_PAUSE", 0.0)
    floor = Floor()
    floor.ledger.failures["close"] = [redis.exceptions.ConnectionError(), redis.exceptions.OutOfMemoryError()]

    floor.runner().work(floor.claim("1"))

    assert floor.closed == ["1"]
    delays = [event.error for event in floor.events if isinstance(event, CloseDelayed)]
    assert delays == ["ConnectionError"], "said once"


def test_a_bug_in_closing_does_not_wait_for_ever() -> None:
    """Guards that a batch is ours until it is closed: its row in Flower would stay among the started ones."""
    floor = Floor()
    floor.ledger.failures["close"] = [redis.exceptions.ResponseError("a script failed")]

    with pytest.raises(redis.exceptions.ResponseError):
        floor.runner().work(floor.claim("1"))

    assert [event.claim.batch for event in floor.events if isinstance(event, BatchInterrupted)] == ["1"]


def test_a_closed_batch_ends_once_whatever_follows() -> None:
    """Guards the order of ``_end``: a gauge that counts both ends of a batch goes below zero."""

    class Unsendable(list[BatchMessage]):
        def extend(self, _messages: object) -> None:
            raise ZeroDivisionError

    floor = Floor(leftovers=[Leftover(BatchEntry(url=URL.format("1")))], sent=Unsendable())

    with pytest.raises(ZeroDivisionError):
        floor.runner().work(floor.claim("1"))

    assert floor.told == [("begun", "1"), ("closed", "1")]


def test_an_interrupted_runner_abandons_all_its_runs() -> None:
    floor = Floor(ends_at_once=False, fetching=1)
    floor.line_up("2")

    def interrupt(batch: str) -> None:
        if batch == "2":
            raise SystemExit

    floor.on_start = interrupt
    with pytest.raises(SystemExit):
        floor.runner().work(floor.claim("1"))

    assert floor.runs["1"].is_abandoned
    assert floor.closed == []
