"""A ledger whose clock the test sets: the real scripts, except where they read the time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import redis

from contract.ledger.editions import texts
from contract.ledger.ledger import RedisLedger
from contract.ledger.ports import Ledger
from contract.ledger.sweep import LOST_AFTER, Sweeper, SweepFindings
from contract.ledger.values import Claim, Drain, JobRecord, NewBatch
from contract.records.batches import BatchEntry, pack_entries
from contract.records.messages import BatchMessage
from contract.records.outcomes import Ending, Outcome
from contract.records.reports import BatchReport
from contract.urls.naming import output_name

JOB = "a-job"  # the job that tests have their batches in

_REAL = "redis.call('TIME')"
_SET = "redis.call('HMGET', 'test-clock', 'whole', 'micro')"


class Clocked(Ledger, Protocol):
    """A ledger on a clock that stands still until ``advance`` is called."""

    def set_clock(self, now: float) -> None: ...

    def learn_pause(self, host: str, seconds: float) -> None:
        """Know that a host asks to be left alone for so long."""
        ...

    def let_sweep(self, *, after_silence: bool) -> None:
        """Let the next caller sweep, whenever the last sweep was."""
        ...

    def empty(self) -> None:
        """Lose everything but the clock."""
        ...

    def advance(self, seconds: float) -> None:
        self.set_clock(self.now() + seconds)

    def swept(
        self, *, waiting: int | None = 0, lost_after: float = LOST_AFTER, after_silence: bool = False
    ) -> tuple[SweepFindings, list[str]]:
        """Sweep whenever the last sweep was, with so many messages in the queue; return the findings and the batches
        that messages were sent for, as ``job/batch``.
        """
        sent: list[BatchMessage] = []
        self.let_sweep(after_silence=after_silence)
        sweeper = Sweeper(self, holder="sweeper", queue_depth=lambda: waiting, send=sent.extend, lost_after=lost_after)
        return sweeper.sweep(), [f"{message.job}/{message.batch}" for message in sent]


class ClockedLedger(RedisLedger, Clocked):
    """The production ledger: only the text of its scripts is changed, while they are loaded, where they call TIME."""

    def __init__(self, client: redis.Redis, *, queue: Sequence[str] = (), lacks: Sequence[str] = ()) -> None:
        super().__init__(client, lease=20.0, keep=86400.0, queue=queue, lacks=lacks)
        self._scripts = {name: client.register_script(text.replace(_REAL, _SET)) for name, text in texts().items()}
        self.set_clock(1_700_000_000.0)

    def set_clock(self, now: float) -> None:
        self._clock = now
        self._redis.hset("test-clock", mapping={"whole": int(now), "micro": int(now % 1 * 1e6)})

    def now(self) -> float:
        return self._clock

    def learn_pause(self, host: str, seconds: float) -> None:
        self._redis.hset(self.keys.hosts, host, f"{(self.now() + seconds) * 1000:.0f} {{}}")

    def let_sweep(self, *, after_silence: bool) -> None:
        self._redis.delete(self.keys.sweeping)
        if after_silence:
            self._redis.delete(self.keys.watched)
        else:
            self._redis.set(self.keys.watched, b"1")

    def empty(self) -> None:
        self._redis.flushall()
        self.set_clock(self._clock)


def batch_of(batch: str, *urls: str) -> NewBatch:
    """Return a new batch of these URLs; without any, of one made from its id."""
    entries = [BatchEntry(url=url) for url in urls or (f"http://host.test/{batch}",)]
    return NewBatch(batch, pack_entries(entries), len(entries))


def urls_of(claim: Claim) -> list[str]:
    return [entry.url for entry in claim.entries()]


def an_outcome(url: str, ending: Ending, size: int | None = None) -> Outcome:
    return Outcome(url=url, name=output_name(url), ending=ending, bytes=size)


def report_of(
    claim: Claim, urls: Sequence[str] | None = None, *, handed_off: Sequence[str] = (), worker: str = "worker"
) -> BatchReport:
    """Return a report that says ok of these URLs; without any, of all the claim holds."""
    outcomes = [an_outcome(url, Ending.OK, 7) for url in (urls_of(claim) if urls is None else urls)]
    return BatchReport(
        job=claim.job, batch=claim.batch, worker=worker, pid=1, queued=claim.queued, started=1.0, finished=2.0,
        elapsed=1.0, busy=3.0, outcomes=outcomes, handed_off=handed_off,
    )  # fmt: skip


def round_trips(client: redis.Redis, act: Callable[[], Any]) -> list[str]:
    """Return the commands Redis was sent while ``act`` ran, without connecting and what scripts call inside."""
    with client.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis-py has no annotation here
        act()
        client.echo("over")
        seen: list[str] = []
        for command in monitor.listen():
            name = str(command["command"]).split(" ", 1)[0].upper()
            if name == "ECHO":
                return seen
            if command["client_type"] != "lua" and name not in ("HELLO", "CLIENT"):
                seen.append(name)
    raise AssertionError("unreachable")


def claimed(ledger: Ledger, batch: str, *, holder: str = "worker", job: str = JOB) -> Claim:
    claim = ledger.claim(job, batch, holder=holder)
    assert claim is not None
    return claim


def stored(ledger: Ledger, batch: str, *, job: str = JOB) -> BatchReport:
    (blob,) = ledger.reports(job, [batch])
    assert blob is not None
    return BatchReport.from_result(blob)


def record_of(ledger: Ledger, job: str = JOB) -> JobRecord:
    record = ledger.job(job)
    assert record is not None
    return record


def at_once(count: int, act: Callable[[int], Any]) -> list[Any]:
    """Return the answers of ``act(0..count-1)``, all called by threads that start together."""
    gate = threading.Barrier(count)

    def enter(number: int) -> Any:
        gate.wait()
        return act(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(enter, range(count)))


def next_of(ledger: Ledger, *, holder: str = "worker", message: BatchMessage | None = None) -> Claim:
    claim = ledger.claim_next(holder=holder, waited=0.0, message=message)
    assert claim is not None
    return claim


def drained(ledger: Ledger, *, place: str = "here", job: str = JOB, **options: Any) -> Drain:
    drain = ledger.drain(job, place, **options)
    assert drain is not None
    return drain


def refused_report(job: str, batch: str) -> BatchReport:
    outcomes = [an_outcome("gopher://x", Ending.REFUSED)]
    return BatchReport.without_work(job, batch, worker="producer", at=1.0, outcomes=outcomes, handed_off=[])
