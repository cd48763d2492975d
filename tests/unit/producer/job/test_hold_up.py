"""What is reported as holding a job up: each cause by itself, and the first of several."""

from __future__ import annotations

from typing import Any

import pytest

from contract.ledger.health import Census, Trouble
from contract.ledger.values import Held, JobState, OpenBatches
from producer.job.hold_up import Facts, HoldUp, what_holds_up

FULL = Trouble("The disk is full (ENOSPC).")
SHORT = Trouble("A body of 40 MiB waits.", takes_work=True)
HEALTHY = Census({"celery@a": 1.0, "celery@b": 2.0}, {})
NOBODY = Census({}, {})
HELD = {"celery@a": Held(["1"], 10)}


def batches(**open_: Any) -> OpenBatches:
    known = {"open": 5, "running": 1, "deferred": 0, "due": None, "held": HELD, "elsewhere": 0}
    return OpenBatches(**(known | open_))


def found(**facts: Any) -> HoldUp:
    known: dict[str, Any] = {"batches": batches(), "census": HEALTHY, "resumed_by": "trawl resume 7", "idle": 10.0}
    return what_holds_up(Facts(**(known | facts)), lambda left: f"12:00 + {left:.0f}")


WAITING = batches(running=0, held={})
PAUSED = batches(running=0, held={}, state=JobState.PAUSED)
DEFERRED = batches(open=2, running=0, deferred=2, due=200.0, held={})
QUIET = {"has_snapshots": True, "flying": 15, "quiet": 15, "slow_hosts": {"tar.test": 12, "pit.test": 3}}


@pytest.mark.parametrize(
    ("facts", "kind", "sentence"),
    [
        ({}, "", ""),
        ({"batches": WAITING, "census": NOBODY}, "worker", "No worker is running: start one."),
        ({"batches": WAITING, "census": NOBODY, "is_own": True}, "worker", "The worker is starting."),
        (
            {"census": Census({"celery@a": 22.4}, {})},
            "worker",
            "Worker celery@a has been silent for 22 s; its batches run again when their lease ends.",
        ),
        ({"census": Census({"celery@a": 22.4}, {}), "redis": "Redis is full"}, "redis", "Redis is full."),
        (
            {"census": Census({"celery@a": 1.0}, {"celery@a": FULL, "celery@b": FULL})},
            "worker",
            "2 of 2 workers take no work: The disk is full (ENOSPC).",
        ),
        (
            {"census": Census({"w": 1.0}, {"w": FULL}), "is_own": True},
            "worker",
            "The worker takes no work: The disk is full (ENOSPC).",
        ),
        (
            {"redis": "Redis is 79 % full; nothing is sent above 70 %"},
            "redis",
            "Redis is 79 % full; nothing is sent above 70 %.",
        ),
        ({"batches": batches(state=JobState.PAUSED)}, "paused", "The job is paused; `trawl resume 7` resumes it."),
        (
            {"batches": batches(state=JobState.PAUSED, pauser="run@laptop/7")},
            "paused",
            "The job is paused by run@laptop/7 until that command is resumed.",
        ),
        (
            {"census": Census({"celery@a": 1.0}, {"celery@a": SHORT})},
            "disk",
            "A worker is short of space: A body of 40 MiB waits.",
        ),
        (
            {"batches": DEFERRED, "waits": {"cdn.test": 200.0}},
            "hosts",
            "Everything left waits for cdn.test, which is asked again at 12:00 + 200, in 3:20.",
        ),
        (
            {"batches": DEFERRED, "waits": {"d": 90.0, "a": 40.0, "b": 50.0, "c": 60.0}},
            "hosts",
            "Everything left waits for a, b, c and 1 more; the first is asked again in 0:40.",
        ),
        ({"batches": DEFERRED}, "retry", "Everything left is retried in 3:20."),
        (
            {"has_snapshots": True, "unresolved": 3},
            "names",
            "The name servers do not answer: 3 hosts wait for an address.",
        ),
        (
            QUIET,
            "slow",
            "Waiting for slow responses: almost nothing arrives for 15 URLs from tar.test (12), pit.test (3).",
        ),
        (
            {"has_snapshots": True, "flying": 1, "quiet": 1, "slow_hosts": {"pit.test": 1}},
            "slow",
            "Waiting for slow responses: almost nothing arrives for 1 URL from pit.test.",
        ),
        (
            {"has_snapshots": True, "throttled": 200, "throttling": {"cdn.test": 4.2}, "retrying": 5},
            "hosts",
            "200 URLs wait for cdn.test, which throttles and is asked again at 12:00 + 4, in 0:04.",
        ),
        (
            {**QUIET, "throttled": 1, "throttling": {"b.test": 40.0, "a.test": 0.0}},
            "hosts",
            "1 URL waits for a.test, b.test, which throttle; the first is asked again at 12:00 + 0, now.",
        ),
        ({"has_snapshots": True, "retrying": 1}, "retry", "1 URL waits for a host's turn or the next attempt."),
        (
            {"batches": batches(running=0, held={}, elsewhere=8)},
            "turn",
            "It is another job's turn: the workers hold 8 batches of it.",
        ),
        ({"batches": WAITING}, "claim", "5 batches wait for a worker to claim them."),
        (
            {"batches": batches(open=0, running=0, held={}), "is_complete": False, "list_idle": 7.3},
            "list",
            "Waiting for the list: no new line for 7 s.",
        ),
        (
            {"census": Census({"celery@a": 1.0, "celery@b": 1.0}, {"celery@b": FULL})},
            "some-workers",
            "1 of 2 workers takes no work: The disk is full (ENOSPC).",
        ),
    ],
)
def test_each_cause_is_one_sentence(facts: dict[str, Any], kind: str, sentence: str) -> None:
    assert found(**facts) == HoldUp(kind, sentence)


