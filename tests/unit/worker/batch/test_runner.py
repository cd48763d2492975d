"""A runner runs its batch, looks ahead while there is room, obeys, and hands off what is left."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace

import pytest
import redis

from contract.errors import SettingError
from contract.ledger.values import Claim
from contract.records.batches import BatchEntry, unpack_entries
from contract.records.messages import BatchMessage
from tests.support.floor import URL, FakeLedger, FakeRun, Floor, a_claim
from tests.support.processes import PATIENCE
from worker.batch import runner as runner_module
from worker.batch import turn as turn_module
from worker.engine.results import Leftover


def test_a_batch_is_run_reported_and_closed() -> None:
    floor = Floor()

    line = floor.runner().work(a_claim("1"))

    report, children = floor.ledger.closed["1"]
    assert report.counts() == {"ok": 1}
    assert (report.job, report.batch, report.worker, report.busy) == ("job", "1", "worker@here", 1.0)
    assert children == []
    assert line.startswith("1 ok | ")


def test_with_room_the_next_batches_are_claimed_before_their_messages_come() -> None:
    floor = Floor(ends_at_once=False, fetching=10)
    floor.ledger.waiting = ["2", "3", "4"]

    def all_end_when_three_run(_batch: str) -> None:
        if len(floor.runs) == 3:
            for run in floor.runs.values():
                run.end()

    floor.on_start = all_end_when_three_run
    line = floor.runner(room=30).work(a_claim("1"))

    # 10 + 10 URLs leave room below 30, a third batch fills it: the fourth is left to others.
    assert list(floor.ledger.closed) == ["1", "2", "3"]
    assert floor.ledger.waiting == ["4"]
    assert line.endswith("and 2 batches ahead")


def test_the_next_batch_is_claimed_before_the_report_of_the_last_is_written() -> None:
    """Guards the look before the reports: a lane that has run dry would wait for them."""
    floor = Floor()
    floor.ledger.waiting = ["2"]
    closed: list[list[str]] = []
    floor.on_start = lambda _batch: closed.append(list(floor.ledger.closed))

    floor.runner().work(a_claim("1"))

    assert closed == [[], []]
    assert list(floor.ledger.closed) == ["1", "2"]


def test_whoever_watches_is_told_of_every_batch_and_how_it_ended() -> None:
    floor = Floor(ends_at_once=False, fetching=10)
    floor.ledger.waiting = ["2", "3"]
    floor.ledger.lost = {"2"}

    def others_end_with_the_last(batch: str) -> None:
        if batch == "3":
            floor.runs["1"].end()
            floor.runs["3"].end()

    floor.on_start = others_end_with_the_last
    floor.runner(lease_seconds=0.01).work(a_claim("1"))

    assert floor.told[:3] == [("begun", "1"), ("begun", "2"), ("begun", "3")]
    assert sorted(floor.told[3:]) == [("closed", "1"), ("closed", "3"), ("lost", "2")]


def test_a_batch_that_cannot_be_started_is_no_fault_of_the_others() -> None:
    """Guards the ``except`` of ``_look_ahead``: what is claimed ahead may be of another job."""
    floor = Floor(ends_at_once=False)
    floor.ledger.waiting = ["2", "3"]

    def start(batch: str) -> None:
        if batch == "2":
            raise SettingError("Its policy names a digest that this worker has no package for.")
        if batch == "3":
            floor.runs["1"].end()
            floor.runs["3"].end()

    floor.on_start = start
    line = floor.runner().work(a_claim("1"))

    assert list(floor.ledger.closed) == ["1", "3"]
    assert line.endswith("and 1 batches ahead")


def test_a_ledger_with_nothing_to_claim_is_asked_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the growing pause: a slow batch would cost four round trips a second."""
    monkeypatch.setattr(runner_module, "_LOOK_PAUSE", 0.01)
    monkeypatch.setattr(runner_module, "_LONGEST_LOOK_PAUSE", 1000.0)
    monkeypatch.setattr(runner_module, "_GLANCE", 0.001)
    floor = Floor(ends_at_once=False)
    began = time.monotonic()

    def end_soon(batch: str) -> None:
        threading.Timer(0.5, floor.runs[batch].end).start()

    floor.on_start = end_soon
    floor.runner().work(a_claim("1"))

    assert 1 <= floor.ledger.looks <= 2 + math.log2(1 + (time.monotonic() - began) / 0.01)


