"""The ledger beside the one in memory: any sequence of calls gets the same answers, and no URL is lost."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from contract.errors import TrawlError
from contract.ledger import control
from contract.ledger.values import Child, Claim, Drain, JobState
from contract.records.batches import BatchEntry, pack_entries, unpack_entries
from contract.records.messages import BatchMessage
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport
from tests.support.clocked_ledger import JOB, Clocked, ClockedLedger, batch_of, report_of, urls_of
from tests.support.memory_job import Job
from tests.support.memory_ledger import MemoryLedger

Answer = TypeVar("Answer")

ALL = 10_000
WAITS = (1.0, 5.0, 30.0, 100.0)  # seconds
HOSTS = {"a": {"a": 1}, "b": {"b": 1}, "several": {"c": 1, "d": 1}}  # whom URLs are parked for


class Tokens:
    """Children are named after tokens and sorted by their names: a life must be the same each time it is lived."""

    def __init__(self) -> None:
        self.made = 0

    def hex(self, size: int) -> str:
        self.made += 1
        return hashlib.md5(b"%d" % self.made).hexdigest()[: 2 * size]


class LedgerMachine(RuleBasedStateMachine):
    """Random lives of a job; times are halves of seconds, so that clock and scores are exact."""

    client: redis.Redis  # the test's own, set before the machine is run
    tokens: Tokens

    def __init__(self) -> None:
        super().__init__()
        self.tokens.made = 0
        self.client.flushall()
        self.ledger, self.memory = ClockedLedger(self.client), MemoryLedger()
        self.claims: list[Claim] = []
        self.closings: list[tuple[Claim, BatchReport, list[Child], Claim | None]] = []
        self.urls: list[str] = []
        self.drained: list[str] = []  # these are in the manifest
        self.names: set[str] = set()
        self.numbers = 0
        self.both(lambda ledger: ledger.create(JOB, JobPolicy()))

    def both(self, act: Callable[[Clocked], Answer]) -> Answer | None:
        """Do it to both, with the same tokens, and return what both answer; None where both refuse."""
        answers, made = list[Any](), self.tokens.made
        for ledger in (self.ledger, self.memory):
            self.tokens.made = made
            try:
                answers.append(act(ledger))
            except TrawlError as error:
                answers.append((type(error), str(error)))
                refused = True
            else:
                refused = False
        assert answers[0] == answers[1]
        self.names |= set(self.job.batches)
        return None if refused else answers[0]

    @property
    def job(self) -> Job:
        return self.memory.job_of(JOB)

    # ------------------------------------------------------------------ producer

    @rule(size=st.integers(1, 6))
    def enqueue(self, size: int) -> None:
        urls = [f"http://host.test/{len(self.urls) + number}" for number in range(size)]
        self.numbers += 1
        if self.both(lambda ledger: ledger.open(JOB, [batch_of(str(self.numbers), *urls)])) is not None:
            self.urls += urls

    @precondition(lambda self: self.names)
    @rule(data=st.data())
    def enqueue_again(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from([*self.job.batches, *self.memory.closed(JOB)] or ["1"]))
        if batch in self.job.batches or self.job.is_closed(batch):
            self.both(lambda ledger: ledger.open(JOB, [batch_of(batch, "http://host.test/something-else")]))

    # ------------------------------------------------------------------ workers

    @precondition(lambda self: self.names)
    @rule(data=st.data(), even_worn=st.sampled_from([False, False, True]))
    def claim(self, data: st.DataObject, even_worn: bool) -> None:
        batch = data.draw(st.sampled_from(sorted(self.job.batches) or sorted(self.names)))
        self.note(self.both(lambda ledger: ledger.claim(JOB, batch, holder="worker", even_worn=even_worn)))

    @rule(data=st.data(), waited=st.sampled_from([0.0, 0.0, 5.0]))
    def claim_next(self, data: st.DataObject, waited: float) -> None:
        """Whatever the message names, or nothing."""
        named = data.draw(st.sampled_from([None, "unheard-of", *sorted(self.names)]))
        message = BatchMessage(JOB, named) if named else None
        self.note(self.both(lambda ledger: ledger.claim_next(holder="worker", waited=waited, message=message)))

    def note(self, claim: Claim | None) -> None:
        if claim is not None:
            assert claim.urls == len(urls_of(claim))
            self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        self.both(lambda ledger: ledger.renew(claim))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), wait=st.sampled_from(WAITS), keeps=st.booleans())
    def close(self, data: st.DataObject, wait: float, keeps: bool) -> None:
        """Close with some URLs done, and hand off others: to run at once, later, or when their hosts may be asked; or
        go on with stragglers as a batch of our own.
        """
        claim = data.draw(st.sampled_from(self.claims))
        fates = ["done", "done", "now", "later", *HOSTS, *(["kept"] if keeps else [])]
        self.close_with(claim, [data.draw(st.sampled_from(fates)) for _ in urls_of(claim)], wait)

    @precondition(lambda self: self.job.is_running)
    @rule(data=st.data(), size=st.integers(1, 6), wait=st.sampled_from(WAITS))
    def enqueue_for_hosts_that_wait(self, data: st.DataObject, size: int, wait: float) -> None:
        self.enqueue(size)
        self.note(self.both(lambda ledger: ledger.claim(JOB, str(self.numbers), holder="worker")))
        self.close_with(self.claims[-1], [data.draw(st.sampled_from(["done", "b", *HOSTS])) for _ in range(size)], wait)

    def close_with(self, claim: Claim, fates: list[str], wait: float) -> None:
        parts: dict[str, list[str]] = {}
        for url, fate in zip(urls_of(claim), fates, strict=True):
            parts.setdefault(fate, []).append(url)
        done, stragglers = parts.pop("done", []), parts.pop("kept", None)
        children = [
            Child(packed(urls), len(urls), 0.0 if fate == "now" else wait, hosts_of(fate, urls))
            for fate, urls in parts.items()
        ]
        kept = None
        if stragglers is not None:
            kept = claim.kept(len(children) + 1, packed(stragglers), len(stragglers))
        names = [*(claim.child(index + 1) for index in range(len(children))), *([kept.batch] if kept else [])]
        report = report_of(claim, done, handed_off=names, worker=f"closing-{len(self.closings)}")

        known = set(self.job.batches)
        if self.both(lambda ledger: ledger.close(claim, report, children, kept=kept)):
            assert not set(names) & known, "a child's name is new"
            self.closings.append((claim, report, children, kept))
            self.note(kept)

    @precondition(lambda self: self.closings)
    @rule(data=st.data())
    def close_again(self, data: st.DataObject) -> None:
        """The reply was lost and the client repeats the call: confirmed while the report is there."""
        claim, report, children, kept = data.draw(st.sampled_from(self.closings))
        again = self.both(lambda ledger: ledger.close(claim, report, children, kept=kept))
        assert again == self.job.is_closed(claim.batch)

    @rule()
    def gather(self) -> None:
        """As the worker that closed a host's only batch does, and as any process may."""
        self.both(lambda ledger: ledger.gather(JOB))

    # ------------------------------------------------------------------ control

    @rule(by=st.sampled_from(["", "", "a command"]))
    def pause(self, by: str) -> None:
        self.both(lambda ledger: control.pause(ledger, JOB, by=by))

    @precondition(lambda self: not self.job.is_running)
    @rule(by=st.sampled_from(["", "", "a command", "another"]))
    def resume(self, by: str) -> None:
        self.both(lambda ledger: control.resume(ledger, JOB, by=by))

    @precondition(lambda self: len(self.urls) > 20)
    @rule()
    def cancel(self) -> None:
        self.both(lambda ledger: control.cancel(ledger, JOB))

    @rule(priority=st.integers(-2, 2))
    def prioritize(self, priority: int) -> None:
        """It is the only job: it makes no difference."""
        self.both(lambda ledger: control.prioritize(ledger, JOB, priority))

    # ------------------------------------------------------------------ time and recovery

    @rule(halves=st.integers(1, 100))
    def wait(self, halves: int) -> None:
        self.both(lambda ledger: ledger.advance(halves / 2))

    @rule(seconds=st.sampled_from([-86_400.0, -30.0, 30.0, 86_400.0]))
    def jump(self, seconds: float) -> None:
        self.both(lambda ledger: ledger.advance(seconds))

    @rule(host=st.sampled_from(["a", "b", "c", "d"]), seconds=st.sampled_from(WAITS))
    def learn_pause(self, host: str, seconds: float) -> None:
        self.both(lambda ledger: ledger.learn_pause(host, seconds))

    @rule(waiting=st.sampled_from([0, 1, 7, None]), after_silence=st.booleans())
    def sweep(self, waiting: int | None, after_silence: bool) -> None:
        def swept(ledger: Clocked) -> Any:
            return ledger.swept(waiting=waiting, after_silence=after_silence)

        _, sent = self.both(swept) or pytest.fail("a sweep refuses nothing")
        assert {name.partition("/")[2] for name in sent} <= set(self.job.having("queued")), "nothing held is sent"
        if waiting is not None:
            assert len(sent) <= max(0, len(self.job.having("queued")) - waiting), "no more than are missing"

    @rule(after_silence=st.booleans())
    def hosts_may_be_asked(self, after_silence: bool) -> None:
        self.both(lambda ledger: ledger.advance(128.0))
        self.sweep(None, after_silence)

    # ------------------------------------------------------------------ follower, and Redis itself

    @rule(limit=st.integers(1, 5), is_lost=st.booleans())
    def drain(self, limit: int, is_lost: bool) -> None:
        """Take reports and forget them with the next call; whose reply may be lost, so that it is made again."""

        def drained(forget: list[str], limit: int) -> Drain:
            def act(ledger: Clocked) -> Drain:
                drain = ledger.drain(JOB, "here", forget=forget, limit=limit)
                assert drain is not None
                return replace(drain, is_swept=True)

            return self.both(act) or pytest.fail("the job is known")

        reports = [BatchReport.from_result(blob or b"") for _, blob in drained([], limit).reports]
        self.drained += [outcome.url for report in reports for outcome in report.outcomes]
        safe = [batch for report in reports for batch in (report.batch, *report.gathered)]
        for _ in range(1 + is_lost):
            drained(safe, 0)
        assert self.both(lambda ledger: ledger.drain(JOB, "elsewhere")) == Drain("here")

    @rule()
    def empty_redis(self) -> None:
        """Batches that the manifest lacks are opened again from the journal."""
        self.both(lambda ledger: ledger.empty())
        assert self.both(lambda ledger: ledger.open(JOB, [batch_of("1")])) is None
        assert self.both(lambda ledger: ledger.create(JOB, JobPolicy()))
        missing = sorted(set(self.urls) - set(self.drained))
        if missing:
            self.numbers += 1
            self.both(lambda ledger: ledger.open(JOB, [batch_of(str(self.numbers), *missing)]))

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def redis_is_as_it_must_be(self) -> None:
        kept = Kept(self.client)
        self.every_url_is_in_one_place(kept)
        self.nothing_stays_behind(kept)

    def every_url_is_in_one_place(self, kept: Kept) -> None:
        places = [*self.drained]
        with_report = sorted(batch for batch, place in kept.closed.items() if place < math.inf)
        for blob in self.ledger.reports(JOB, with_report):
            assert blob is not None, "a closed batch has its report"
            places += [outcome.url for outcome in BatchReport.from_result(blob).outcomes]
        for batch, payload in kept.payloads.items():
            if batch not in kept.closed:  # gathered, and kept until its report is forgotten
                places += [entry.url for entry in unpack_entries(payload)]

        assert sorted(places) == sorted(self.urls)

    @invariant()
    def both_say_the_same(self) -> None:
        self.both(lambda ledger: ledger.job(JOB))
        # Outside its scripts Redis has its own clock.
        self.both(lambda ledger: replace(ledger.open_batches(JOB), due=None))
        self.both(lambda ledger: ledger.closed(JOB, limit=ALL))
        self.both(lambda ledger: ledger.reports(JOB, self.memory.closed(JOB, limit=ALL)))
        self.both(lambda ledger: ledger.longest_waiting(ALL))
        self.both(lambda ledger: ledger.count_in_line(JOB))
        if self.job.state is not JobState.CANCELLED:
            self.both(lambda ledger: sorted(ledger.waits(JOB, ALL), key=str))  # hosts of a piece have no order

    def nothing_stays_behind(self, kept: Kept) -> None:
        """Each batch stands in the lines it must stand in, and in no other."""
        job, queued = self.job, set(self.job.having("queued"))
        waiting = queued if job.is_running else set()
        overdue = {name for name in waiting if job.batches[name].is_overdue}
        assert kept.lines["aside"] == queued - waiting
        assert kept.lines["overdue"] == {f"{JOB}/{name}" for name in overdue}
        assert kept.lines["line"] == waiting - overdue
        assert kept.lines["leases"] == set(job.having("held"))
        assert kept.lines["due"] == set(job.having("deferred"))
        parked = job.having("parked")
        assert kept.lines["parcels"] == {f"{each.parcel} {name}" for name, each in parked.items()}
        assert kept.lines["turns" + (f":{job.priority}" if job.priority else "")] == ({JOB} if job.line() else set())
        assert kept.fields["batches"] == set(job.batches)
        assert kept.payloads == job.gathered | {name: each.payload for name, each in job.batches.items()}
        assert kept.fields["owners"] == {each.owns for each in job.batches.values() if each.owns}
        held = {each.token for each in job.having("held").values()}
        assert kept.fields["ahead"] <= held
        if job.state is not JobState.CANCELLED:
            assert kept.fields["parked"] == {each.parcel for each in parked.values()}
        if job.batches and (job.state is not JobState.PAUSED or held):
            assert kept.is_active, "a sweep will come past it"


