"""What holds a job up: the first of an ordered list of causes that applies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from contract.ledger.health import Census, Trouble
from contract.ledger.values import JobState, OpenBatches
from producer.formatting import count, counted, duration

_STILL = 5.0  # seconds without an outcome after which transfers in flight are examined
_LIST_SLOW = 2.0  # seconds without a line from the list, if nothing else is left to do
_NAMED = 3  # hosts or workers
_SLOWS = ("some-workers",)


@dataclass(frozen=True, slots=True)
class HoldUp:
    """``kind`` is a word for machines, ``sentence`` for people; both are empty if nothing holds the job up."""

    kind: str = ""
    sentence: str = ""

    @property
    def stops(self) -> bool:
        """Does it stop the job, as far as is known?"""
        return bool(self.kind) and self.kind not in _SLOWS


NOTHING = HoldUp()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known about a job and everything it depends on; None if the cluster was not asked, or does not answer.

    ``idle`` is the seconds since the last outcome, ``list_idle`` since the last line of the list; ``is_flowing``:
    outcomes are coming. ``resumed_by`` is the command that ends a pause. ``waits`` has the paused hosts, with the
    seconds left of each pause. ``flying`` and similar fields come from snapshots of open batches.
    """

    batches: OpenBatches | None
    census: Census | None
    resumed_by: str
    is_own: bool = False
    is_complete: bool = True
    redis: str = ""
    idle: float = 0.0
    is_flowing: bool = False
    list_idle: float = 0.0
    waits: Mapping[str, float] = field(default_factory=dict)
    has_snapshots: bool = False
    flying: int = 0
    quiet: int = 0
    unresolved: int = 0
    retrying: int = 0
    throttled: int = 0
    throttling: Mapping[str, float] = field(default_factory=dict)
    slow_hosts: Mapping[str, int] = field(default_factory=dict)

    @property
    def blocked(self) -> Mapping[str, Trouble]:
        """The workers that take no work."""
        troubles = self.census.troubles if self.census is not None else {}
        return {worker: trouble for worker, trouble in troubles.items() if not trouble.takes_work}


def what_holds_up(facts: Facts, at: Callable[[float], str]) -> HoldUp:
    """Return what holds up an unfinished job; ``at`` formats the time of day that many seconds from now."""
    return next(_found(facts, at), NOTHING)


def _found(facts: Facts, at: Callable[[float], str]) -> Iterator[HoldUp]:
    batches = facts.batches
    is_open = batches is None or batches.open > 0
    if is_open:
        yield from _workers(facts)
    if facts.redis:
        yield HoldUp("redis", f"{facts.redis}.")
    if batches is not None:
        yield from _what_is_open(facts, batches, at)
    yield from _some_workers(facts)


def _what_is_open(facts: Facts, batches: OpenBatches, at: Callable[[float], str]) -> Iterator[HoldUp]:
    if batches.state is JobState.PAUSED:
        by = (
            f" by {batches.pauser} until that command is resumed"
            if batches.pauser
            else f"; `{facts.resumed_by}` resumes it"
        )
        yield HoldUp("paused", f"The job is paused{by}.")
    if batches.open > 0:
        yield from _space(facts)
        yield from _hosts(facts, batches, at)
        if not facts.is_flowing:
            yield from _in_flight(facts, batches, at)
            yield from _turns(batches)
    elif not facts.is_complete and facts.list_idle >= _LIST_SLOW:
        yield HoldUp("list", f"Waiting for the list: no new line for {_whole(facts.list_idle)} s.")


def _workers(facts: Facts) -> Iterator[HoldUp]:
    census, batches = facts.census, facts.batches
    if census is None:
        return
    present = census.present
    if not present and facts.is_flowing:
        return
    if not present:
        silent = {worker: age for worker, age in census.workers.items() if batches and worker in batches.held}
        if silent and not facts.redis:  # which may be why nothing is heard of them
            worker, age = max(silent.items(), key=lambda item: item[1])
            yield HoldUp(
                "worker",
                f"Worker {worker} has been silent for {_whole(age)} s; its batches run again when their lease ends.",
            )
        elif batches is None or not batches.running:  # an earlier version does not report, but works
            yield HoldUp("worker", "The worker is starting." if facts.is_own else "No worker is running: start one.")
    elif set(present) <= set(facts.blocked):
        yield HoldUp("worker", _blocked(facts, len(present)))


