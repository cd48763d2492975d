"""Row W in virtual time: the real lane, schedule, retries and pauses against the ideal, where nothing costs CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from benchmarks.web.ideal import ATTEMPTS, TIMEOUT, ideal
from benchmarks.web.listing import DOMAIN, IN_FLIGHT, Fate, Listing, draw
from contract.records.outcomes import Ending, Outcome
from contract.records.policy import JobPolicy
from tests.support.virtual_http import VirtualClock
from tests.support.virtual_web import WebHttp
from tests.support.virtual_world import VirtualWorld
from worker.engine.ports import Answer
from worker.engine.run import Run
from worker.settings import WorkerSettings

BATCH = 500
LIMITED = JobPolicy(timeout=TIMEOUT, attempts=ATTEMPTS)


def fetch(listing: Listing, policy: JobPolicy = LIMITED, *, window: int = 0) -> tuple[Sequence[Outcome], WebHttp]:
    """Fetch a list in batches, the next one claimed when there is room, as a worker does."""
    clock = VirtualClock()
    http = WebHttp(listing, clock)
    window = window or listing.in_flight
    world = VirtualWorld(window=window, http=http, clock=clock)
    for line in listing.lines:
        if line.fate is Fate.NAMELESS:
            world.names.answers[f"gone{line.number}.{DOMAIN}"] = Answer(fault="no such name", is_final=True)
    urls = [line.url for line in listing.lines]
    size = max(1, BATCH * listing.in_flight // 256)
    runs: list[Run] = []
    for start in range(0, len(urls), size):
        world.drive_until(lambda: sum(run.fetching for run in runs) < 1.5 * window)
        runs.append(world.start(urls[start : start + size], policy))
    world.drive_until(lambda: all(run.wait(0) for run in runs))
    return [outcome for run in runs for outcome in run.outcomes], http


@pytest.mark.parametrize(("seed", "scale"), [(1, 0.125), (3, 0.125), (2, 1.0)])
def test_the_last_good_body_of_row_w_comes_no_later_than_in_the_ideal(seed: int, scale: float) -> None:
    """The ideal lets what never answers hold its place; here it holds none, so there is time to spare.

    The large one has a host of 540 URLs eight of which ask for a second each: once they slowed it down to the end.
    """
    listing = draw(seed, scale)

    outcomes, http = fetch(listing)

    best = ideal(listing)
    assert Counter(outcome.ending for outcome in outcomes)[Ending.OK] == len(best.good) == len(http.done)
    assert max(http.done.values()) <= 1.1 * best.at(1.0)
    assert http.network.made <= 1.1 * best.connections


def test_two_processes_with_default_options_are_as_fast_as_the_ideal() -> None:
    """They have its places, and thirty times its patience. With half of them it takes 1.4 times as long."""
    listing = draw(2, 0.25)

    _, http = fetch(listing, JobPolicy(), window=2 * WorkerSettings().transfers * listing.in_flight // IN_FLIGHT)

    best = ideal(listing)
    assert len(http.done) == len(best.good)
    assert max(http.done.values()) <= 1.1 * best.at(1.0)
