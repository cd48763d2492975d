"""A lane: the loop of one thread that keeps many transfers in flight."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import is_

from worker.engine.exchange import Exchange, bug
from worker.engine.failures import Failure
from worker.engine.hosts import Hosts
from worker.engine.http.promises import promises
from worker.engine.http.verdict import judge
from worker.engine.limits import is_over, past_deadline, past_limit
from worker.engine.lookups import Lookups, unresolved, usable
from worker.engine.places import Places
from worker.engine.ports import Answer, Clock, DiskTrouble, Http, Resolver
from worker.engine.run import Run
from worker.engine.schedule import Schedule, Tier
from worker.engine.splits.fetcher import SegmentFetcher
from worker.engine.throttling import HostWaits, is_the_hosts, waited
from worker.engine.transfer import Follow, GoBack, Hold, Over, Publish, Retry, Step, Transfer
from worker.engine.waits import Waits

_log = logging.getLogger("trawlnet.lane")

TICK = 0.1  # seconds between two looks at deadlines; every limit holds to within a few of them
_LOOK_PAUSE = 1.0  # seconds between two looks at a paused host, at what waits for a place, and at what that waits for
LONGEST_HOLD = 2.0  # seconds a batch is kept open for URLs that only wait


@dataclass(slots=True)
class _Share:
    """What of a run this lane still has; ``resting`` is how much of it its run was told to leave out of account."""

    left: int = 0
    resting: int = 0
    waiting: int = 0


class Lane:
    """Only ``post`` and ``close`` may be called from other threads."""

    def __init__(
        self,
        *,
        http: Http,
        resolver: Resolver,
        clock: Clock,
        random: Callable[[], float],
        window: int,
        most_quiet: int | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        """``hosts`` is what the lanes of a process know of hosts; each lane for itself unless told.

        ``window`` transfers hold a place; ``most_quiet`` may be in flight without one (four windows unless told)."""
        self._http = http
        self._resolver = resolver
        self._clock = clock
        self._random = random
        self._hosts = hosts or Hosts(random)
        self._schedule: Schedule[Transfer] = Schedule(window, most_quiet=most_quiet)
        self._inbox: deque[Callable[[], None]] = deque()
        self._flying: dict[Exchange, None] = {}
        self._places = Places(self._schedule, self._flying)
        self._host_waits = HostWaits(
            self._hosts, self._schedule, withdraw=self._withdraw, fail=self._fail, wait=self._wait, back=self._hand_back
        )
        self._lookups = Lookups(resolver, lambda host, answer: self.post(partial(self._resolved, host, answer)))
        self._between: dict[Transfer, None] = {}  # under way, but neither in flight nor resolving
        self._runs: dict[Run, _Share] = {}
        self._fetcher = SegmentFetcher(
            http=http,
            clock=clock,
            random=random,
            schedule=self._schedule,
            flying=self._flying,
            land=self._land,
            spoil=self._spoil,
            rest=self._rest,
            wait_for=partial(self._hosts.may_start, is_share=True),
        )
        self._ticked = self._looked_for_overdue = self._noted = clock.now()
        self._is_closed = False

    # ---------------------------------------------------------------------------------- from other threads

    def post(self, message: Callable[[], None]) -> None:
        """Have the lane's own thread call this soon."""
        self._inbox.append(message)
        self._http.wake()

    @property
    def is_idle(self) -> bool:
        """Has it nothing to do, and nothing to hear?"""
        return not self._runs and not self._inbox

    def close(self) -> None:
        """End ``run``; transfers are handed back."""
        self.post(self._end)

    # --------------------------------------------------------------------------------------------- the loop

    def run(self) -> None:
        """Drive transfers until ``close``."""
        while not self._is_closed:
            try:
                self.turn()
            except Exception as error:  # a bug must end its URLs, not leave them hanging
                self._collapse(error)
        self._http.close()

    def turn(self) -> None:
        """Go once around: hear, start, move bytes, finish what ended, look at the clock."""
        while self._inbox:
            self._inbox.popleft()()
        if self._is_closed:
            return
        now = self._clock.now()
        self._schedule.wake(now)
        while (transfer := self._schedule.take()) is not None:
            self._start(transfer, now)
        while (transfer := self._schedule.take_stalled()) is not None:
            self._start(transfer, now)
            if transfer.exchange in self._flying:
                self._places.take_back(transfer.exchange)
        ended = self._http.wait(self._retrying(now))
        now = self._clock.now()
        if self._fetcher.asking:
            self._fetcher.begin(now)
        for exchange in ended:
            if exchange in self._flying:  # not called off by the one before
                self._ended(exchange, now)
        if now - self._ticked >= TICK:
            self._ticked = now
            self._tick(now)

    def _retrying(self, now: float) -> float | None:
        if self._inbox:
            return 0.0
        if not self._runs:
            return None
        due = self._schedule.next_due()
        retrying = max(0.0, self._ticked + TICK - now)
        return retrying if due is None else max(0.0, min(retrying, due - now))

    # --------------------------------------------------------------------------------------------- starting

    def admit(self, run: Run, transfers: Sequence[Transfer]) -> None:
        """Take a run's transfers."""
        share = self._runs.setdefault(run, _Share())
        share.left += len(transfers)
        for transfer in transfers:
            self._schedule.add(transfer)

    def _start(self, transfer: Transfer, now: float) -> None:
        """A transfer has its host's turn: begin or continue an attempt."""
        run = transfer.run
        transfer.leave_queue(now)
        self._stop_waiting(transfer)
        if not transfer.is_under_way and not run.is_starting(now):
            self._schedule.leave(transfer.host_key)
            self._hand_back(transfer, now)
            return
        if transfer.host_key in self._hosts.hot and not self._host_waits.may_ask(transfer, now):
            return
        if not transfer.is_under_way:
            try:
                self._begin_attempt(transfer, now)
            except Exception as error:  # a bug costs its own URL only
                self._schedule.leave(transfer.host_key)
                self._fail(transfer, bug(error), now)
                return
        else:
            self._between.pop(transfer, None)
            if transfer.split is not None:
                self._schedule.leave(transfer.host_key)  # its helpers are counted one by one
                self._fetcher.go_on(transfer.split, now)
                return
        # Who failed by a fault asks again; a thousand URLs that failed by it share the answer.
        answer = self._resolver.known(transfer.place.host, after=transfer.unresolved_at)
        if answer is None:
            self._resolve(transfer, now)
        elif addresses := usable(answer, run.policy):
            transfer.exchange = exchange = Exchange(transfer, addresses, now)
            self._flying[exchange] = None
            try:
                self._http.begin(exchange)
            except Exception as error:  # a bug costs its own URL only
                self._spoil(exchange, bug(error), now)
        else:
            self._schedule.leave(transfer.host_key)
            self._fail_unresolved(transfer, answer, now)

    def _begin_attempt(self, transfer: Transfer, now: float) -> None:
        policy = transfer.run.policy
        transfer.begin(now, self._clock.wall())
        if policy.resume and len(transfer.attempts) == len(transfer.entry.attempts):
            transfer.find_part()
        splits = policy.splits > 1 and transfer.part is None
        transfer.ask_for_help = self._fetcher.split if splits else None

    def _spoil(self, exchange: Exchange, failure: Failure, now: float) -> None:
        """End a transfer by a bug of ours, with the exchange that holds its body and that may be half begun."""
        if exchange in self._flying:
            self._land(exchange)
            with suppress(Exception):
                self._http.drop(exchange)
        _discard(exchange)
        self._fail(exchange.transfer, failure, now)

    def _fail_unresolved(self, transfer: Transfer, answer: Answer, now: float) -> None:
        transfer.unresolved_at = now
        self._act(transfer, transfer.failed(unresolved(answer), now, random=self._random), now)

    def _resolve(self, transfer: Transfer, now: float) -> None:
        """Wait for the host's address without holding a place in the window."""
        self._schedule.leave(transfer.host_key)
        self._schedule.block(transfer.host_key)
        if transfer.host_key in self._hosts.hot:  # it asks for its turn again when it has an address
            self._hosts.unanswered(transfer.host_key, begun=now, now=now)
        self._lookups.add(transfer, now)

    def _resolved(self, host: str, answer: Answer) -> None:
        now = self._clock.now()
        for transfer in self._lookups.take(host, answer, now):
            self._schedule.unblock(transfer.host_key)
            if answer.addresses:
                self._go_on(transfer, now)
            else:
                self._fail_unresolved(transfer, answer, now)

    def _go_on(self, transfer: Transfer, now: float) -> None:
        """Queue a transfer in the middle of its attempt."""
        transfer.ready_at = now
        self._between[transfer] = None
        self._schedule.add(transfer, first=True)

    def _wait(self, transfer: Transfer, until: float) -> None:
        transfer.was_waiting = True
        transfer.ready_at = until
        self._runs[transfer.run].waiting += 1
        self._schedule.wait(transfer, until)

    def _stop_waiting(self, transfer: Transfer) -> None:
        if transfer.was_waiting:
            transfer.was_waiting = False
            self._runs[transfer.run].waiting -= 1

    def _withdraw(self, transfer: Transfer) -> None:
        """Forget how far an attempt is that is neither in flight nor over."""
        self._between.pop(transfer, None)
        _discard(transfer.exchange)

    def _rest(self, transfer: Transfer, until: float) -> None:
        """Let a transfer wait in the middle of its attempt; what has come of it is kept, and its batch stays open."""
        self._between[transfer] = None
        self._schedule.wait(transfer, until)

    # --------------------------------------------------------------------------------------------- finishing

    def _ended(self, exchange: Exchange, now: float) -> None:
        transfer = exchange.transfer
        self._land(exchange)
        try:
            exchange.close()
            judged = judge(exchange.reception(), wall=self._clock.wall())
            is_throttled = is_the_hosts(self._hosts, exchange, judged, now)
            if transfer.split is None:
                step = transfer.hold(now) if is_throttled else transfer.ended(judged, now, random=self._random)
                if isinstance(step, Retry) or (isinstance(step, Over) and transfer.may_leave_part()):
                    transfer.keep_part(exchange)
            else:
                ended = self._fetcher.ended(transfer.split, exchange, judged, now, is_the_hosts=is_throttled)
                if ended is None:
                    return
                step = ended
            if isinstance(step, Publish):
                self._finish_body(transfer)
        except DiskTrouble as trouble:
            transfer.attempts.pop()  # the bytes came, and yet nothing of it happened
            step = GoBack(str(trouble))
        except Exception as error:  # a bug costs its own URL only
            self._fetcher.call_off(transfer)
            self._spoil(transfer.exchange or exchange, bug(error), now)
            return
        if not isinstance(step, Publish):
            _discard(exchange)
        self._act(transfer, step, now)

    def _land(self, exchange: Exchange) -> None:
        del self._flying[exchange]
        self._schedule.leave(exchange.transfer.host_key, quiet=exchange.is_quiet)

    def _finish_body(self, transfer: Transfer) -> None:
        exchange = transfer.exchange
        assert exchange is not None
        draft, head = exchange.draft, exchange.head
        assert head is not None
        if draft is None:  # an empty body never called us
            draft = exchange.draft = transfer.run.store.open(transfer.name, transfer.entry.url, head)
            exchange.hasher = transfer.run.start_hash() if transfer.run.start_hash else None
        transfer.size = transfer.split.total if transfer.split is not None else exchange.size
        draft.finish(transfer.size)
        transfer.draft = draft
        if not exchange.is_ranged:
            transfer.drop_part()
        transfer.part = None
        transfer.promises = promises(head, is_part=exchange.is_ranged)
        transfer.digest = exchange.hasher.hexdigest() if exchange.hasher is not None else None

    def _act(self, transfer: Transfer, step: Step, now: float) -> None:
        run = transfer.run
        match step:
            case Publish():
                transfer.finished = now
                transfer.reject = self._reject
                self._runs[run].left -= 1
                run.publish(transfer)
            case Follow():
                self._go_on(transfer, now)
            case Retry(at):
                self._wait(transfer, at)
            case Hold(host):
                self._host_waits.hold(transfer, host, now)
            case Over():
                self._stop_waiting(transfer)
                if transfer.may_leave_part():
                    transfer.leave_part()
                transfer.drop_part()
                self._runs[run].left -= 1
                run.conclude(transfer, now)
            case GoBack(reason, None):
                run.stall(reason)
                self._hand_back(transfer, transfer.attempt_began)  # what our disk spoiled costs the URL no time
            case GoBack(reason, float(after)):
                run.short_of_space = reason
                self._hand_back(transfer, transfer.attempt_began, waiting=after)

    def _reject(self, transfer: Transfer, failure: Failure) -> None:
        """From another thread: a body that came whole is not the promised one."""
        self.post(partial(self._rejected, transfer, failure))

    def _rejected(self, transfer: Transfer, failure: Failure) -> None:
        now = self._clock.now()
        self._runs.setdefault(transfer.run, _Share()).left += 1
        if transfer.draft is not None:
            transfer.draft.discard()
            transfer.draft = None
        self._act(transfer, transfer.rejected(failure, now, random=self._random), now)

    def _hand_back(
        self, transfer: Transfer, now: float, until: float | None = None, *, waiting: float = 0.0, host: str = ""
    ) -> None:
        """``waiting`` is a wait, in seconds, that is no fault of the URL: it costs it no time."""
        _discard(transfer.exchange)
        if transfer.run.policy.resume:
            transfer.leave_part()
        transfer.drop_part()
        share = self._runs[transfer.run]
        share.left -= 1
        self._stop_waiting(transfer)
        after = max(0.0, until - now) if until is not None else 0.0
        host = host or transfer.host_key
        pause = self._hosts.pause(host, self._clock.now())
        if pause is None:
            transfer.run.hand_back([transfer.leftover(now, after)], max(after, waiting))
        else:
            entry = transfer.leftover(now, after, waited(transfer, pause, now))
            transfer.run.hand_back([entry], max(after, waiting, pause.left), host=host)

    # ------------------------------------------------------------------------------------------- the clock

    def _tick(self, now: float) -> None:
        for exchange in list(self._flying):
            if exchange in self._flying:  # not called off by the one before
                self._look_at(exchange, now)
        for host, answer in self._lookups.give_up_late(now):
            self._resolved(host, answer)
        for transfer in [each for each in self._between if each.ready_at is None and now >= each.deadline]:
            self._between.pop(transfer, None)
            for _ in self._schedule.remove(partial(is_, transfer)):
                _discard(transfer.exchange)
                step = transfer.failed(past_deadline(transfer.run.policy.timeout), now, random=self._random)
                self._act(transfer, step, now)
        self._places.listen(now)
        self._host_waits.look(now)
        self._end_overdue(now)
        self._count_resting()
        self._note_waits(now)
        for run in list(self._runs):
            run.tick(now)
            self._look_after(run, now)

    def _look_at(self, exchange: Exchange, now: float) -> None:
        """End an exchange nothing more is wanted of, or that is past a limit."""
        if is_over(exchange, now):
            exchange.enough = True
        elif (limit := past_limit(exchange, now)) is not None:
            exchange.stopped = limit
        else:
            return
        self._http.drop(exchange)
        self._ended(exchange, now)

    def _fail(self, transfer: Transfer, failure: Failure, now: float) -> None:
        transfer.failure = failure
        self._act(transfer, Over(failure), now)

    def _end_overdue(self, now: float) -> None:
        """End what has stalled, and found no room beside the window before its deadline.

        To other later tries the wait for a place is given back.
        """
        if now < self._looked_for_overdue + _LOOK_PAUSE:
            return
        self._looked_for_overdue = now
        for transfer in self._schedule.remove_later(lambda each: each.tier is Tier.STALLED and now >= each.deadline):
            assert transfer.failure is not None
            self._act(transfer, Over(transfer.failure), now)

    def _count_resting(self) -> None:
        """Tell each run how many of its URLs hold no place and could not take one."""
        resting = Counter(each.run for each in chain(self._places.resting(), self._lookups))
        for run, share in self._runs.items():
            found = resting[run] + share.waiting
            if found != share.resting:
                run.rest(found - share.resting)
                share.resting = found

    def _note_waits(self, now: float) -> None:
        if now >= self._noted + _LOOK_PAUSE:
            self._noted = now
            waits = {run: Waits() for run in self._runs}
            self._places.note(waits)
            self._lookups.note(waits, now)
            for run, found in waits.items():
                run.note_waits(self, found)

    def _look_after(self, run: Run, now: float) -> None:
        """Hand back what this run will not start, and what would only hold it open."""
        share = self._runs[run]
        if run.must_end(now):
            self._give_up(run, now)
        elif not run.is_starting(now):
            for transfer, until in self._schedule.remove(lambda each: each.run is run and not each.is_under_way):
                self._hand_back(transfer, now, until)
        elif 0 < share.waiting == share.left:
            due = self._schedule.next_due_of(lambda each: each.run is run)
            if due is not None and due - now > LONGEST_HOLD:
                for transfer, until in self._schedule.remove(lambda each: each.run is run):
                    self._hand_back(transfer, now, until)
        if share.left == 0 and run.is_settled():
            del self._runs[run]

    def _give_up(self, run: Run, now: float) -> None:
        """Hand back everything this lane still has of a run, in flight or not."""
        flying = [exchange for exchange in self._flying if exchange.transfer.run is run]
        for exchange in flying:
            self._http.drop(exchange)
            self._land(exchange)
        for transfer in dict.fromkeys(exchange.transfer for exchange in flying):
            if transfer.exchange is not None and run.policy.resume and transfer.split is None:
                transfer.keep_part(transfer.exchange)
            self._hand_back(transfer, now)
        for transfer in self._lookups.remove(run):
            self._schedule.unblock(transfer.host_key)
            self._hand_back(transfer, now)
        for transfer, until in self._schedule.remove(lambda each: each.run is run):
            self._between.pop(transfer, None)
            self._hand_back(transfer, now, until)

    def _end(self) -> None:
        now = self._clock.now()
        for run in list(self._runs):
            self._give_up(run, now)
        self._is_closed = True

    def _collapse(self, error: Exception) -> None:
        """The loop itself failed: hand back what it had, and stop taking work for these runs."""
        _log.exception("A lane failed and starts afresh.")
        now = self._clock.now()
        for run in list(self._runs):
            run.stall(f"A lane failed ({type(error).__name__}).")
            self._give_up(run, now)


def _discard(exchange: Exchange | None) -> None:
    if exchange is not None and exchange.draft is not None:
        exchange.draft.discard()
        exchange.draft = None
