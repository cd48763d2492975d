"""Jobs take turns by what they have had; in whatever order batches are opened and claimed, as in memory."""

from __future__ import annotations

from typing import Any

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.ledger import control
from contract.ledger.values import Child
from contract.records.policy import JobPolicy
from tests.support.clocked_ledger import Clocked, ClockedLedger, batch_of, next_of, report_of
from tests.support.memory_ledger import MemoryLedger

JOBS = ("a", "b", "c")

OPENED = st.tuples(st.just("open"), st.sampled_from(JOBS), st.integers(1, 9))
CHANGED = st.tuples(st.sampled_from(["pause", "resume"]), st.sampled_from(JOBS), st.just(0))
PRIORITIZED = st.tuples(st.just("prioritize"), st.sampled_from(JOBS), st.sampled_from([0, 3]))
WEIGHED = st.tuples(st.just("weigh"), st.sampled_from(JOBS), st.sampled_from([0.25, 4.0]))
STEPS = st.one_of(OPENED, OPENED, CHANGED, PRIORITIZED, WEIGHED, *[st.none()] * 3)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=30, max_size=60))
def test_the_job_that_has_had_least_of_the_highest_priority_is_next(
    client: redis.Redis, steps: list[tuple[str, str, Any] | None]
) -> None:
    client.flushall()
    ledgers: tuple[Clocked, ...] = ClockedLedger(client), MemoryLedger()
    for ledger in ledgers:
        for job in JOBS:
            ledger.create(job, JobPolicy())
    for number, step in enumerate([*steps, *[None] * 30]):
        claims = [taken(ledger, number, step) for ledger in ledgers]
        assert claims[0] == claims[1]


def taken(ledger: Clocked, number: int, step: tuple[str, str, Any] | None) -> tuple[str, str] | None:
    """Take a step; without one, claim, and return what is claimed."""
    ledger.advance(1.0)
    match step:
        case "open", job, size:
            ledger.open(job, [batch_of(str(number), *(f"http://h.test/{number}/{url}" for url in range(size)))])
        case "pause", job, _:
            control.pause(ledger, job)
        case "resume", job, _:
            control.resume(ledger, job)
        case "prioritize", job, priority:
            control.prioritize(ledger, job, priority)
        case "weigh", job, weight:
            control.weigh(ledger, job, weight)
        case _:
            claim = ledger.claim_next(holder="worker", waited=0.0)
            return (claim.job, claim.batch) if claim is not None else None
    return None


LIVES = st.tuples(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.sampled_from([0.5, 1.0, 1.0, 3.0]))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(lives=st.dictionaries(st.sampled_from(JOBS), LIVES, min_size=2))
def test_jobs_that_all_have_batches_in_line_have_had_the_same_for_their_weight(
    ledger: Clocked, lives: dict[str, tuple[list[int], float]]
) -> None:
    """To within a batch, at every moment; ``lives`` are the sizes of each job's batches, and its weight."""
    ledger.empty()
    for job, (sizes, weight) in lives.items():
        ledger.create(job, JobPolicy())
        control.weigh(ledger, job, weight)
        ledger.open(job, [batch_of(str(n), *(f"http://h.test/{url}" for url in range(s))) for n, s in enumerate(sizes)])
    had, left = dict.fromkeys(lives, 0.0), {job: len(sizes) for job, (sizes, _) in lives.items()}

    while all(left.values()):
        claim = next_of(ledger)
        left[claim.job] -= 1
        had[claim.job] += claim.urls / lives[claim.job][1]

        assert max(had.values()) - min(had.values()) <= max(max(sizes) / weight for sizes, weight in lives.values())


def test_a_lost_batch_does_not_use_another_turn(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards ``overdue`` where turns are counted: a job whose workers die would get fewer and fewer."""
    ledger.create("unlucky", JobPolicy())
    ledger.open("unlucky", [batch_of(str(number)) for number in range(20)])
    next_of(ledger)
    had = client.zscore("trawl:2:turns", "unlucky")

    for _ in range(3):
        ledger.advance(21.0)
        ledger.swept()
        assert next_of(ledger).batch == "0"

    assert client.zscore("trawl:2:turns", "unlucky") == had == 1.0


def test_a_handed_off_batch_does_not_use_another_turn(client: redis.Redis, ledger: ClockedLedger) -> None:
    """Guards ``overdue`` of close.lua's children."""
    ledger.create("job", JobPolicy())
    ledger.open("job", [batch_of(str(number)) for number in range(9)])
    claim = next_of(ledger)
    had = client.zscore("trawl:2:turns", "job")
    children = [Child(batch_of("0").payload, 1)]
    assert ledger.close(claim, report_of(claim, [], handed_off=[claim.child(1)]), children)

    assert next_of(ledger).batch == claim.child(1)

    assert client.zscore("trawl:2:turns", "job") == had


def test_a_job_whose_batches_have_not_waited_long_enough_keeps_its_turn(
    client: redis.Redis, ledger: ClockedLedger
) -> None:
    ledger.create("young", JobPolicy())
    ledger.open("young", [batch_of("1")])

    assert ledger.claim_next(holder="worker", waited=5.0) is None

    assert client.zscore("trawl:2:turns", "young") is not None


def test_batches_in_no_jobs_line_are_claimed_last(client: redis.Redis, ledger: ClockedLedger) -> None:
    ledger.create("earlier", JobPolicy())
    ledger.open("earlier", [batch_of("1")])
    client.delete("trawl:2:job:earlier:line", "trawl:2:turns")

    assert next_of(ledger).batch == "1"
    assert ledger.claim_next(holder="worker", waited=0.0) is None