def _some_workers(facts: Facts) -> Iterator[HoldUp]:
    if facts.blocked and facts.census is not None:
        yield HoldUp("some-workers", _blocked(facts, len(facts.census.present)))


def _blocked(facts: Facts, present: int) -> str:
    reasons = [trouble.reason for trouble in facts.blocked.values()]
    reason = max(reasons, key=reasons.count)
    if facts.is_own:
        return f"The worker takes no work: {reason}"
    number = len(reasons)
    workers = f"{count(number)} of {count(present)} workers" if present > 1 else "The only worker"
    return f"{workers} {'take' if number > 1 else 'takes'} no work: {reason}"


def _space(facts: Facts) -> Iterator[HoldUp]:
    troubles = facts.census.troubles if facts.census is not None else {}
    if facts.idle >= _STILL:
        for trouble in troubles.values():
            if trouble.takes_work:
                yield HoldUp("disk", f"A worker {trouble}")


def _hosts(facts: Facts, batches: OpenBatches, at: Callable[[float], str]) -> Iterator[HoldUp]:
    """If no batch is held or waits for a worker, everything left is deferred."""
    if batches.running or batches.waiting or batches.due is None:
        return
    waits = sorted(facts.waits.items(), key=lambda item: item[1])
    if not waits:
        yield HoldUp("retry", f"Everything left is retried {_in(batches.due)}.")
    elif len(waits) == 1:
        host, left = waits[0]
        yield HoldUp("hosts", f"Everything left waits for {host}, which is asked again at {at(left)}, {_in(left)}.")
    else:
        named = _names([host for host, _ in waits])
        yield HoldUp("hosts", f"Everything left waits for {named}; the first is asked again {_in(waits[0][1])}.")


def _in_flight(facts: Facts, batches: OpenBatches, at: Callable[[float], str]) -> Iterator[HoldUp]:
    if not batches.running or not facts.has_snapshots or facts.flying > facts.quiet:
        return
    if facts.throttling:
        yield _throttling(facts, at)
    if facts.unresolved and not facts.flying:
        hosts = counted(facts.unresolved, "host waits", "hosts wait")
        yield HoldUp("names", f"The name servers do not answer: {hosts} for an address.")
    if facts.quiet:
        named = _names([_slow_host(facts, host) for host in facts.slow_hosts])
        urls = f"{counted(facts.quiet, 'URL')}{f' from {named}' if named else ''}"
        yield HoldUp("slow", f"Waiting for slow responses: almost nothing arrives for {urls}.")
    if facts.retrying and facts.idle >= 1.0:
        urls = counted(facts.retrying, "URL waits", "URLs wait")
        yield HoldUp("retry", f"{urls} for a host's turn or the next attempt.")


def _slow_host(facts: Facts, host: str) -> str:
    return f"{host} ({count(facts.slow_hosts[host])})" if len(facts.slow_hosts) > 1 else host


def _throttling(facts: Facts, at: Callable[[float], str]) -> HoldUp:
    hosts = sorted(facts.throttling, key=lambda host: facts.throttling[host])
    left = facts.throttling[hosts[0]]
    urls, again = counted(facts.throttled, "URL waits", "URLs wait"), f"is asked again at {at(left)}, {_in(left)}"
    if len(hosts) == 1:
        return HoldUp("hosts", f"{urls} for {hosts[0]}, which throttles and {again}.")
    return HoldUp("hosts", f"{urls} for {_names(hosts)}, which throttle; the first {again}.")


def _turns(batches: OpenBatches) -> Iterator[HoldUp]:
    if batches.running or not batches.waiting:
        return
    if batches.elsewhere:
        held = counted(batches.elsewhere, "batch", "batches")
        yield HoldUp("turn", f"It is another job's turn: the workers hold {held} of it.")
    else:
        waiting = counted(batches.waiting, "batch waits", "batches wait")
        yield HoldUp("claim", f"{waiting} for a worker to claim {'them' if batches.waiting > 1 else 'it'}.")


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown + (f" and {count(len(names) - _NAMED)} more" if len(names) > _NAMED else "")


def _in(left: float) -> str:
    return "now" if left < 1 else f"in {duration(left)}"


def _whole(seconds: float) -> int:
    return int(seconds)
