"""A lane's part of each run: its URLs, and their results that the run does not have yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from worker.engine.exchange import Exchange
from worker.engine.group_commit import Whole
from worker.engine.run import Run
from worker.engine.terms import Terms
from worker.engine.transfer import Transfer


class Assignment:
    """The URLs of one run that the lane fetches: those that are left, and how many of these wait for a time."""

    __slots__ = ("_reported_bytes", "_reported_resting", "bodies", "bytes", "left", "run", "waiting")

    def __init__(self, run: Run) -> None:
        self.run = run
        self.left: set[Transfer] = set()  # neither proven, nor ended, nor handed back
        self.waiting = 0
        self.bytes = 0  # of bodies, by exchanges that have ended
        self.bodies: list[Whole] = []  # proven, and not reported yet
        self._reported_bytes = 0
        self._reported_resting = 0

    def update(self, resting: int, in_flight: int) -> None:
        """Report to the run how many of its URLs hold no slot and could take none, and how many bytes arrived."""
        resting += self.waiting
        if resting != self._reported_resting:
            self.run.results.rest(resting - self._reported_resting)
            self._reported_resting = resting
        arrived = self.bytes + in_flight
        if arrived != self._reported_bytes:
            self.run.results.arrive(arrived - self._reported_bytes)
            self._reported_bytes = arrived

    def unfetched(self) -> list[Transfer]:
        """Return those whose body does not await its proof."""
        return [transfer for transfer in self.left if transfer.fetched is None]

    def publish(self) -> None:
        """Hand the proven bodies to the run."""
        bodies, self.bodies = self.bodies, []
        self.run.publish(bodies)


class Assignments:
    """Belongs to one lane and is called by its thread only."""

    def __init__(self) -> None:
        self.of: dict[Terms, Assignment] = {}
        self._publishing: list[Assignment] = []

    def __bool__(self) -> bool:
        return bool(self.of)

    def __iter__(self) -> Iterator[Assignment]:
        return iter(list(self.of.values()))

    def add(self, run: Run, transfers: Sequence[Transfer]) -> None:
        """Take on more of a run's transfers."""
        assignment = self.of.get(run.terms)
        if assignment is None:
            assignment = self.of[run.terms] = Assignment(run)
        assignment.left.update(transfers)

    def publish_soon(self, assignment: Assignment, whole: Whole) -> None:
        """Keep a proven body until ``publish``: one call for all that were proven in the same pass."""
        if not assignment.bodies:
            self._publishing.append(assignment)
        assignment.bodies.append(whole)

    def publish(self) -> None:
        """Hand the proven bodies to their runs."""
        publishing, self._publishing = self._publishing, []
        for assignment in publishing:
            assignment.publish()

    def update(self, resting: Iterable[Transfer], flying: Mapping[Exchange, Transfer]) -> None:
        """Report the progress of each run: which transfers rest, and the bytes of those in flight."""
        resting_of = Counter(each.terms for each in resting)
        arrived: Counter[Terms] = Counter()
        for exchange, transfer in flying.items():
            if exchange.draft is not None:
                arrived[transfer.terms] += exchange.received
        for terms, assignment in self.of.items():
            assignment.update(resting_of[terms], arrived[terms])

    def end_if_over(self, assignment: Assignment) -> None:
        """Forget a run that is over."""
        if not assignment.left and assignment.run.results.unsettled == 0:
            del self.of[assignment.run.terms]
