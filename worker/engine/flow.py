"""What a lane does with transfers between their exchanges: queue them, let them wait, hand them back, end them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import is_

from worker.engine.assignments import Assignment, Assignments
from worker.engine.failures import Failure, past_deadline
from worker.engine.group_commit import Whole
from worker.engine.hosts import Hosts
from worker.engine.ports import Clock
from worker.engine.rows import OK, row_of_body, row_of_failure
from worker.engine.schedule import Schedule
from worker.engine.steps import Follow, GoBack, Hold, Over, Retry, Step
from worker.engine.throttling import HostWaits, waited
from worker.engine.transfer import Transfer

LONGEST_HOLD = 2.0  # seconds a batch is kept open for URLs that only wait
_LOOK_PAUSE = 1.0  # seconds between two checks of the deadlines of transfers that wait for a slot


class Flow:
    """Belongs to one lane and is called by its thread only."""

    def __init__(
        self,
        *,
        clock: Clock,
        random: Callable[[], float],
        schedule: Schedule[Transfer],
        hosts: Hosts,
        assignments: Assignments,
        forget: Callable[[Transfer], None],
    ) -> None:
        """``forget`` is called when a transfer is withdrawn in the middle of its attempt."""
        self._clock = clock
        self._random = random
        self._schedule = schedule
        self._hosts = hosts
        self._assignments = assignments
        self._forget = forget
        self._between: dict[Transfer, None] = {}  # under way, but neither in flight nor resolving
        self._looked_for_overdue = clock.now()
        self.host_waits = HostWaits(
            hosts, schedule, withdraw=self._withdraw, fail=self.fail, wait=self._wait, back=self.hand_back
        )

    # --------------------------------------------------------------------------------------------- from a lane

    def starts(self, transfer: Transfer, now: float) -> None:
        """It is a transfer's turn: end its waits."""
        if transfer.ready_at is not None:
            transfer.leave_queue(now)
        if transfer.was_waiting:
            self._stop_waiting(transfer)
        if transfer.is_under_way:
            self._between.pop(transfer, None)

    def go_on(self, transfer: Transfer, now: float) -> None:
        """Queue a transfer in the middle of its attempt."""
        transfer.queue(now)
        self._between[transfer] = None
        self._schedule.add(transfer, first=True)

    def rest(self, transfer: Transfer, until: float) -> None:
        """Let a transfer wait in the middle of its attempt: its body so far is kept, and its batch stays open."""
        self._between[transfer] = None
        self._schedule.wait(transfer, until)

    def act(self, transfer: Transfer, step: Step, now: float) -> None:
        """Take the next step of a transfer whose body is not complete."""
        match step:
            case Follow():
                self.go_on(transfer, now)
            case Retry(at):
                self._wait(transfer, at)
            case Hold(host):
                self.host_waits.hold(transfer, host, now)
            case Over():
                self._conclude(transfer, now)
            case GoBack(reason, after):
                course = self._assignments.of[transfer.terms].run.course
                if after is None:
                    course.stall(reason)
                else:
                    course.wait_for_space(reason)
                # Trouble with the disk does not count as the URL's time.
                self.hand_back(transfer, transfer.attempt_began, waiting=after or 0.0)

    def publish(self, transfer: Transfer, digest: str | None) -> None:
        """Publish a body that is complete and proven."""
        transfer.proven(digest)
        fetched = transfer.fetched
        assert fetched is not None
        # Built now rather than after publishing, while the transfer is still in the processor's cache.
        row = row_of_body(transfer, fetched)
        assignment = self._assignments.of[transfer.terms]
        assignment.left.discard(transfer)
        if row.ending is OK:
            self._assignments.publish_soon(assignment, Whole(transfer.entry, fetched.draft, row))
        else:
            fetched.draft.discard()
            assignment.run.conclude(row)

    def fail(self, transfer: Transfer, failure: Failure, now: float) -> None:
        """End a transfer, even if attempts are left."""
        self.act(transfer, transfer.give_up(failure), now)

    def hand_back(
        self, transfer: Transfer, now: float, until: float | None = None, *, waiting: float = 0.0, host: str = ""
    ) -> None:
        """Hand a URL back to its run. ``waiting`` (seconds) is not its own fault and does not count as its time."""
        self._withdraw(transfer)
        if transfer.terms.policy.resume:
            transfer.leave_part()
        transfer.drop_part()
        self._stop_waiting(transfer)
        after = max(0.0, until - now) if until is not None else 0.0
        host = host or transfer.waits_for or transfer.host_key
        pause = self._hosts.pause(host, self._clock.now())
        assignment = self._assignments.of[transfer.terms]
        assignment.left.discard(transfer)
        if pause is None:
            assignment.run.give_back(transfer.leftover(now, after), max(after, waiting))
        else:
            entry = transfer.leftover(now, after, waited(transfer, pause, now))
            assignment.run.give_back(entry, max(after, waiting, pause.left), host=host)

    # --------------------------------------------------------------------------------------------- on the clock

    def look(self, now: float) -> None:
        """End transfers past their deadline, and hand back those whose host pauses for long."""
        for transfer in [each for each in self._between if each.ready_at is None and now >= each.deadline]:
            for _ in self._schedule.remove(partial(is_, transfer)):
                self._withdraw(transfer)
                failure = past_deadline(transfer.terms.policy.timeout, transfer.entry.spent)
                self.act(transfer, transfer.failed(failure, now, random=self._random), now)
            self._between.pop(transfer, None)
        self.host_waits.look(now)
        if now >= self._looked_for_overdue + _LOOK_PAUSE:
            self._looked_for_overdue = now
            self._end_overdue(now)

    def look_after(self, assignment: Assignment, now: float) -> None:
        """Hand back transfers that a run will not start, and those whose wait alone would keep it open."""
        terms = assignment.run.terms
        if now >= assignment.run.course.starts_until:
            # Those between two hops too: nothing else bounds how long they wait for a slot.
            for transfer, until in self._schedule.remove(lambda each: each.terms is terms and not _rests(each)):
                self.hand_back(transfer, now, until)
        elif 0 < assignment.waiting == len(assignment.left):
            due = self._schedule.next_due_of(lambda each: each.terms is terms)
            if due is not None and due - now > LONGEST_HOLD:
                self.give_up(assignment, now)

    def give_up(self, assignment: Assignment, now: float) -> None:
        """Hand back a run's waiting transfers."""
        terms = assignment.run.terms
        for transfer, until in self._schedule.remove(lambda each: each.terms is terms):
            self.hand_back(transfer, now, until)

    def _end_overdue(self, now: float) -> None:
        """End transfers that stalled in this run and found no room beside the window before their deadline.

        For other later tries the wait for a slot does not count.
        """
        for transfer in self._schedule.remove_later(lambda each: each.has_stalled and now >= each.deadline):
            assert transfer.failure is not None
            self._withdraw(transfer)
            self.fail(transfer, transfer.failure, now)

    # --------------------------------------------------------------------------------------------- inside

    def _conclude(self, transfer: Transfer, now: float) -> None:
        self._stop_waiting(transfer)
        if transfer.may_leave_part():
            transfer.leave_part()
        transfer.drop_part()
        assignment = self._assignments.of[transfer.terms]
        assignment.left.discard(transfer)
        assignment.run.conclude(row_of_failure(transfer, now))

    def _wait(self, transfer: Transfer, until: float) -> None:
        transfer.wait(until)
        self._assignments.of[transfer.terms].waiting += 1
        self._schedule.wait(transfer, until)

    def _stop_waiting(self, transfer: Transfer) -> None:
        if transfer.stop_waiting():
            self._assignments.of[transfer.terms].waiting -= 1

    def _withdraw(self, transfer: Transfer) -> None:
        """Discard the state of an attempt that is neither in flight nor over."""
        self._between.pop(transfer, None)
        self._forget(transfer)
        transfer.withdraw()


def _rests(transfer: Transfer) -> bool:
    """Does it wait for a moment in the middle of its attempt, and not for a slot?"""
    return transfer.is_under_way and transfer.ready_at is None