def test_a_look_that_came_too_early_is_repeated_when_its_moment_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ``_pause``: the first look finds what idle workers may take; a glance later, lanes have run dry."""
    monkeypatch.setattr(runner_module, "_GLANCE", 3600.0)
    floor = Floor(ends_at_once=False)

    def claim_at_the_second_look(*, holder: str, waited: float) -> Claim | None:
        floor.ledger.looks += 1
        return a_claim("2") if floor.ledger.looks == 2 else None

    def end_all(batch: str) -> None:
        if batch == "2":
            for run in floor.runs.values():
                run.end()

    monkeypatch.setattr(floor.ledger, "claim_next", claim_at_the_second_look)
    floor.on_start = end_all

    def give_up() -> None:
        floor.runs["1"].end()

    gives_up = threading.Timer(PATIENCE * 2.0, give_up)
    gives_up.start()
    floor.runner().work(a_claim("1"))
    gives_up.cancel()

    assert list(floor.ledger.closed) == ["1", "2"]


def test_a_batch_that_outlives_its_own_deadlines_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the look at ``longest``: its lease would be renewed for ever, and its job never end."""
    monkeypatch.setattr(turn_module, "_GRACE", -360.0)  # the policy's 60 s and 300 s
    floor = Floor(ends_at_once=False, fetching=64)
    floor.on_start = lambda batch: threading.Timer(0.5, floor.runs[batch].end).start()

    floor.runner().work(a_claim("1"))

    assert set(floor.stuck) == {"Job job batch 1 is not over after 0 s: stuck."}


