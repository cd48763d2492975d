"""The ledger beside a plain Python oracle: whatever is done in whatever order, every URL is in exactly one place."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from contract.errors import CancelledJobError, JobStateError, UnknownJobError
from contract.ledger import control
from contract.ledger.changing import MOST_ATTEMPTS
from contract.ledger.values import Child, Claim, Drain, JobState
from contract.records.batches import BatchEntry, pack_entries, unpack_entries
from contract.records.messages import BatchMessage
from contract.records.outcomes import Ending, ErrorClass
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport
from tests.support.clocked_ledger import JOB, ClockedLedger, batch_of, report_of, urls_of

LEASE = 20.0
tokens = itertools.count()


@dataclass(slots=True)
class Open:
    """An open batch, as the oracle sees it."""

    urls: list[str]
    state: str = "queued"
    token: str = ""
    attempts: int = 0
    until: float = 0.0  # when its lease ends, or it is due
    since: float = 0.0  # when it came to wait for a worker
    is_overdue: bool = False
    parcel: str = ""  # where it is parked
    pieces: list[str] = field(default_factory=list)  # gathered with it
    owns: str = ""  # the host it is for


@dataclass(slots=True)
class Oracle:
    """What must be true of one job; ``rows`` are stored and not drained, ``drained`` are in the manifest."""

    open: dict[str, Open] = field(default_factory=dict)
    closed: dict[str, list[str]] = field(default_factory=dict)
    drained: list[str] = field(default_factory=list)
    state: JobState = JobState.RUNNING
    waits: dict[str, float] = field(default_factory=dict)  # parcels nobody owns, and when they are due

    @property
    def is_running(self) -> bool:
        return self.state is JobState.RUNNING

    def turn(self, now: float) -> str | None:
        """Say whose turn it is: of what is overdue, then of all that waits, the longest waiting."""
        waiting = {batch: each for batch, each in self.open.items() if each.state == "queued" and self.is_running}
        overdue = [batch for batch, each in waiting.items() if each.is_overdue]
        for line in (overdue, sorted(set(waiting) - set(overdue)), list(waiting)):
            head = min(line, key=lambda batch: (waiting[batch].since, batch), default=None)
            if head is not None and waiting[head].since <= now:
                return head
        return None

    def close(
        self, batch: str, done: list[str], children: Mapping[str, tuple[list[str], float]], worn: int = 0, *, now: float
    ) -> None:
        for each in [batch, *self.open[batch].pieces]:
            self.closed[each] = done if each == batch else []
            if each != batch:
                del self.open[each]
        del self.open[batch]
        for child, (urls, due) in children.items():
            state = "deferred" if due else "queued"
            assert child not in self.open, "a child's name is new"
            self.open[child] = Open(urls, state=state, attempts=worn, until=due, since=now, is_overdue=not due)

    def park(self, child: str, urls: list[str], hosts: Mapping[str, int], wait: float, now: float) -> None:
        parcel, due = next(iter(hosts)), now + wait
        if len(hosts) > 1:
            grid = 2 ** max(0, math.floor(math.log2(max(wait, 8) / 8)))
            parcel, due = f"/{child}", math.ceil(due / grid) * grid
        self.open[child] = Open(urls, state="parked", until=due, parcel=parcel)
        if parcel not in self.owners:
            self.waits[parcel] = max(due, self.waits.get(parcel, 0.0))

    @property
    def owners(self) -> set[str]:
        return {each.owns for each in self.open.values() if each.owns}

    def parked(self, parcel: str) -> dict[str, Open]:
        return {batch: each for batch, each in self.open.items() if each.state == "parked" and each.parcel == parcel}

    @property
    def parcels(self) -> set[str]:
        return {each.parcel for each in self.open.values() if each.state == "parked"}


class LedgerMachine(RuleBasedStateMachine):
    """Random lives of a job; times are halves of seconds, so that clock and scores are exact."""

    client: redis.Redis  # the test's own, set before the machine is run

    def __init__(self) -> None:
        super().__init__()
        global tokens
        tokens = itertools.count()
        self.client.flushall()
        self.ledger = ClockedLedger(self.client, lease=LEASE)
        self.ledger.create(JOB, JobPolicy())
        self.oracle = Oracle()
        self.claims: list[Claim] = []
        self.closings: list[tuple[Claim, BatchReport, list[Child]]] = []
        self.urls: list[str] = []
        self.numbers = self.size = 0
        self.pauser, self.priority = "", 0

    # ------------------------------------------------------------------ producer

    def new_batch(self, urls: list[str]) -> None:
        self.numbers += 1
        batch = str(self.numbers)
        waiting = self.ledger.open(JOB, [batch_of(batch, *urls)])
        self.size = max(self.size, len(urls))
        assert waiting == ([batch] if self.oracle.is_running else [])
        self.oracle.open[batch] = Open(urls, since=self.ledger.now())

    @rule(size=st.integers(1, 6))
    def enqueue(self, size: int) -> None:
        urls = [f"http://host.test/{len(self.urls) + number}" for number in range(size)]
        if self.oracle.state is JobState.CANCELLED:
            with pytest.raises(CancelledJobError):
                self.ledger.open(JOB, [batch_of("1000000", *urls)])
            return
        self.urls += urls
        self.new_batch(urls)

    @precondition(lambda self: self.oracle.state is not JobState.CANCELLED)
    @precondition(lambda self: self.oracle.open or self.oracle.closed)
    @rule(data=st.data())
    def enqueue_again(self, data: st.DataObject) -> None:
        known = sorted([*self.oracle.open, *self.oracle.closed])
        batch = data.draw(st.sampled_from(known))

        waiting = self.ledger.open(JOB, [batch_of(batch, "http://host.test/something-else")])

        is_queued = batch in self.oracle.open and self.oracle.open[batch].state == "queued"
        is_queued = is_queued and self.oracle.is_running
        assert waiting == ([batch] if is_queued else [])

    # ------------------------------------------------------------------ workers

    @precondition(lambda self: self.oracle.open)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        self.take(data.draw(st.sampled_from(sorted(self.oracle.open))))

    @precondition(lambda self: self.oracle.closed)
    @rule(data=st.data())
    def claim_what_is_closed(self, data: st.DataObject) -> None:
        assert self.ledger.claim(JOB, data.draw(st.sampled_from(sorted(self.oracle.closed))), holder="late") is None

    def take(self, batch: str) -> None:
        claim = self.ledger.claim(JOB, batch, holder="worker")
        expected = self.oracle.open[batch]
        if expected.state != "queued" or expected.attempts >= MOST_ATTEMPTS or not self.oracle.is_running:
            assert claim is None
            return
        assert claim is not None
        self.note(claim)

    @rule(data=st.data())
    def claim_next(self, data: st.DataObject) -> None:
        """Whatever the message names, or nothing."""
        known = sorted([*self.oracle.open, *self.oracle.closed])
        named = data.draw(st.sampled_from([None, "unheard-of", *known]))
        message = BatchMessage(JOB, named) if named else None
        claim = self.ledger.claim_next(holder="worker", waited=0.0, message=message)

        assert (claim and claim.batch) == self.oracle.turn(self.ledger.now())
        if claim is not None:
            self.note(claim)

    def note(self, claim: Claim) -> None:
        expected = self.oracle.open[claim.batch]
        expected.state, expected.token, expected.until = "held", claim.token, self.ledger.now() + LEASE
        expected.attempts += 1
        assert (claim.attempt, claim.urls, urls_of(claim)) == (expected.attempts, len(expected.urls), expected.urls)
        self.claims.append(claim)

    def is_ours(self, claim: Claim) -> bool:
        expected = self.oracle.open.get(claim.batch)
        return expected is not None and expected.token == claim.token

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))

        assert self.ledger.renew(claim) == self.is_ours(claim)

        if self.is_ours(claim):
            self.oracle.open[claim.batch].until = self.ledger.now() + LEASE

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), wait=st.integers(1, 60))
    def close(self, data: st.DataObject, wait: int) -> None:
        """Close with all URLs done, or hand some off: to run at once, or later, or both."""
        claim = data.draw(st.sampled_from(self.claims))
        fates = [data.draw(st.sampled_from(["done", "done", "now", "later"])) for _ in range(claim.urls)]
        parts: dict[str, list[str]] = {"done": [], "now": [], "later": []}
        for url, fate in zip(urls_of(claim), fates, strict=True):
            parts[fate].append(url)
        handed_off = [(parts[fate], after) for fate, after in (("now", 0.0), ("later", float(wait))) if parts[fate]]
        children = [
            Child(pack_entries([BatchEntry(url=url) for url in urls]), len(urls), after) for urls, after in handed_off
        ]
        names = [claim.child(index + 1) for index in range(len(children))]
        report = report_of(claim, parts["done"], handed_off=names, worker=f"closing-{len(self.closings)}")

        expected = self.is_ours(claim)
        assert self.ledger.close(claim, report, children) == expected

        if expected:
            now = self.ledger.now()
            dues = [(urls, after and now + after) for urls, after in handed_off]
            owned = self.oracle.open[claim.batch].owns
            self.oracle.close(claim.batch, parts["done"], dict(zip(names, dues, strict=True)), now=now)
            self.closings.append((claim, report, children))
            self.release(owned)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), wait=st.sampled_from([1.0, 5.0, 30.0, 100.0]))
    def close_and_park(self, data: st.DataObject, wait: float) -> None:
        """Close with some URLs done; the hosts of the others, alone or of several, ask to wait."""
        self.park(data, data.draw(st.sampled_from(self.claims)), wait)

    @precondition(lambda self: self.oracle.is_running)
    @rule(data=st.data(), size=st.integers(1, 6), wait=st.sampled_from([1.0, 30.0]))
    def enqueue_for_hosts_that_wait(self, data: st.DataObject, size: int, wait: float) -> None:
        self.enqueue(size)
        self.take(str(self.numbers))
        self.park(data, self.claims[-1], wait)

    @rule(after_silence=st.booleans())
    def hosts_may_be_asked(self, after_silence: bool) -> None:
        self.ledger.advance(128.0)
        self.sweep(None, after_silence)

    def park(self, data: st.DataObject, claim: Claim, wait: float) -> None:
        parts: dict[str, list[str]] = {}
        for url in urls_of(claim):
            parts.setdefault(data.draw(st.sampled_from(["done", "a", "b", "b", "several"])), []).append(url)
        done, parked = parts.pop("done", []), list(parts.items())
        hosts = [
            {"c": 1, "d": len(urls) - 1} if host == "several" and len(urls) > 1 else {host: len(urls)}
            for host, urls in parked
        ]
        children = [
            Child(pack_entries([BatchEntry(url=url) for url in urls]), len(urls), wait, its)
            for (_, urls), its in zip(parked, hosts, strict=True)
        ]
        names = [claim.child(index + 1) for index in range(len(children))]
        report = report_of(claim, done, handed_off=names, worker=f"closing-{len(self.closings)}")

        expected = self.is_ours(claim)
        assert self.ledger.close(claim, report, children) == expected

        if expected:
            owned = self.oracle.open[claim.batch].owns
            self.oracle.close(claim.batch, done, {}, now=self.ledger.now())
            for name, (_, urls), its in zip(names, parked, hosts, strict=True):
                self.oracle.park(name, urls, its, wait, self.ledger.now())
            self.closings.append((claim, report, children))
            self.release(owned)

    def release(self, host: str) -> None:
        """The batch that a host had for itself is closed: the next one follows at once if the host may be asked."""
        if host and host in self.oracle.parcels and host not in self.oracle.owners:
            now = self.ledger.now()
            if self.oracle.waits.setdefault(host, now) <= now:
                self.gathered()

    def gathered(self) -> set[str]:
        """Take over which batches were made of the pieces that have come due, if each is as it should be."""
        now, oracle, made = self.ledger.now(), self.oracle, set[str]()
        if not oracle.is_running:
            return made
        texts = cast("dict[bytes, bytes]", self.client.hgetall(f"trawl:2:job:{JOB}:batches"))
        records = {batch.decode(): json.loads(text) for batch, text in texts.items()}
        due = {parcel for parcel, since in oracle.waits.items() if since <= now}
        for parcel in due:
            pieces = oracle.parked(parcel)
            left = {batch for batch in pieces if records[batch]["state"] == "parked"}
            if sum(len(each.urls) for each in pieces.values()) <= self.size:
                assert not left, "all of it comes due"
            else:
                (head,) = [batch for batch in pieces if records[batch].get("owns") == parcel]
                assert {head, *records[head].get("pieces", [])} == set(pieces) - left, "and no other host's"
            del oracle.waits[parcel]
        for batch in [batch for batch, each in oracle.open.items() if each.state == "parked"]:
            record = records[batch]
            if record["state"] != "queued":
                continue
            first, sizes = oracle.open[batch], [len(oracle.open[batch].urls)]
            first.state, first.is_overdue, first.since, first.owns = "queued", True, now, record.get("owns", "")
            first.pieces = record.get("pieces", [])
            first.urls = [*first.urls, *(url for piece in first.pieces for url in oracle.open[piece].urls)]
            assert {first.parcel, *(oracle.open[piece].parcel for piece in first.pieces)} <= due
            for piece in first.pieces:
                sizes.append(len(oracle.open[piece].urls))
                oracle.open[piece].state, oracle.open[piece].urls = "gathered", []
            assert sum(sizes[:-1]) < self.size, "none is larger than it must be"
            made.add(batch)
        pooled = [len(oracle.open[batch].urls) for batch in made if not oracle.open[batch].owns]
        assert sum(size < self.size for size in pooled) <= 1, "all but one are full"
        return made

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def close_around_stragglers(self, data: st.DataObject) -> None:
        """Close with some URLs done and some handed off, and go on with the others as a batch of our own."""
        claim = data.draw(st.sampled_from(self.claims))
        fates = [data.draw(st.sampled_from(["done", "kept", "later"])) for _ in range(claim.urls)]
        parts: dict[str, list[str]] = {"done": [], "kept": [], "later": []}
        for url, fate in zip(urls_of(claim), fates, strict=True):
            parts[fate].append(url)
        children = [Child(pack_entries([BatchEntry(url=url) for url in parts["later"]]), len(parts["later"]), 7.0)]
        children = children if parts["later"] else []
        payload = pack_entries([BatchEntry(url=url) for url in parts["kept"]])
        kept = claim.kept(len(children) + 1, payload, len(parts["kept"]))
        names = [*(claim.child(1) for _ in children), kept.batch]
        report = report_of(claim, parts["done"], handed_off=names, worker=f"closing as {kept.token}")

        expected = self.is_ours(claim)
        assert self.ledger.close(claim, report, children, kept=kept) == expected

        if expected:
            now, attempts = self.ledger.now(), self.oracle.open[claim.batch].attempts
            handed_off = dict.fromkeys(names[:-1], (parts["later"], now + 7.0))
            owned = self.oracle.open[claim.batch].owns
            self.oracle.close(claim.batch, parts["done"], handed_off, now=now)
            assert kept.batch not in self.oracle.open, "a child's name is new"
            self.oracle.open[kept.batch] = Open(
                parts["kept"], state="held", token=kept.token, attempts=attempts, until=now + LEASE
            )
            self.claims.append(kept)
            self.release(owned)

    @precondition(lambda self: self.closings)
    @rule(data=st.data())
    def close_again(self, data: st.DataObject) -> None:
        """The reply was lost and the client repeats the call: confirmed while the report is there."""
        claim, report, children = data.draw(st.sampled_from(self.closings))

        assert self.ledger.close(claim, report, children) == (claim.batch in self.oracle.closed)

    # ------------------------------------------------------------------ control

    @rule(by=st.sampled_from(["", "", "a command"]))
    def pause(self, by: str) -> None:
        if self.oracle.state is JobState.CANCELLED:
            with pytest.raises(JobStateError):
                control.pause(self.ledger, JOB, by=by)
            return
        assert control.pause(self.ledger, JOB, by=by) == self.oracle.is_running
        if self.oracle.is_running or not by:
            self.pauser = by
        self.oracle.state = JobState.PAUSED

    @precondition(lambda self: self.oracle.state is not JobState.RUNNING)
    @rule(by=st.sampled_from(["", "", "a command", "another"]))
    def resume(self, by: str) -> None:
        if self.oracle.state is JobState.CANCELLED:
            with pytest.raises(JobStateError):
                control.resume(self.ledger, JOB, by=by)
            return
        ends = not by or by == self.pauser
        assert control.resume(self.ledger, JOB, by=by) == ends
        if ends:
            self.oracle.state = JobState.RUNNING

    @precondition(lambda self: len(self.urls) > 20)
    @rule()
    def cancel(self) -> None:
        assert control.cancel(self.ledger, JOB) == (self.oracle.state is not JobState.CANCELLED)
        self.oracle.state = JobState.CANCELLED

    @rule(priority=st.integers(-2, 2))
    def prioritize(self, priority: int) -> None:
        """It is the only job: it makes no difference."""
        control.prioritize(self.ledger, JOB, priority)
        self.priority = priority

    def end_cancelled(self) -> None:
        """What nobody holds ends with the sweep, some batches at a time."""
        ended = set(self.ledger.closed(JOB, limit=10_000)) - set(self.oracle.closed)
        unheld = {batch for batch, each in self.oracle.open.items() if each.state not in ("held", "gathered")}
        ended -= {piece for each in self.oracle.open.values() for piece in each.pieces}
        assert ended <= unheld
        assert ended == unheld or len(ended) >= 20
        for batch, blob in zip(sorted(ended), self.ledger.reports(JOB, sorted(ended)), strict=True):
            assert blob is not None
            outcomes = BatchReport.from_result(blob).outcomes
            assert {(outcome.ending, outcome.error) for outcome in outcomes} <= {(Ending.FAILED, ErrorClass.CANCELLED)}
            self.oracle.close(batch, self.oracle.open[batch].urls, {}, now=self.ledger.now())

    # ------------------------------------------------------------------ time and recovery

    @rule(halves=st.integers(1, 100))
    def wait(self, halves: int) -> None:
        self.ledger.advance(halves / 2)

    @rule(seconds=st.sampled_from([-86_400.0, -30.0, 30.0, 86_400.0]))
    def jump(self, seconds: float) -> None:
        self.ledger.advance(seconds)

    @rule(waiting=st.sampled_from([0, 1, 7, None]), after_silence=st.booleans())
    def sweep(self, waiting: int | None, after_silence: bool) -> None:
        findings, messages = self.ledger.swept(waiting=waiting, after_silence=after_silence)
        sent = [message.partition("/")[2] for message in messages]
        now, open_ = self.ledger.now(), self.oracle.open
        ended = [b for b, e in open_.items() if e.state == "held" and e.until <= now and not after_silence]
        due = [b for b, e in open_.items() if e.state == "deferred" and e.until <= now]
        if not self.oracle.is_running:
            assert (findings.again, findings.split, findings.poisoned, sent) == ({}, {}, {}, [])
            for batch in [*ended, *due]:
                each = open_[batch]
                each.state, each.token, each.since, each.is_overdue = "queued", "", now, True
            if self.oracle.state is JobState.CANCELLED:
                self.end_cancelled()
            return
        worn = {batch for batch in ended if open_[batch].attempts >= MOST_ATTEMPTS}
        made = self.gathered()

        assert sorted(set(findings.again.get(JOB, [])) - made) == sorted({*ended, *due} - worn)
        assert set(findings.split.get(JOB, [])) == {batch for batch in worn if len(open_[batch].urls) > 1}
        assert set(findings.poisoned.get(JOB, [])) == {batch for batch in worn if len(open_[batch].urls) == 1}
        for batch in findings.again.get(JOB, []):
            open_[batch].state, open_[batch].token = "queued", ""
            open_[batch].since, open_[batch].is_overdue = now, True
        queued = {batch for batch, each in open_.items() if each.state == "queued"}
        assert set(sent) <= queued, "nothing held or deferred is sent"
        if waiting is not None:
            assert len(sent) <= max(0, len(queued) - waiting), "no more than are missing"
            assert len(sent) >= min(len(findings.again.get(JOB, [])), max(0, len(queued) - waiting))
        for batch in worn:
            urls = open_[batch].urls
            halves = [(urls[: len(urls) // 2], 0.0), (urls[len(urls) // 2 :], 0.0)] if len(urls) > 1 else []
            (blob,) = self.ledger.reports(JOB, [batch])
            assert blob is not None
            names = BatchReport.from_result(blob).handed_off
            owned = open_[batch].owns
            self.oracle.close(
                batch, [] if halves else urls, dict(zip(names, halves, strict=True)), MOST_ATTEMPTS - 2, now=now
            )
            self.release(owned)

    # ------------------------------------------------------------------ follower, and Redis itself

    @precondition(lambda self: self.oracle.closed)
    @rule(limit=st.integers(1, 5), is_lost=st.booleans())
    def drain(self, limit: int, is_lost: bool) -> None:
        """Take reports and forget them with the next call; whose reply may be lost, so that it is made again."""
        drain = self.ledger.drain(JOB, "here", limit=limit)
        assert drain is not None
        for _, blob in drain.reports:
            assert blob is not None
            self.oracle.drained += [outcome.url for outcome in BatchReport.from_result(blob).outcomes]
        gathered = [piece for _, blob in drain.reports for piece in BatchReport.from_result(blob or b"").gathered]
        batches = [*(batch for batch, _ in drain.reports), *gathered]
        for batch in batches:
            del self.oracle.closed[batch]
        for _ in range(1 + is_lost):
            record = getattr(self.ledger.drain(JOB, "here", forget=batches, limit=0), "record", None)
            assert record is not None
            assert record.undrained == len(self.oracle.closed)
        assert self.ledger.drain(JOB, "elsewhere") == Drain("here")

    @rule()
    def empty_redis(self) -> None:
        """What the manifest does not have is opened anew from the journal."""
        self.client.flushall()
        self.ledger.set_clock(self.ledger.now())
        assert self.ledger.job(JOB) is None
        with pytest.raises(UnknownJobError, match="no longer knows"):
            self.ledger.open(JOB, [batch_of("1")])
        self.ledger.create(JOB, JobPolicy())
        self.oracle.state, self.priority = JobState.RUNNING, 0
        self.size = 0
        self.oracle.waits.clear()
        self.oracle.open.clear()
        self.oracle.closed.clear()
        missing = sorted(set(self.urls) - set(self.oracle.drained))
        if missing:
            self.new_batch(missing)

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def every_url_is_in_one_place(self) -> None:
        places = [*self.oracle.drained]
        closed = self.ledger.closed(JOB, limit=10_000)
        assert set(closed) == set(self.oracle.closed)
        closed = [batch for batch in closed if self.client.zscore(f"trawl:2:job:{JOB}:closed", batch) != math.inf]
        for blob in self.ledger.reports(JOB, closed):
            assert blob is not None, "a closed batch has its report"
            places += [outcome.url for outcome in BatchReport.from_result(blob).outcomes]
        payloads = cast("dict[bytes, bytes]", self.client.hgetall(f"trawl:2:job:{JOB}:payloads"))
        for batch, payload in payloads.items():
            if batch.decode() in self.oracle.closed:  # gathered, and kept until its report is forgotten
                continue
            places += [entry.url for entry in unpack_entries(payload)]

        assert sorted(places) == sorted(self.urls)

    @invariant()
    def the_ledger_is_what_the_oracle_says(self) -> None:
        record = self.ledger.job(JOB)
        assert record is not None
        states = {batch: each.state for batch, each in self.oracle.open.items()}
        assert record.open == len(states)
        assert record.undrained == len(self.oracle.closed)
        assert record.state is self.oracle.state
        queued = {batch for batch, its in states.items() if its == "queued"}
        aside = cast("list[bytes]", self.client.zrange(f"trawl:2:job:{JOB}:aside", 0, -1))
        assert {batch.decode() for batch in aside} == (set() if self.oracle.is_running else queued)
        assert self.waiting("sent") == (queued if self.oracle.is_running else set())
        overdue = {batch for batch, each in self.oracle.open.items() if each.state == "queued" and each.is_overdue}
        overdue = overdue if self.oracle.is_running else set()
        assert self.waiting("overdue") == overdue
        line = cast("list[bytes]", self.client.zrange(f"trawl:2:job:{JOB}:line", 0, -1))
        assert {batch.decode() for batch in line} == self.waiting("sent") - overdue
        turns = f"trawl:2:turns:{self.priority}" if self.priority else "trawl:2:turns"
        assert bool(line) == (self.client.zscore(turns, JOB) is not None)
        held = {each.token for each in self.oracle.open.values() if each.state == "held"}
        assert {token.decode() for token in cast("list[bytes]", self.client.hkeys("trawl:2:ahead"))} <= held
        for state, key in {"held": "leases", "deferred": "due"}.items():
            members = cast("list[bytes]", self.client.zrange(f"trawl:2:job:{JOB}:{key}", 0, -1))
            assert {member.decode() for member in members} == {batch for batch, its in states.items() if its == state}
        for key in ("batches", "payloads"):
            known = cast("list[bytes]", self.client.hkeys(f"trawl:2:job:{JOB}:{key}"))
            assert {batch.decode() for batch in known} - set(self.oracle.closed) == set(states)
        parcels = cast("list[bytes]", self.client.zrange(f"trawl:2:job:{JOB}:parcels", 0, -1))
        parked = {f"{each.parcel} {batch}" for batch, each in self.oracle.open.items() if each.state == "parked"}
        assert {name.decode() for name in parcels} == parked
        if self.oracle.state is not JobState.CANCELLED:
            waits: Any = self.client.zrange(f"trawl:2:job:{JOB}:waits", 0, -1, withscores=True)
            assert {parcel.decode(): due for parcel, due in waits} == self.oracle.waits
            assert set(self.oracle.waits) == self.oracle.parcels - self.oracle.owners
            counts: Any = self.client.hgetall(f"trawl:2:job:{JOB}:parked")
            assert {parcel.decode(): int(urls) for parcel, urls in counts.items()} == {
                parcel: sum(len(each.urls) for each in self.oracle.parked(parcel).values())
                for parcel in self.oracle.parcels
            }
            owners = cast("list[bytes]", self.client.hkeys(f"trawl:2:job:{JOB}:owners"))
            assert {host.decode() for host in owners} == self.oracle.owners
        if states and (self.oracle.state is not JobState.PAUSED or "held" in states.values()):
            assert self.client.sismember("trawl:2:active", JOB), "a sweep will come past it"

    def waiting(self, key: str) -> set[str]:
        members = cast("list[bytes]", self.client.zrange(f"trawl:2:{key}", 0, -1))
        assert all(member.startswith(f"{JOB}/".encode()) for member in members)
        return {member.decode().removeprefix(f"{JOB}/") for member in members}


def test_every_url_is_in_one_place_whatever_happens(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    LedgerMachine.client = client
    # Children are named after tokens and sorted by their names: a life must be the same each time it is lived.
    monkeypatch.setattr(secrets, "token_hex", lambda size: hashlib.md5(b"%d" % next(tokens)).hexdigest()[: 2 * size])
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
