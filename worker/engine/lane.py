"""A lane: the loop of one thread that keeps many transfers in flight."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain

from worker.engine.assignments import Assignment, Assignments
from worker.engine.exchange import Exchange
from worker.engine.failures import Failure, bug
from worker.engine.flow import Flow
from worker.engine.hosts import Hosts
from worker.engine.http.verdict import judge
from worker.engine.limits import Limits
from worker.engine.lookups import Lookups, unresolved, usable
from worker.engine.ports import Answer, Clock, DiskTrouble, Ended, Http, Resolver
from worker.engine.proof import needs_reading
from worker.engine.run import Proof, Run
from worker.engine.schedule import Schedule
from worker.engine.slots import Slots
from worker.engine.splits.fetcher import SegmentFetcher
from worker.engine.steps import PUBLISH, GoBack, Over, Retry, Step
from worker.engine.throttling import name_asked, note_answer
from worker.engine.transfer import Transfer
from worker.engine.waits import Waits

_log = logging.getLogger("trawlnet.lane")

TICK = 0.1  # seconds between two looks at deadlines; every limit holds to within a few of them
_LOOK_PAUSE = 1.0  # seconds between two looks at what URLs wait for


class Lane:
    """Only ``give``, ``post`` and ``close`` may be called from other threads."""

    def __init__(
        self,
        *,
        http: Http[Exchange],
        resolver: Resolver,
        clock: Clock,
        random: Callable[[], float],
        window: int,
        hosts: Hosts,
        most_quiet: int | None = None,
    ) -> None:
        """``hosts`` is shared by the lanes of a process.

        ``window`` transfers hold a slot; ``most_quiet`` more may be in flight without one, four windows by default.
        """
        self._http = http
        self._resolver = resolver
        self._clock = clock
        self._random = random
        self._hosts = hosts
        self._window, self._most_quiet = window, most_quiet
        self._inbox: deque[Callable[[], None]] = deque()
        self._assignments = Assignments()
        self._begin_afresh()
        self._ticked = self._noted = clock.now()
        self._is_closed = False

    def _begin_afresh(self) -> None:
        """Begin without any transfer."""
        clock, random = self._clock, self._random
        self._schedule: Schedule[Transfer] = Schedule(self._window, most_quiet=self._most_quiet)
        self._flying: dict[Exchange, Transfer] = {}
        self._limits = Limits()
        self._slots = Slots(self._schedule, self._flying, self._window)
        self._heard = self._slots.heard
        self._lookups = Lookups(self._resolver, lambda host, answer: self.post(partial(self._resolved, host, answer)))
        self._fetcher = SegmentFetcher(
            http=self._http,
            clock=clock,
            random=random,
            schedule=self._schedule,
            flying=self._flying,
            land=self._land,
            spoil=self._spoil,
            rest=self._rest,
            wait_for=partial(self._hosts.may_start, is_segment=True),
        )
        self._splits = self._fetcher.splits
        self._flow = Flow(
            clock=clock,
            random=random,
            schedule=self._schedule,
            hosts=self._hosts,
            assignments=self._assignments,
            forget=self._fetcher.call_off,
        )

    # ---------------------------------------------------------------------------------- from other threads

    def post(self, message: Callable[[], None]) -> None:
        """Have the lane's own thread call this soon."""
        self._inbox.append(message)
        self._http.wake()

    def give(self, run: Run, transfers: Sequence[Transfer]) -> None:
        """Have the lane fetch a run's transfers."""
        self.post(partial(self._admit, run, transfers))

    @property
    def is_idle(self) -> bool:
        """Has it no work, and no message to read?"""
        return not self._assignments and not self._inbox

    def close(self) -> None:
        """End ``drive``; transfers are handed back."""
        self.post(self._end)

    # --------------------------------------------------------------------------------------------- the loop

    def drive(self) -> None:
        """Drive transfers until ``close``."""
        while not self._is_closed:
            try:
                self.drive_once()
            except Exception as error:  # a bug must end its URLs, not leave them hanging
                self._collapse(error)
        self._http.close()

    def drive_once(self) -> None:
        """Read the inbox, start transfers, move bytes, finish what has ended, and check deadlines when due."""
        while self._inbox:
            self._inbox.popleft()()
        if self._is_closed:
            return
        now, wall = self._clock.now(), self._clock.wall()
        schedule = self._schedule
        schedule.wake(now)
        while (transfer := schedule.pop()) is not None:
            self._start(transfer, now, wall)
        while (transfer := schedule.pop_stalled()) is not None:
            self._start(transfer, now, wall)
            if transfer.exchange in self._flying:
                self._slots.release(transfer.exchange)
        came = self._http.wait(self._retrying(now))
        now, wall = self._clock.now(), self._clock.wall()
        is_due = now - self._ticked >= TICK
        while came or self._fetcher.asking:
            self._fetcher.begin(now)  # first: the main exchange may have ended already
            for exchange, ended in came:
                if exchange in self._flying:  # not cancelled by the one before
                    self._ended(exchange, ended, now, wall)
            # All that has ended is taken before any is judged by the clock, however late we are.
            came = self._http.wait(0.0) if is_due else ()
        self._assignments.publish()
        if is_due:
            self._ticked = now
            self._tick(now, wall)

    def _retrying(self, now: float) -> float | None:
        if self._inbox:
            return 0.0
        if not self._assignments:
            return None
        due = self._schedule.next_due()
        retrying = max(0.0, self._ticked + TICK - now)
        return retrying if due is None else max(0.0, min(retrying, due - now))

    # --------------------------------------------------------------------------------------------- starting

    def _admit(self, run: Run, transfers: Sequence[Transfer]) -> None:
        self._assignments.add(run, transfers)
        for transfer in transfers:
            self._schedule.add(transfer)

    def _start(self, transfer: Transfer, now: float, wall: float) -> None:
        """It is a transfer's turn: begin or continue an attempt."""
        if transfer.is_under_way or transfer.ready_at is not None:
            self._flow.starts(transfer, now)
        if not transfer.is_under_way and now >= self._assignments.of[transfer.terms].run.course.starts_until:
            self._schedule.leave(transfer.host_key)
            self._flow.hand_back(transfer, now)
        elif self._splits and transfer in self._splits:
            self._schedule.leave(transfer.host_key)  # its helpers are counted individually
            self._fetcher.resume(transfer, now)
        elif transfer.host_key not in self._hosts.hot or self._flow.host_waits.may_ask(transfer, now):
            try:
                if not transfer.is_under_way:
                    transfer.begin(now, wall)
            except Exception as error:  # a bug costs its own URL only
                self._schedule.leave(transfer.host_key)
                self._flow.fail(transfer, bug(error), now)
                return
            self._ask(transfer, now)

    def _ask(self, transfer: Transfer, now: float) -> None:
        """Begin an exchange, or look up its host first."""
        # A transfer whose lookup failed repeats it; all URLs of the host share the new answer.
        answer = self._resolver.known(transfer.url.host, transfer.unresolved_at)
        if answer is None:
            self._resolve(transfer, now)
            return
        policy = transfer.terms.policy
        addresses = usable(answer, policy)
        if not addresses:
            self._schedule.leave(transfer.host_key)
            self._fail_unresolved(transfer, answer, now)
            return
        begun = self._fetcher.split if policy.splits > 1 and not transfer.is_single else None
        exchange = transfer.exchange_with(addresses, now, begun)
        self._flying[exchange] = transfer
        try:
            exchange.lines = self._http.begin(exchange.request, exchange)
        except Exception as error:  # a bug costs its own URL only
            self._spoil(transfer, exchange, bug(error), now)

    def _rest(self, transfer: Transfer, until: float) -> None:
        self._flow.rest(transfer, until)

    def _spoil(self, transfer: Transfer, exchange: Exchange, failure: Failure, now: float) -> None:
        """End a transfer by a bug of ours, with the exchange that holds its body and that may be half begun."""
        if exchange in self._flying:
            self._land(exchange)
            with suppress(Exception):
                self._http.drop(exchange)
        exchange.discard()
        self._flow.fail(transfer, failure, now)

    def _resolve(self, transfer: Transfer, now: float) -> None:
        """Wait for the host's address without holding a slot in the window."""
        self._schedule.leave(transfer.host_key)
        self._schedule.block(transfer.host_key)
        if transfer.host_key in self._hosts.hot:  # it will ask the host again once it has an address
            self._hosts.unanswered(transfer.host_key, begun=now, now=now)
        self._lookups.add(transfer, now)

    def _resolved(self, host: str, answer: Answer) -> None:
        now = self._clock.now()
        for transfer in self._lookups.pop(host, answer, now):
            self._schedule.unblock(transfer.host_key)
            if answer.addresses:
                self._flow.go_on(transfer, now)
            else:
                self._fail_unresolved(transfer, answer, now)

    def _fail_unresolved(self, transfer: Transfer, answer: Answer, now: float) -> None:
        self._flow.act(transfer, transfer.unresolved(unresolved(answer), now, random=self._random), now)

    # --------------------------------------------------------------------------------------------- finishing

    def _ended(self, exchange: Exchange, ended: Ended, now: float, wall: float) -> None:
        self._slots.ended(exchange, now)
        transfer = self._land(exchange)
        try:
            judged = judge(exchange.end(ended), wall)
            is_throttled = note_answer(self._hosts, transfer, exchange.began, judged, now)
            if self._splits and transfer in self._splits:
                step = self._fetcher.ended(transfer, exchange, judged, now, is_throttled=is_throttled)
            elif is_throttled:
                step = transfer.hold(now)
            else:
                step = transfer.ended(judged, now, self._random)
                if judged is not None:
                    _keep_part(transfer, exchange, step)
            if step is PUBLISH:
                self._complete(transfer, now)
                return
        except DiskTrouble as trouble:
            step = GoBack(str(trouble))
        except Exception as error:  # a bug costs its own URL only
            self._fetcher.call_off(transfer)
            self._spoil(transfer, transfer.exchange or exchange, bug(error), now)
            return
        if step is not None:
            exchange.discard()
            self._flow.act(transfer, step, now)

    def _land(self, exchange: Exchange) -> Transfer:
        """Remove an exchange from those in flight, and return its transfer."""
        transfer = self._flying.pop(exchange)
        self._schedule.leave(transfer.host_key, self._slots.leave(exchange) if self._heard else False)
        if exchange.draft is not None:
            self._assignments.of[transfer.terms].bytes += exchange.size - exchange.offset
        return transfer

    def _complete(self, transfer: Transfer, now: float) -> None:
        """Publish a complete body, after reading it back if it needs proof."""
        size, notes = self._fetcher.finish(transfer) if self._splits else (None, ())
        fetched = transfer.complete(now, size, notes)
        if needs_reading(fetched, transfer.entry.expected, transfer.terms.policy.digest):
            deliver = partial(self._post_proof, transfer)
            self._assignments.of[transfer.terms].run.prove(transfer, deliver)
        else:
            self._flow.publish(transfer, fetched.digest)

    def _post_proof(self, transfer: Transfer, proof: Proof) -> None:
        """Deliver the proof of a body from another thread."""
        self.post(partial(self._proven, transfer, proof))

    def _proven(self, transfer: Transfer, proof: Proof) -> None:
        now = self._clock.now()
        if isinstance(proof, Failure):
            self._flow.act(transfer, transfer.disproven(proof, now, random=self._random), now)
        else:
            self._flow.publish(transfer, proof)

    # ------------------------------------------------------------------------------------------- the clock

    def _tick(self, now: float, wall: float) -> None:
        flying = self._flying
        for exchange, transfer in list(flying.items()):
            # An exchange handled before may have cancelled it.
            if self._limits.stops(exchange, transfer, now) and exchange in flying:
                self._ended(exchange, self._http.drop(exchange), now, wall)
            elif exchange.draft is not None and transfer.host_key in self._hosts.hot:
                self._hosts.answers(transfer.host_key, exchange.began, now, name_asked(transfer))
        self._limits.forget_all_but(flying)
        for host, answer in self._lookups.give_up_late(now):
            self._resolved(host, answer)
        self._slots.listen(now)
        self._flow.look(now)
        self._assignments.update(chain(self._slots.resting(), self._lookups), flying)
        if now >= self._noted + _LOOK_PAUSE:
            self._noted = now
            self._note_waits(now)
        for assignment in self._assignments:
            assignment.run.tick(now)
            self._look_after(assignment, now)

    def _note_waits(self, now: float) -> None:
        waits = {terms: Waits(retrying=assignment.waiting) for terms, assignment in self._assignments.of.items()}
        self._slots.note(waits)
        self._lookups.note(waits, now)
        self._flow.host_waits.note(waits, now)
        for terms, found in waits.items():
            self._assignments.of[terms].run.results.note_waits(self, found)

    def _look_after(self, assignment: Assignment, now: float) -> None:
        if assignment.run.course.must_end(now):
            self._give_up(assignment, now)
        else:
            self._flow.look_after(assignment, now)
        self._assignments.end_if_over(assignment)

    def _give_up(self, assignment: Assignment, now: float) -> None:
        """Hand back all of a run's transfers in this lane, in flight or not, except those that await their proof."""
        terms = assignment.run.terms
        flying = [(exchange, transfer) for exchange, transfer in self._flying.items() if transfer.terms is terms]
        for exchange, _ in flying:
            self._http.drop(exchange)
            self._land(exchange)
        for transfer in dict.fromkeys(transfer for _, transfer in flying):
            if transfer.exchange is not None and terms.policy.resume and transfer not in self._splits:
                transfer.keep_part(transfer.exchange)
            self._flow.hand_back(transfer, now)
        for transfer in self._lookups.remove(terms):
            self._schedule.unblock(transfer.host_key)
            self._flow.hand_back(transfer, now)
        self._flow.give_up(assignment, now)

    def _end(self) -> None:
        now = self._clock.now()
        self._assignments.publish()
        for assignment in self._assignments:
            self._give_up(assignment, now)
        self._is_closed = True

    def _collapse(self, error: Exception) -> None:
        """Hand back all transfers after a bug in the loop, wherever it was with them, and stop their runs."""
        _log.error("A lane failed and is being restarted.", exc_info=error)
        now = self._clock.now()
        for exchange in self._flying:
            self._http.drop(exchange)
            exchange.discard()
        for assignment in self._assignments:
            assignment.run.stall(f"A lane failed ({type(error).__name__}).")
            for transfer in assignment.unfetched():
                self._flow.hand_back(transfer, now)
        self._begin_afresh()


def _keep_part(transfer: Transfer, exchange: Exchange, step: Step) -> None:
    """Keep the beginning of a body for the next attempt, or for a later run."""
    if isinstance(step, Retry) or (isinstance(step, Over) and transfer.may_leave_part()):
        transfer.keep_part(exchange)