def test_a_batch_that_had_to_wait_for_redis_is_not_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ``_excused``: files get no names meanwhile, and their batches do not end."""
    monkeypatch.setattr(turn_module, "_GRACE", -356.0)  # 4 s in all
    monkeypatch.setattr(runner_module, "_CLOSE_PAUSE", 4.2)
    floor = Floor(ends_at_once=False, fetching=10)
    floor.ledger.waiting = ["2"]
    floor.ledger.failures = [redis.exceptions.ConnectionError()]

    def first_ends(batch: str) -> None:
        if batch == "2":
            floor.runs["1"].end()
            threading.Timer(4.6, floor.runs["2"].end).start()

    floor.on_start = first_ends
    floor.runner().work(a_claim("1"))

    assert floor.stuck == []


def test_without_room_nothing_is_claimed_ahead() -> None:
    floor = Floor(fetching=64)
    floor.ledger.waiting = ["2"]

    floor.runner(room=64).work(a_claim("1"))

    assert floor.ledger.waiting == ["2"]


@pytest.mark.parametrize("reason", ["the worker is stopping", "the disk is full"])
def test_nothing_is_claimed_ahead_when(reason: str) -> None:
    floor = Floor(ends_at_once=False)
    floor.ledger.waiting = ["2"]
    floor.is_stopping = reason == "the worker is stopping"

    def stall(batch: str) -> None:
        if reason == "the disk is full":
            floor.runs[batch].stalled = reason
            floor.runs[batch].end()

    floor.on_start = stall
    floor.runner().work(a_claim("1"))

    assert floor.ledger.waiting == ["2"]
    assert list(floor.ledger.closed) == ["1"]


def test_a_stopping_worker_gives_its_run_the_drain_and_hands_off_the_rest() -> None:
    now, later = BatchEntry(url=URL.format("now")), BatchEntry(url=URL.format("later"))
    floor = Floor(ends_at_once=False, is_stopping=True, leftovers=[Leftover(now), Leftover(later, after=9.0)])

    floor.runner().work(a_claim("1"))

    report, (first, second) = floor.ledger.closed["1"]
    assert floor.runs["1"].stopped_within == 7.0
    assert report.handed_off == [a_claim("1").child(1), a_claim("1").child(2)]
    assert (unpack_entries(first.payload), first.urls, first.after) == ([now], 1, 0.0)
    assert (unpack_entries(second.payload), second.urls, second.after) == ([later], 1, 9.0)
    assert floor.sent == [
        BatchMessage("job", a_claim("1").child(1))
    ]  # the deferred one is sent by the sweep when it is due


@pytest.mark.parametrize(
    ("is_owner", "gathered", "sent"),
    [(True, ["5"], ["5"]), (True, [], []), (False, ["5"], []), (True, redis.ConnectionError(), [])],
)
def test_a_message_is_sent_for_the_next_batch_of_a_host_that_has_one_at_a_time(
    is_owner: bool, gathered: list[str] | Exception, sent: list[str]
) -> None:
    floor = Floor(ledger=FakeLedger(gathered=gathered))

    floor.runner().work(replace(a_claim("1"), is_owner=is_owner))

    assert floor.sent == [BatchMessage("job", batch) for batch in sent]


def test_a_batch_of_a_job_that_was_paused_drains_and_the_others_go_on() -> None:
    """Guards ``_heed_orders``, and that what was told to drain is told so once: its time would begin anew."""
    now = BatchEntry(url=URL.format("now"))
    floor = Floor(ends_at_once=False, leftovers=[Leftover(now)], fetching=10)
    floor.ledger.waiting = ["2"]
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
    floor.runner(room=15).work(a_claim("1"))

    assert [run.stopped_within for run in drained] == [7.0, 7.0]
    assert [len(children) for _, children in floor.ledger.closed.values()] == [1, 1]


def test_a_body_that_waits_for_space_is_noted_and_holds_nobody_up() -> None:
    floor = Floor()

    def runs_short(batch: str) -> None:
        floor.runs[batch].short_of_space = "A body waits."

    floor.on_start = runs_short
    floor.runner().work(a_claim("1"))

    assert floor.disk_backoff.waiting == "A body waits."
    assert not floor.disk_backoff.lasts


def test_a_stalled_run_stands_the_worker_still_and_says_why() -> None:
    """Guards the note: without it the worker would claim what it just handed off."""
    entry = BatchEntry(url=URL.format("1"))
    floor = Floor(ledger=FakeLedger(waiting=["2"]), stalled="The disk is full.", leftovers=[Leftover(entry, after=5.0)])

    line = floor.runner().work(a_claim("1"))

    assert line.endswith(": The disk is full.")
    assert floor.disk_backoff.lasts
    assert floor.ledger.closed["1"][1][0].after == 5.0


def test_a_batch_that_the_disk_handed_back_whole_is_told_as_a_failure() -> None:
    entry = BatchEntry(url=URL.format("1"))
    floor = Floor(ledger=FakeLedger(), stalled="The disk is full.", leftovers=[Leftover(entry, after=5.0)])
    floor.on_start = lambda batch: floor.runs[batch].outcomes.clear()

    floor.runner().work(a_claim("1"))

    assert floor.told == [("begun", "1"), ("failed", "1")]


def test_while_the_worker_stands_still_nothing_is_claimed_ahead() -> None:
    """Guards the look at the disk_backoff: another task's run may be the one that stalled."""
    floor = Floor(ledger=FakeLedger(waiting=["2"]), ends_at_once=False)
    floor.disk_backoff.note("The disk is full.", began=0.0)

    def end_soon(batch: str) -> None:
        threading.Timer(0.3, floor.runs[batch].end).start()

    floor.on_start = end_soon
    floor.runner().work(a_claim("1"))

    assert floor.ledger.waiting == ["2"]


def test_a_batch_that_was_taken_over_is_abandoned_and_not_closed() -> None:
    floor = Floor(ends_at_once=False)
    floor.ledger.lost = {"1"}

    line = floor.runner(lease_seconds=0.01).work(a_claim("1"))

    assert floor.runs["1"].is_abandoned
    assert floor.ledger.closed == {}
    assert line == "another worker took it over"


def test_closing_waits_for_a_redis_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "_CLOSE_PAUSE", 0.0)
    floor = Floor()
    floor.ledger.failures = [redis.exceptions.ConnectionError(), redis.exceptions.OutOfMemoryError()]

    floor.runner().work(a_claim("1"))

    assert list(floor.ledger.closed) == ["1"]


def test_a_bug_in_closing_is_no_reason_to_wait_for_ever() -> None:
    floor = Floor()
    floor.ledger.failures = [redis.exceptions.ResponseError("a script failed")]

    with pytest.raises(redis.exceptions.ResponseError):
        floor.runner().work(a_claim("1"))


def test_an_interrupted_shift_abandons_all_its_runs() -> None:
    floor = Floor(ends_at_once=False, fetching=1)
    floor.ledger.waiting = ["2"]

    def interrupt(batch: str) -> None:
        if batch == "2":
            raise SystemExit

    floor.on_start = interrupt
    with pytest.raises(SystemExit):
        floor.runner().work(a_claim("1"))

    assert floor.runs["1"].is_abandoned
    assert floor.ledger.closed == {}