class Kept:
    """What Redis has of the job, read at once."""

    def __init__(self, client: redis.Redis) -> None:
        of_job = f"job:{JOB}:"
        lines = ["overdue", *(f"turns:{number}" for number in (-2, -1, 1, 2)), "turns"]
        lines += [of_job + part for part in ("aside", "line", "leases", "due", "parcels")]
        fields = ["ahead", *(of_job + part for part in ("batches", "owners", "parked"))]
        with client.pipeline(transaction=False) as pipe:
            for key in lines:
                pipe.zrange(f"trawl:2:{key}", 0, -1)
            for key in fields:
                pipe.hkeys(f"trawl:2:{key}")
            pipe.zrange(f"trawl:2:{of_job}closed", 0, -1, withscores=True)
            pipe.hgetall(f"trawl:2:{of_job}payloads")
            pipe.sismember("trawl:2:active", JOB)
            *found, closed, payloads, is_active = pipe.execute()
        names = [{name.decode() for name in some} for some in found]
        self.lines = dict(zip((key.removeprefix(of_job) for key in lines), names, strict=False))
        self.fields = dict(zip((key.removeprefix(of_job) for key in fields), names[len(lines) :], strict=True))
        self.closed: dict[str, float] = {name.decode(): place for name, place in closed}
        self.payloads: dict[str, bytes] = {name.decode(): payload for name, payload in payloads.items()}
        self.is_active = bool(is_active)


def packed(urls: list[str]) -> bytes:
    return pack_entries([BatchEntry(url=url) for url in urls])


def hosts_of(fate: str, urls: list[str]) -> dict[str, int]:
    """Count the URLs of each host they are parked for, if that is what becomes of them."""
    if fate == "several" and len(urls) > 1:
        return {"c": 1, "d": len(urls) - 1}
    return {fate: len(urls)} if fate in HOSTS else {}


def test_every_url_is_always_in_exactly_one_place(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    LedgerMachine.client, LedgerMachine.tokens = client, Tokens()
    monkeypatch.setattr(secrets, "token_hex", LedgerMachine.tokens.hex)
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
