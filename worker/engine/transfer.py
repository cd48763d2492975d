"""One URL being fetched: its attempts, hops and deadline, and what comes next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from math import inf
from typing import TYPE_CHECKING

from msgspec import structs

from contract.records.batches import BatchEntry
from contract.records.outcomes import Attempt, Ending, ErrorClass, Outcome, Timing, rounded
from contract.records.policy import Digest
from contract.urls.lines import Parsed
from contract.urls.naming import output_name
from worker.engine.failures import Breakage, Failure, Kind
from worker.engine.http.cookies import CookieJar, with_cookies
from worker.engine.http.headers import values_of
from worker.engine.http.promises import Promise
from worker.engine.http.ranges import SMALLEST_PART, Part, from_record, version_of
from worker.engine.http.redirects import Asked, DeadEnd, next_hop
from worker.engine.http.verdict import Redirected
from worker.engine.schedule import QUIET_AFTER, Tier

if TYPE_CHECKING:
    from worker.engine.exchange import Exchange
    from worker.engine.http.headers import Head
    from worker.engine.ports import Draft
    from worker.engine.run import Run
    from worker.engine.splits.split import Split


@dataclass(frozen=True, slots=True)
class Publish:
    """The body is whole: it may get its name."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Go on, at once, with the same attempt: where a redirect leads, or on a new connection."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again at this moment (the clock's seconds)."""

    at: float


@dataclass(frozen=True, slots=True)
class Over:
    """The URL has ended without a file."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class GoBack:
    """Our own disk failed: the URL is handed back as if this attempt had not been.

    ``after``: the disk is fine but for this body, which is to wait for so many seconds.
    """

    reason: str
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """A host asked for time: the URL starts over when that has passed, and this attempt was none."""

    host: str


Step = Publish | Follow | Retry | Over | GoBack | Hold
_STALLS = (ErrorClass.TIMEOUT, ErrorClass.TOO_SLOW, ErrorClass.CONNECT)
_PUBLISH = Publish()
_FOLLOW = Follow()


class Transfer:
    """The whole state of one URL in this run; changed by the lane it belongs to and nobody else."""

    __slots__ = (
        "ask_for_help", "attempt_began", "attempts", "began", "began_wall", "cookies", "deadline", "digest",
        "downgraded", "draft", "entry", "exchange", "excused", "failure", "finished", "host_key", "is_under_way",
        "is_wary", "must_watch", "name", "part", "per_host", "place", "promises", "queued", "ready_at", "reject",
        "resolved_in", "run", "size", "split", "start", "tier", "trail", "unresolved_at", "was_waiting",
    )  # fmt: skip

    def __init__(self, run: Run, entry: BatchEntry, place: Parsed) -> None:
        self.run = run
        self.entry = entry
        self.start = place
        self.name = output_name(entry.url)
        self.per_host = run.policy.per_host
        self.attempts = list(entry.attempts)
        self.tier = _tier(self.attempts) if self.attempts else Tier.FIRST
        self.began: float | None = None
        self.began_wall = 0.0
        self.deadline = 0.0
        self.attempt_began = 0.0
        self.is_under_way = False  # an attempt has begun and not ended
        self.is_wary = False  # pooled connections turned out dead: use a new one
        self.must_watch = False  # its body is ended by a stream: listen for a reset
        self.was_waiting = False  # it is, or was until just now, a heap entry
        self.exchange: Exchange | None = None
        self.draft: Draft | None = None
        self.digest: str | None = None  # hex, by the job's algorithm
        self.size = 0
        self.ask_for_help: Callable[[Exchange], None] | None = None  # whom to tell of a body worth splitting
        self.split: Split | None = None  # its body is being fetched in several ranges
        self.part: Part | None = None  # what earlier attempts brought, to be continued
        self.promises: tuple[Promise, ...] = ()
        self.failure: Failure | None = None
        self.finished = 0.0  # when its body was whole
        # how its lane hears that the body is not the promised one
        self.reject: Callable[[Transfer, Failure], None] = _unasked
        self.queued = 0.0  # seconds since it began that it waited for us
        self.ready_at: float | None = None  # since when it waits for nothing but a place
        # when an attempt of it was its host's affair for the first time
        self.excused = run.began - entry.waited if entry.waited else inf
        self.resolved_in = 0.0
        self.unresolved_at = -inf  # when it last failed because its host has no address
        self._rewind()

    def begin(self, now: float, wall: float) -> None:
        """Start an attempt."""
        if self.began is None:
            self.began, self.began_wall = now, wall
            self.deadline = now + max(0.0, self.run.policy.timeout - self.entry.spent)
        self.attempt_began = now
        self.is_under_way = True
        self.resolved_in = 0.0

    def leave_queue(self, now: float) -> None:
        """It has a place: the wait for it was not its own."""
        if self.ready_at is not None:
            self.give_back(max(0.0, now - self.ready_at))
            self.ready_at = None

    def give_back(self, seconds: float) -> None:
        """Leave out of account what it had to wait for us: neither its host nor the name servers had a part in it."""
        self.queued += seconds
        self.attempt_began += seconds
        self.deadline += seconds

    def hold(self, now: float) -> Step:
        """Take an attempt back: what it met is its host's affair."""
        self.is_under_way = False
        self.ready_at = now
        self.excused = min(self.excused, now)
        self.tier = Tier.AGAIN  # another one may find out how the host is
        host = self.host_key
        self._rewind()
        return Hold(host)

    def own_fields(self, now: float) -> tuple[str, ...]:
        """Return the header lines that belong to the host this hop goes to, with the cookies its chain has for it.

        Of the user's there are none after a step from https to http.
        """
        credentials, place = self.run.credentials, self.place
        lines: tuple[str, ...] = ()
        if credentials.headers and not self.downgraded:
            given = credentials.for_origin(place.scheme, place.host, place.port)
            lines = tuple(f"{name}: {value}" for name, value in given)
        return lines if self.cookies is None else with_cookies(lines, self._cookies_for(place, self._wall(now)))

    def ended(self, judged: Failure | Redirected | None, now: float, *, random: Callable[[], float]) -> Step:
        """Take an exchange's judgement and return what comes next."""
        again = self._try_otherwise()
        if again is not None:
            return again
        if judged is None:
            self._note_attempt(None, now)
            return _PUBLISH
        if isinstance(judged, Redirected):
            dead_end = self._follow(judged, now)
            if dead_end is None:
                return _FOLLOW
            judged = dead_end
        return self.failed(judged, now, random=random)

    def _try_otherwise(self) -> Step | None:
        """Look for answers that say nothing of the URL, only of how it was asked for."""
        exchange = self.exchange
        if exchange is None:
            return None
        if exchange.breakage is Breakage.STALE and not exchange.is_fresh:
            self.is_wary = True
            return _FOLLOW
        if exchange.is_unfit:
            self.drop_part()
            return _FOLLOW
        if exchange.is_unseen:
            self.must_watch = True
            return _FOLLOW
        return None

    def keep_part(self, exchange: Exchange) -> None:
        """The exchange broke off: keep what came of the body, if it may be continued."""
        if exchange.draft is None or exchange.head is None or exchange.size < SMALLEST_PART:
            return
        if exchange.is_ranged and self.part is not None:
            self.part.size = exchange.size
            self.part.version = replace(self.part.version, total=exchange.ends)  # a version has one length only
        else:
            version = version_of(exchange.head)
            if version is None:
                return
            self.drop_part()
            self.part = Part(exchange.draft, exchange.size, version, exchange.head)
        exchange.draft = None

    def go_back_to(self, part: Part | None) -> None:
        """Continue a body that was split from where it is whole."""
        if part is not None and part.size < SMALLEST_PART:
            part.draft.discard()
            part = None
        self.part = part
        if self.exchange is not None:
            self.exchange.draft = None

    def find_part(self) -> None:
        """Look for what an earlier run brought."""
        found = self.run.store.take_back(self.name)
        if found is None:
            return
        draft, size, record = found
        version = from_record(record)
        if version is None or size < SMALLEST_PART or (version.total is not None and size >= version.total):
            draft.discard()
        else:
            self.part = Part(draft, size, version, None)

    def may_leave_part(self) -> bool:
        """May a later run continue what this one could not finish?"""
        return self.run.policy.resume and self.failure is not None and self.failure.is_transient

    def leave_part(self) -> None:
        """This run is done with the URL: leave what came to a later one."""
        if self.part is not None:
            self.part.draft.leave()
            self.part = None

    def drop_part(self) -> None:
        """Start over from the first byte."""
        if self.part is not None:
            self.part.draft.discard()
            self.part = None

    def failed(self, failure: Failure, now: float, *, random: Callable[[], float]) -> Step:
        """End an attempt that failed."""
        if failure.kind is Kind.LOCAL:
            self.is_under_way = False
            return GoBack(failure.detail, failure.retry_after)
        self._note_attempt(failure, now)
        self.failure = failure
        wait = self.run.retry.wait_after(failure, self.attempts, random=random)
        if wait is None or now + wait >= self.deadline:
            return Over(failure)
        self._rewind()  # an attempt starts from the first URL
        self.tier = _tier(self.attempts)
        return Retry(now + wait)

    def rejected(self, failure: Failure, now: float, *, random: Callable[[], float]) -> Step:
        """End an attempt whose bytes came whole but are not the promised ones."""
        self.attempts.pop()
        return self.failed(failure, now, random=random)

    def leftover(self, now: float, after: float, waited: float = 0.0) -> BatchEntry:
        """Return the entry for the batch that goes on; changes nothing, for its run may ask while it is under way.

        ``after`` is how long it is to wait by its own fault, ``waited`` how long it waits by its host's in all.
        """
        entry = self.entry
        if waited:
            entry = structs.replace(entry, waited=round(entry.waited + waited, 3))
        if self.began is None:
            return entry
        queued = self.queued + (max(0.0, now - self.ready_at) if self.ready_at is not None else 0.0)
        spent = entry.spent + (now - self.began - queued) + after
        return structs.replace(entry, attempts=tuple(self.attempts), spent=round(spent, 3))

    def outcome(self, ending: Ending, now: float) -> Outcome:
        """Return the manifest row of a URL that is over; the path of its body is its store's to say."""
        run, exchange, trail = self.run, self.exchange, self.trail
        head = exchange.head if exchange is not None else None
        fields = head.fields.get if head is not None else _nothing
        size = sha256 = digest = error = detail = None
        status = head.status if head is not None else None
        if ending is Ending.OK:
            size = self.size
            if run.policy.digest is Digest.SHA256:
                sha256 = self.digest
            elif self.digest:
                digest = f"{run.policy.digest}:{self.digest}"
        elif self.failure is not None:
            error, detail = self.failure.error, self.failure.detail
            status = self.failure.status if head is None else status
        return Outcome(
            url=self.entry.url,
            name=self.name,
            ending=ending,
            error=error,
            detail=detail,
            http_status=status,
            bytes=size,
            sha256=sha256,
            digest=digest,
            content_type=fields("content-type"),
            content_encoding=fields("content-encoding"),
            etag=fields("etag"),
            last_modified=fields("last-modified"),
            final_url=self.place.target if trail else None,
            redirects=len(trail),
            attempts=tuple(self.attempts),
            started=_iso(self.began_wall) if self.began is not None else None,
            timing=self._timing(exchange, now),
            remote_ip=exchange.remote_ip if exchange is not None else None,
            http_version=head.version if head is not None else None,
            worker=run.worker,
            notes=self._notes(head if ending is Ending.OK else None),
        )

    def let_go(self) -> None:
        """The outcome is written: drop what refers back to this, so that memory is free without the collector."""
        self.exchange = self.split = None

    def _rewind(self) -> None:
        self.place = self.start
        self.host_key = f"{self.start.host}:{self.start.port}"
        self.trail: list[Asked] = []  # the requests that were redirected
        self.cookies: CookieJar | None = None  # what those redirects set
        self.downgraded = False
        self.exchange = None
        self.split = None

    def _follow(self, redirected: Redirected, now: float) -> Failure | None:
        wall, location = self._wall(now), redirected.location
        raw = None if location is None else location.encode("latin-1", "replace")
        trail = [*self.trail, Asked(self.place.target, self._cookies_for(self.place, wall))]
        self._take_cookies(wall)
        cookies_for = partial(self._cookies_for, wall=wall)
        hop = next_hop(trail, redirected.status, raw, cookies_for=cookies_for, longest=self.run.policy.redirects)
        if isinstance(hop, DeadEnd):
            kind = Kind.REFUSED if hop.error is ErrorClass.REFUSED_URL else Kind.PERMANENT
            return Failure(error=hop.error, kind=kind, detail=hop.detail, status=redirected.status)
        self.trail = trail
        self.place = hop.to
        self.host_key = f"{hop.to.host}:{hop.to.port}"
        self.downgraded = self.downgraded or hop.downgraded
        return None

    def _take_cookies(self, wall: float) -> None:
        fields = values_of("set-cookie", self.exchange.lines) if self.exchange is not None else []
        if fields:
            if self.cookies is None:
                self.cookies = CookieJar()
            self.cookies.take(fields, self.place, wall)

    def _cookies_for(self, place: Parsed, wall: float) -> str:
        return "" if self.cookies is None else self.cookies.field_for(place, wall)

    def _wall(self, now: float) -> float:
        """Return what the clock on the wall shows when ours shows ``now``: in Unix seconds."""
        return self.began_wall + now - (self.began if self.began is not None else now)

    def _note_attempt(self, failure: Failure | None, now: float) -> None:
        exchange = self.exchange
        status = exchange.head.status if exchange is not None and exchange.head is not None else None
        error = failure.error if failure is not None else None
        self.attempts.append(Attempt(error, status, rounded(now - self.attempt_began)))
        self.is_under_way = False

    def _timing(self, exchange: Exchange | None, now: float) -> Timing:
        began = self.began if self.began is not None else now
        queued = max(0.0, self.began_wall - self.run.queued) + self.queued if self.began is not None else 0.0
        total = now - began - self.queued
        if exchange is None:
            return Timing(dns=rounded(self.resolved_in), total=rounded(total), queued=rounded(queued))
        resolved = exchange.at_resolved
        connected = max(exchange.at_connected, resolved)
        secured = max(exchange.at_secured, connected)
        first = max(exchange.at_first_byte, secured)
        body = max(0.0, exchange.took - first)
        return Timing(
            rounded(self.resolved_in + resolved),
            rounded(connected - resolved),
            rounded(secured - connected),
            rounded(first - secured),
            rounded(body),
            rounded(total),
            rounded(queued),
        )

    def _notes(self, head: Head | None) -> tuple[str, ...]:
        """Return what is worth noting; ``head`` is that of the stored body."""
        notes = []
        if head is not None:
            if self.exchange is not None and self.exchange.is_ranged:
                notes.append("resumed")
            if self.split is not None:
                notes.append(f"splits={self.split.width}")
            if head.framing is not None and self.exchange is not None and self.exchange.ends is None:
                notes.append(f"framing={head.framing}")
            if "content-encoding" in head.fields:
                notes.append(f"encoding={head.fields['content-encoding']}")
        if self.downgraded:
            notes.append("downgraded")
        return tuple(notes)


def _tier(attempts: Sequence[Attempt]) -> Tier:
    last = attempts[-1]
    return Tier.STALLED if last.error in _STALLS and last.seconds >= QUIET_AFTER else Tier.AGAIN


def _unasked(_transfer: Transfer, _failure: Failure) -> None:
    return None


def _nothing(_name: str) -> None:
    return None


def _iso(wall: float) -> str:
    second = int(wall)
    return f"{_iso_second(second)}.{int((wall - second) * 1000):03d}Z"


@lru_cache(maxsize=256)  # many transfers begin in the same second
def _iso_second(wall: int) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S")