def test_nothing_holds_a_job_up_while_outcomes_come() -> None:
    """Guards ``is_flowing``: silent transfers may be in flight beside fast ones for a long time."""
    for facts in (QUIET, {"batches": WAITING}, {"batches": WAITING, "census": NOBODY}, {"unresolved": 3}):
        assert found(**facts, is_flowing=True) == HoldUp(), facts


def test_one_transfer_that_receives_bytes_is_progress() -> None:
    assert found(**{**QUIET, "flying": 16}) == HoldUp()


def test_hosts_hold_nothing_up_while_other_urls_are_left() -> None:
    """Guards the first line of _hosts: one paused host of thousands is no reason."""
    for open_ in ({"running": 1}, {"running": 0, "open": 6, "held": {}}):
        hold_up = found(batches=batches(**{"open": 2, "deferred": 2, "due": 40.0} | open_), waits={"a.test": 40.0})
        assert hold_up.kind != "hosts"


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({"batches": PAUSED, "census": NOBODY, "redis": "Redis is full"}, "worker"),
        ({"batches": PAUSED, "redis": "Redis is full"}, "redis"),
        ({"batches": PAUSED}, "paused"),
        ({**QUIET, "census": Census({"celery@a": 1.0}, {"celery@a": SHORT})}, "disk"),
        ({**QUIET, "flying": 0, "quiet": 0, "unresolved": 1, "retrying": 5}, "names"),
        ({**QUIET, "retrying": 5}, "slow"),
    ],
)
def test_the_first_of_several_causes_is_reported(facts: dict[str, Any], kind: str) -> None:
    assert found(**facts).kind == kind


def test_a_worker_of_an_earlier_version_counts_although_it_does_not_report() -> None:
    """Guards ``running`` if no worker is known: it would be reported as missing while it fetches."""
    assert found(census=NOBODY).kind != "worker"


def test_without_an_answer_from_the_cluster_nothing_is_reported() -> None:
    assert found(batches=None, census=None) == HoldUp()


def test_the_time_left_is_hidden_only_if_the_job_is_stopped() -> None:
    assert found(**QUIET).stops
    assert not found(census=Census({"a": 1.0, "b": 1.0}, {"b": FULL})).stops
    assert not HoldUp().stops
