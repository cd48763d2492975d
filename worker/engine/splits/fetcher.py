"""A fetcher: a lane's helpers, who fetch shares of large bodies beside the exchanges that began them."""

from __future__ import annotations

from collections.abc import Callable

from worker.engine.exchange import Exchange, bug
from worker.engine.failures import Failure
from worker.engine.http.ranges import Part
from worker.engine.http.verdict import Redirected
from worker.engine.ports import Clock, Http
from worker.engine.schedule import Schedule
from worker.engine.splits.split import Split, plan
from worker.engine.transfer import Follow, Step, Transfer


class SegmentFetcher:
    """Belongs to one lane, shares what is in flight with it, and is called by its thread only.

    ``land`` takes an exchange out of flight; ``spoil`` ends a transfer with its main exchange; ``rest`` has a transfer
    come to its host's turn at a moment, and the lane ``go_on`` with its split then. ``wait_for`` takes a start at a
    host: 0, or the seconds after which to ask again.
    """

    def __init__(
        self,
        *,
        http: Http,
        clock: Clock,
        random: Callable[[], float],
        schedule: Schedule[Transfer],
        flying: dict[Exchange, None],
        land: Callable[[Exchange], None],
        spoil: Callable[[Exchange, Failure, float], None],
        rest: Callable[[Transfer, float], None],
        wait_for: Callable[[str, float], float],
    ) -> None:
        self.asking: list[Split] = []  # whose helpers are to begin
        self._http = http
        self._clock = clock
        self._random = random
        self._schedule = schedule
        self._flying = flying
        self._land = land
        self._spoil = spoil
        self._rest = rest
        self._wait_for = wait_for

    def split(self, main: Exchange) -> None:
        """Leave to helpers what the first exchange of a large body would reach last.

        Called while libcurl hands over the first bytes, so nothing can be begun here.
        """
        transfer, policy = main.transfer, main.transfer.run.policy
        most = policy.splits
        if policy.per_host:
            host = transfer.host_key
            soon = sum(len(each.waiting) for each in self.asking if each.main.transfer.host_key == host)
            most = min(most, policy.per_host - self._schedule.flying_at(host) - soon + 1)
        split = transfer.split = plan(main, most, now=self._clock.now())
        if split is not None:
            main.until = split.bounds[1]
            self.asking.append(split)

    def begin(self, now: float) -> None:
        """Send helpers to the bodies that ask for them."""
        while self.asking:
            self._begin_helpers(self.asking.pop(), now)

    def go_on(self, split: Split, now: float) -> None:
        """Fetch what is due of a split that rested."""
        split.take_up(now)
        self._begin_helpers(split, now)

    def ended(
        self,
        split: Split,
        exchange: Exchange,
        judged: Failure | Redirected | None,
        now: float,
        *,
        is_the_hosts: bool = False,
    ) -> Step | None:
        """Take a share's end; None: the transfer is not over. ``is_the_hosts``: the URL has no part in how it ended."""
        transfer = exchange.transfer
        if judged is None and not exchange.is_unfit:
            split.finish(exchange, now)
            if split.is_whole:
                return transfer.ended(None, now, random=self._random)
            self._begin_helpers(split, now)
            return None
        if isinstance(judged, Failure) and split.takes_back(exchange, judged, self._due(split, judged, now)):
            self._begin_helpers(split, now)
            return None
        main = split.main
        self.call_off(transfer)
        if main in self._flying and not main.enough:
            main.until = None  # it goes on to the end
            return None
        if main in self._flying:  # its end, at the end of its share, has not been looked at yet
            self._land(main)
        transfer.go_back_to(split.prefix())
        if not isinstance(judged, Failure) or exchange.is_unfit:
            return Follow()
        if is_the_hosts:
            return transfer.hold(now)
        return transfer.failed(judged, now, random=self._random)

    def call_off(self, transfer: Transfer) -> None:
        """End the helpers of a transfer; its body stays with one exchange from now on."""
        split, transfer.split = transfer.split, None
        transfer.ask_for_help = None
        for helper in list(split.helpers()) if split is not None else ():
            helper.draft = None
            if helper in self._flying:
                self._http.drop(helper)
                self._land(helper)

    def _due(self, split: Split, failure: Failure, now: float) -> float | None:
        """Return when a share that failed may be asked for again; None: not before the transfer's deadline."""
        transfer = split.main.transfer
        pause = transfer.run.retry.pause_after(failure, split.tries + 1, random=self._random)
        return None if now + pause >= transfer.deadline else now + pause

    def _begin_helpers(self, split: Split, now: float) -> None:
        """Have every share fetched that waits for it; rest if there is none and nobody is at work."""
        main = split.main
        if main.transfer.split is not split or main.draft is None:
            return
        try:
            while split.waiting:
                wait = self._wait_for(main.transfer.host_key, now)
                if wait:
                    split.put_off(now + wait)
                else:
                    self._begin_helper(split, split.waiting.pop(0), now)
            moment = split.rests_until()
            if moment is not None:
                self._rest(main.transfer, moment)
        except Exception as error:  # a bug costs its own URL only
            self.call_off(main.transfer)
            self._spoil(main, bug(error), now)

    def _begin_helper(self, split: Split, start: int, now: float) -> None:
        main = split.main
        assert main.draft is not None
        before = Part(main.draft, start, split.version, None)
        helper = Exchange(main.transfer, main.addresses, now, share=(before, split.end_of(start)))
        helper.is_fresh = helper.is_fresh or split.is_multiplexed
        split.fetching[start] = helper
        self._flying[helper] = None
        self._schedule.join(main.transfer.host_key)
        self._http.begin(helper)
