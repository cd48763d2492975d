"""One URL being fetched: its attempts, hops and deadline, and its next step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf

from msgspec import Struct, structs

from contract.records.batches import BatchEntry
from contract.records.outcomes import Attempt, ErrorClass, rounded
from contract.urls.lines import Parsed
from contract.urls.naming import output_name
from worker.engine.exchange import Exchange
from worker.engine.failures import Failure, Kind, bug, past_deadline
from worker.engine.hops import Hops
from worker.engine.http.promises import Promise, promises
from worker.engine.http.ranges import SMALLEST_PART, Part, range_fields
from worker.engine.http.verdict import Redirected
from worker.engine.parts import find_part, part_of, record_of
from worker.engine.ports import Draft, Request
from worker.engine.queues import Tier
from worker.engine.schedule import QUIET_AFTER
from worker.engine.steps import FOLLOW, PUBLISH, GoBack, Hold, Over, Retry, Step
from worker.engine.terms import Terms

_EARLY = 0.005  # seconds; libcurl counts milliseconds, and rounds down
_FIRST = Tier.FIRST
_STALLS = (ErrorClass.TIMEOUT, ErrorClass.TOO_SLOW, ErrorClass.CONNECT)


class Fetched(Struct, frozen=True, gc=False):
    """A complete body that awaits its proof; ``digest`` is hex by the job's algorithm, if known already.

    ``at`` is when it was complete (the clock's seconds); ``notes`` are for its row.
    """

    draft: Draft
    size: int
    at: float
    digest: str | None
    promises: tuple[Promise, ...]
    notes: tuple[str, ...] = ()


class Transfer:
    """The whole state of one URL in this run. Only its own methods change it; only its lane calls them."""

    __slots__ = (
        "_is_wary", "_must_watch", "alone_for", "attempt_began", "attempts", "began", "began_wall", "deadline", "entry",
        "exchange", "excused", "failure", "fetched", "hops", "host_key", "is_single", "is_under_way", "name", "part",
        "per_host", "queued", "ready_at", "resolved_in", "terms", "throttled_with", "tier", "unresolved_at",
        "url", "waits_for", "was_waiting",
    )  # fmt: skip

    def __init__(self, terms: Terms, entry: BatchEntry, url: Parsed) -> None:
        self.terms = terms
        self.entry = entry
        self.url = url
        self.host_key = url.host_key
        self.name = output_name(entry.url)
        self.per_host = terms.policy.per_host
        self.attempts = entry.attempts
        self.tier = _tier(entry.attempts) if entry.attempts else _FIRST
        self.began: float | None = None
        self.began_wall = 0.0
        self.deadline = 0.0
        self.attempt_began = 0.0
        self.is_under_way = False  # an attempt has started and not ended
        self._is_wary = False  # pooled connections were dead: use a new one
        self.is_single = True  # a single exchange fetches its body
        self._must_watch = False  # its body ends with the stream: listen for a reset
        self.waits_for = ""  # the host and port whose pause keeps its next attempt from starting
        self.was_waiting = False  # it is waiting for a time, or was until just now
        self.hops: Hops | None = None  # the redirects of this attempt, if any
        self.exchange: Exchange | None = None
        self.part: Part | None = None  # the beginning of its body, to be resumed
        self.fetched: Fetched | None = None  # its body is complete, and awaits its proof
        self.failure: Failure | None = None
        self.queued = 0.0  # seconds of waiting for this worker since it began
        self.ready_at: float | None = None  # since when it only waits for a slot
        # when an attempt was first excused, because its host throttles
        self.excused = terms.began - entry.waited if entry.waited else inf
        self.alone_for = 0.0  # seconds it waits alone, while its host continues with others
        self.throttled_with = entry.status  # that of an answer to it that concerned its host, if none came after it
        self.resolved_in = 0.0
        self.unresolved_at = -inf  # when it last failed because its host has no address

    @property
    def last_status(self) -> int | None:
        """Return the status of the last answer to it, in this run or before; None: it had none."""
        if self.throttled_with is not None:
            return self.throttled_with
        return next((each.status for each in reversed(self.attempts) if each.status is not None), None)

    @property
    def has_stalled(self) -> bool:
        """Did its last attempt stall, and in this run? Its deadline is known only since it began here."""
        return self.tier is Tier.STALLED and self.failure is not None

    # --------------------------------------------------------------------------------------------- its attempts

    def begin(self, now: float, wall: float) -> None:
        """Start an attempt."""
        if self.began is None:
            self.began, self.began_wall = now, wall
            left = self.terms.policy.timeout - self.entry.spent
            self.deadline = now + left if left > 0.0 else now
        self.attempt_began = now
        self.is_under_way = True
        self.waits_for = ""
        self.resolved_in = 0.0
        if self.terms.policy.resume and self.part is None and len(self.attempts) == len(self.entry.attempts):
            self.part = find_part(self.terms.store, self.name)
        self.is_single = self.part is not None

    def exchange_with(
        self, addresses: tuple[str, ...], now: float, begun: Callable[[Exchange], None] | None
    ) -> Exchange:
        """Return the next exchange. ``begun`` is called as soon as its body has a file."""
        terms, part = self.terms, self.part
        if begun is None and terms.policy.resume:
            begun = self.keep_partial
        request = self.request(addresses, now, part)
        self.exchange = exchange = Exchange(terms, request, self.name, now, part, None, begun)
        return exchange

    def request(
        self,
        addresses: tuple[str, ...],
        now: float,
        part: Part | None,
        until: int | None = None,
        is_fresh: bool = False,
    ) -> Request:
        """Return the request for its body, or for the rest after a part, up to ``until``."""
        terms, attempts = self.terms, len(self.attempts)
        fields: tuple[str, ...] = ()
        if self.hops is not None or terms.credentials.headers:
            fields = self._own_fields(now)
        if part is not None:
            fields += range_fields(part.version, part.size, until)
        # A pooled connection may be dead, or have caused the failure of the previous attempt.
        is_fresh = is_fresh or self._is_wary or attempts > 0
        seconds = self.deadline - now
        return Request(self.url, addresses, terms.policy, seconds, fields, attempts, is_fresh, self._must_watch)

    def ended(self, judged: Failure | Redirected | None, now: float, random: Callable[[], float]) -> Step:
        """Take the verdict on an exchange and return the next step."""
        exchange = self.exchange
        assert exchange is not None
        if exchange.is_unfit or exchange.is_unseen or (exchange.ended.breakage is not None and exchange.is_stale):
            self._ask_otherwise(exchange)
            return FOLLOW
        if judged is None:
            return PUBLISH
        if isinstance(judged, Redirected):
            dead_end = self._follow(judged, exchange, now)
            if dead_end is None:
                return FOLLOW
            judged = dead_end
        return self.failed(judged, now, random=random)

    def failed(self, failure: Failure, now: float, *, random: Callable[[], float]) -> Step:
        """End a failed attempt."""
        self.is_under_way = False
        if failure.kind is Kind.LOCAL:
            return GoBack(failure.detail, failure.retry_after)
        if failure.error is ErrorClass.TIMEOUT and now >= self.deadline - _EARLY:
            # libcurl's words have the time of this exchange only.
            failure = replace(past_deadline(self.terms.policy.timeout, self.entry.spent), status=failure.status)
        self._note_failure(failure, now)
        self.failure = failure
        wait = self.terms.retry.wait_after(failure, self.attempts, random=random)
        if wait is None or now + wait >= self.deadline:
            return Over(failure)
        self._rewind()  # the next attempt starts from the first URL
        self.tier = _tier(self.attempts)
        return Retry(now + wait)

    def excuse(self, status: int | None, alone_for: float) -> None:
        """Note an answer that concerns its host; it is to wait alone for so many seconds, if any."""
        self.throttled_with = status
        self.alone_for = alone_for

    def hold(self, now: float) -> Step:
        """Do not count this attempt: the host throttles, and the URL has no part in it."""
        self.is_under_way = False
        self.ready_at = now
        self.excused = min(self.excused, now)
        self.tier = Tier.AGAIN  # another URL may probe the host
        self.waits_for = host = self.host_key
        self._rewind()
        return Hold(host)

    def unresolved(self, failure: Failure, now: float, *, random: Callable[[], float]) -> Step:
        """End an attempt whose host has no address."""
        self.unresolved_at = now
        return self.failed(failure, now, random=random)

    def give_up(self, failure: Failure) -> Step:
        """End it, even if attempts are left."""
        self.failure = failure
        return Over(failure)

    def spoiled(self, error: BaseException) -> None:
        """A bug kept its row from being written: record that, and drop what the row was built from."""
        self.failure, self.exchange = bug(error), None

    # ---------------------------------------------------------------------------------------------- its body

    def complete(self, now: float, size: int | None, notes: tuple[str, ...]) -> Fetched:
        """Its body is complete and awaits its proof; until then no attempt is recorded.

        Raises:
            DiskTrouble: the body is incomplete.
        """
        exchange = self.exchange
        assert exchange is not None
        head = exchange.head
        promised = promises(head, exchange.is_ranged) if head is not None else ()
        if size is None:
            size = exchange.size
        draft, digest = exchange.finish(size)
        if self.part is not None:
            if not exchange.is_ranged:
                self.drop_part()
            self.part = None
        self.is_under_way = False
        self.fetched = fetched = Fetched(draft, size, now, digest, promised, notes)
        return fetched

    def proven(self, digest: str | None) -> None:
        """Its body is the promised one: record a successful attempt."""
        fetched, exchange = self.fetched, self.exchange
        assert fetched is not None
        assert exchange is not None
        if digest is not fetched.digest:
            self.fetched = structs.replace(fetched, digest=digest)
        status = exchange.head.status if exchange.head is not None else None
        self.attempts += (Attempt(None, status, rounded(fetched.at - self.attempt_began)),)

    def disproven(self, failure: Failure, now: float, *, random: Callable[[], float]) -> Step:
        """Its body is not the promised one, or cannot be read: record a failed attempt."""
        fetched, self.fetched = self.fetched, None
        if fetched is not None:
            fetched.draft.discard()
        return self.failed(failure, now, random=random)

    def withdraw(self) -> None:
        """Discard what an attempt has received that is neither in flight nor over."""
        if self.exchange is not None:
            self.exchange.discard()

    def keep_partial(self, exchange: Exchange) -> None:
        """Make a large body survive this process, if it may be resumed."""
        record = record_of(exchange)
        if exchange.draft is not None and record is not None:
            self.drop_part()
            exchange.draft.keep_partial(record)

    def keep_part(self, exchange: Exchange) -> None:
        """The exchange broke off: keep what arrived of the body, if it can be resumed."""
        part = part_of(exchange, self.part)
        if part is None:
            return
        if part is not self.part:
            self.drop_part()
            self.part = part
        exchange.hand_over()

    def go_back_to(self, part: Part | None) -> None:
        """Resume a split body after its contiguous beginning, by one exchange."""
        if part is not None and part.size < SMALLEST_PART:
            part.draft.discard()
            part = None
        self.part = part
        if self.exchange is not None:
            self.exchange.hand_over()

    def stay_single(self) -> None:
        """Use one exchange for its body for the rest of this attempt."""
        self.is_single = True

    def may_leave_part(self) -> bool:
        """May a later run resume the body?"""
        return self.terms.policy.resume and self.failure is not None and self.failure.is_transient

    def leave_part(self) -> None:
        """This run is done with the URL: leave the partial body to a later one."""
        if self.part is not None:
            self.part.draft.leave()
            self.part = None

    def drop_part(self) -> None:
        """Start over from the first byte."""
        if self.part is not None:
            self.part.draft.discard()
            self.part = None

    # ---------------------------------------------------------------------------------------------- its time

    def wait(self, until: float) -> None:
        """Wait until a moment (the clock's seconds)."""
        self.was_waiting = True
        self.ready_at = until

    def stop_waiting(self) -> bool:
        """Note that it no longer waits; return whether it did."""
        was_waiting, self.was_waiting = self.was_waiting, False
        return was_waiting

    def queue(self, now: float) -> None:
        """From now on it waits for a slot only."""
        self.ready_at = now

    def leave_queue(self, now: float) -> None:
        """It has a slot: do not count the wait for it against its deadline."""
        if self.ready_at is not None:
            self._give_back(max(0.0, now - self.ready_at))
            self.ready_at = None

    def resolved(self, since: float, asked: float, now: float, *, is_found: bool) -> None:
        """Note that its host was looked up: queued ``since`` then, ``asked`` from then on.

        The time in the queue does not count against the deadline; if an address was found, none of it does.
        """
        self._give_back(asked - since)
        self.resolved_in += now - asked
        if is_found:
            self.deadline += now - asked

    def leftover(self, now: float, after: float, waited: float = 0.0) -> BatchEntry:
        """Return its entry for another batch. Changes nothing, because its run may call this while it is under way.

        ``after`` is the wait to come, which counts against its deadline unless its host asked for it, and ``waited``
        the total wait for its host, in seconds.
        """
        entry = self.entry
        if waited:
            entry = structs.replace(entry, waited=round(entry.waited + waited, 3))
        if self.throttled_with != entry.status:
            entry = structs.replace(entry, status=self.throttled_with)
        if self.began is None:
            return entry
        ready_at = self.ready_at  # read once: the lane may end the wait meanwhile
        queued = self.queued + (max(0.0, now - ready_at) if ready_at is not None else 0.0)
        own = after if ready_at is None or ready_at > now else 0.0
        spent = entry.spent + (now - self.began - queued) + own
        return structs.replace(entry, attempts=self.attempts, spent=round(spent, 3))

    def _give_back(self, seconds: float) -> None:
        """Do not count these seconds, which it waited for us and not for host or name servers."""
        self.queued += seconds
        self.attempt_began += seconds
        self.deadline += seconds

    def _note_failure(self, failure: Failure, now: float) -> None:
        exchange = self.exchange
        status = exchange.head.status if exchange is not None and exchange.head is not None else None
        self.attempts += (Attempt(failure.error, status, rounded(now - self.attempt_began)),)
        if status is not None:
            self.throttled_with = None

    # ----------------------------------------------------------------------------------------------- its way

    def _own_fields(self, now: float) -> tuple[str, ...]:
        """Return the user's header lines for the host of this hop, with the chain's cookies.

        After a redirect from https to http the user's are left out.
        """
        credentials, url, hops = self.terms.credentials, self.url, self.hops
        lines: tuple[str, ...] = ()
        if credentials.headers and not (hops is not None and hops.is_downgraded):
            given = credentials.for_origin(url.scheme, url.host, url.port)
            lines = tuple(f"{name}: {value}" for name, value in given)
        return lines if hops is None else hops.fields(lines, url, self._wall(now))

    def _ask_otherwise(self, exchange: Exchange) -> None:
        """The response says nothing about the URL, only about the request: send another kind."""
        if exchange.is_stale:
            self._is_wary = True
        elif exchange.is_unfit:
            self.drop_part()
        else:
            self._must_watch = True

    def _follow(self, redirected: Redirected, exchange: Exchange, now: float) -> Failure | None:
        hops = self.hops if self.hops is not None else Hops(self.url)
        longest = self.terms.policy.redirects
        to = hops.follow(self.url, redirected, exchange.lines, wall=self._wall(now), longest=longest)
        if isinstance(to, Failure):
            return to
        self.hops, self.url, self.host_key = hops, to, to.host_key
        return None

    def _rewind(self) -> None:
        if self.hops is not None:
            start, self.hops = self.hops.start, None
            self.url, self.host_key = start, start.host_key
        self.exchange = None

    def _wall(self, now: float) -> float:
        """Return the Unix time at ``now`` of the clock."""
        return self.began_wall + now - (self.began if self.began is not None else now)


def _tier(attempts: Sequence[Attempt]) -> Tier:
    last = attempts[-1]
    return Tier.STALLED if last.error in _STALLS and last.seconds >= QUIET_AFTER else Tier.AGAIN
