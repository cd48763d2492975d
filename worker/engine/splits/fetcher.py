"""The helpers of a lane: exchanges that fetch segments of large bodies beside the one that requested the body."""

from __future__ import annotations

from collections.abc import Callable

from worker.engine.exchange import Exchange
from worker.engine.failures import Failure, bug
from worker.engine.http.ranges import Part
from worker.engine.http.verdict import Redirected
from worker.engine.ports import Clock, Http
from worker.engine.schedule import Schedule
from worker.engine.splits.split import Split, plan
from worker.engine.steps import FOLLOW, Step
from worker.engine.transfer import Transfer


class SegmentFetcher:
    """Belongs to one lane, shares its ``flying`` dict, and is called by its thread only.

    ``land`` removes an exchange from ``flying`` and returns its transfer. ``spoil`` ends a transfer and its main
    exchange. ``rest`` queues a transfer until a moment, at which the lane calls ``resume``. ``wait_for`` reserves a
    start at a host and returns 0, or returns the seconds after which to ask again.
    """

    def __init__(
        self,
        *,
        http: Http[Exchange],
        clock: Clock,
        random: Callable[[], float],
        schedule: Schedule[Transfer],
        flying: dict[Exchange, Transfer],
        land: Callable[[Exchange], Transfer],
        spoil: Callable[[Transfer, Exchange, Failure, float], None],
        rest: Callable[[Transfer, float], None],
        wait_for: Callable[[str, float], float],
    ) -> None:
        self.asking: list[Transfer] = []  # transfers whose helpers are to start
        self.splits: dict[Transfer, Split] = {}  # of the transfers that are split
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
        """Plan helpers for the rest of a large body.

        Called from a libcurl callback for the first bytes, where no other exchange can be started.
        """
        transfer = self._flying[main]
        policy = transfer.terms.policy
        most = policy.splits
        if policy.per_host:
            host = transfer.host_key
            soon = sum(len(self.splits[each].waiting) for each in self.asking if each.host_key == host)
            most = min(most, policy.per_host - self._schedule.flying_at(host) - soon + 1)
        split = plan(main, most, now=self._clock.now())
        if split is not None:
            self.splits[transfer] = split
            main.leave_rest_from(split.bounds[1])
            self.asking.append(transfer)
        elif policy.resume:
            transfer.keep_partial(main)

    def begin(self, now: float) -> None:
        """Start the helpers that were planned."""
        while self.asking:
            transfer = self.asking.pop()
            split = self.splits.get(transfer)
            if split is not None:
                self._begin_helpers(transfer, split, now)

    def resume(self, transfer: Transfer, now: float) -> None:
        """Fetch the segments of a waiting split that are due."""
        split = self.splits[transfer]
        split.resume(now)
        self._begin_helpers(transfer, split, now)

    def ended(
        self,
        transfer: Transfer,
        exchange: Exchange,
        judged: Failure | Redirected | None,
        now: float,
        *,
        is_throttled: bool,
    ) -> Step | None:
        """Handle the end of one exchange; None: the transfer continues. ``is_throttled``: its host throttles."""
        split = self.splits[transfer]
        if judged is None and not exchange.is_unfit:
            split.finish(exchange, now)
            if split.is_whole:
                return transfer.ended(None, now, self._random)
            self._begin_helpers(transfer, split, now)
            return None
        if isinstance(judged, Failure) and split.retry(exchange, judged, self._due(transfer, split, judged, now)):
            self._begin_helpers(transfer, split, now)
            return None
        main = split.main
        self.call_off(transfer)
        if main in self._flying and not main.enough:
            main.leave_rest_from(None)  # it continues to the end
            return None
        if main in self._flying:  # it ended with its segment, which was not handled yet
            self._land(main)
        transfer.go_back_to(split.prefix())
        if not isinstance(judged, Failure) or exchange.is_unfit:
            return FOLLOW
        if is_throttled:
            return transfer.hold(now)
        return transfer.failed(judged, now, random=self._random)

    def finish(self, transfer: Transfer) -> tuple[int | None, tuple[str, ...]]:
        """Forget the split of a complete body; return its size (None: it was not split) and notes for the outcome."""
        split = self.splits.pop(transfer, None)
        return (None, ()) if split is None else (split.total, (f"splits={split.width}",))

    def call_off(self, transfer: Transfer) -> None:
        """Cancel the helpers of a transfer; from now on a single exchange fetches its body."""
        split = self.splits.pop(transfer, None)
        transfer.stay_single()
        for helper in list(split.helpers()) if split is not None else ():
            helper.hand_over()
            if helper in self._flying:
                self._http.drop(helper)
                self._land(helper)

    def _due(self, transfer: Transfer, split: Split, failure: Failure, now: float) -> float | None:
        """Return when a failed segment may be requested again; None: not before the transfer's deadline."""
        pause = transfer.terms.retry.pause_after(failure, split.tries + 1, random=self._random)
        return None if now + pause >= transfer.deadline else now + pause

    def _begin_helpers(self, transfer: Transfer, split: Split, now: float) -> None:
        """Request every waiting segment; wait if there is none and no exchange is in flight."""
        main = split.main
        if main.draft is None:
            return
        try:
            while split.waiting:
                wait = self._wait_for(transfer.host_key, now)
                if wait:
                    split.put_off(now + wait)
                else:
                    self._begin_helper(transfer, split, split.waiting.pop(0), now)
            moment = split.rests_until()
            if moment is not None:
                self._rest(transfer, moment)
        except Exception as error:  # a bug costs its own URL only
            self.call_off(transfer)
            self._spoil(transfer, main, bug(error), now)

    def _begin_helper(self, transfer: Transfer, split: Split, start: int, now: float) -> None:
        main = split.main
        assert main.draft is not None
        before, until = Part(main.draft, start, split.version, None), split.end_of(start)
        is_fresh = main.request.is_fresh or split.is_multiplexed
        request = transfer.request(main.request.addresses, now, before, until, is_fresh=is_fresh)
        helper = Exchange(transfer.terms, request, transfer.name, now, before, until)
        split.begin(start, helper)
        self._flying[helper] = transfer
        self._schedule.join(transfer.host_key)
        helper.lines = self._http.begin(request, helper)
