"""What a lane has of each run it fetches for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from worker.engine.exchange import Exchange
from worker.engine.group_commit import Whole
from worker.engine.run import Run
from worker.engine.terms import Terms
from worker.engine.transfer import Transfer


class Share:
    """How many of a run's URLs the lane has, and how many of them wait for a moment."""

    __slots__ = ("_said_bytes", "_said_resting", "bodies", "bytes", "left", "run", "waiting")

    def __init__(self, run: Run) -> None:
        self.run = run
        self.left = 0
        self.waiting = 0
        self.bytes = 0  # of bodies, by exchanges that have ended
        self.bodies: list[Whole] = []  # proven, and not told of yet
        self._said_bytes = 0
        self._said_resting = 0

    def update(self, resting: int, in_flight: int) -> None:
        """Tell the run how many of its URLs hold no slot and could not take one, and how many bytes have come."""
        resting += self.waiting
        if resting != self._said_resting:
            self.run.results.rest(resting - self._said_resting)
            self._said_resting = resting
        come = self.bytes + in_flight
        if come != self._said_bytes:
            self.run.results.arrive(come - self._said_bytes)
            self._said_bytes = come

    def publish(self) -> None:
        bodies, self.bodies = self.bodies, []
        self.run.publish(bodies)


class Shares:
    """Belongs to one lane and is called by its thread only."""

    def __init__(self) -> None:
        self.of: dict[Terms, Share] = {}
        self._publishing: list[Share] = []

    def __bool__(self) -> bool:
        return bool(self.of)

    def __iter__(self) -> Iterator[Share]:
        return iter(list(self.of.values()))

    def add(self, run: Run, transfers: Sequence[Transfer]) -> None:
        share = self.of.get(run.terms)
        if share is None:
            share = self.of[run.terms] = Share(run)
        share.left += len(transfers)

    def publish_soon(self, share: Share, whole: Whole) -> None:
        """A body is proven; its run is told of it together with others that came at the same time."""
        share.left -= 1
        if not share.bodies:
            self._publishing.append(share)
        share.bodies.append(whole)

    def publish(self) -> None:
        """Tell runs of the bodies that were proven."""
        publishing, self._publishing = self._publishing, []
        for share in publishing:
            share.publish()

    def update(self, resting: Iterable[Transfer], flying: Mapping[Exchange, Transfer]) -> None:
        """Tell each run how it is with what the lane has of it."""
        rests = Counter(each.terms for each in resting)
        come: Counter[Terms] = Counter()
        for exchange, transfer in flying.items():
            if exchange.draft is not None:
                come[transfer.terms] += exchange.received
        for terms, share in self.of.items():
            share.update(rests[terms], come[terms])

    def end_if_over(self, share: Share) -> None:
        """Forget a run that is over."""
        if share.left == 0 and share.run.results.unsettled == 0:
            del self.of[share.run.terms]
