"""Bodies over HTTP/2 and HTTP/3 come whole, and a stream that breaks costs its neighbours nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contract.records.outcomes import Ending, ErrorClass
from contract.urls.naming import output_name
from tests.support.bodies import body_bytes
from tests.support.fetching import Bench
from tests.support.multiplexed import LARGE, Version


def test_bodies_come_whole(version: Version, bench: Bench) -> None:
    sizes = [0, 1, 4096, LARGE]
    urls = [version.site.url(size=size, seed=size) for size in sizes]
    urls += [version.site.url(size=LARGE, bare=1)]  # HTTP/2 and 3 frame bodies by themselves

    run = bench.fetch(urls, version.policy())

    assert {(outcome.ending, outcome.http_version) for outcome in run.outcomes} == {(Ending.OK, version.name)}
    for url, size in zip(urls, sizes, strict=False):
        assert (bench.folder / output_name(url)).read_bytes() == body_bytes(size, size)
    assert (bench.folder / output_name(urls[-1])).read_bytes() == body_bytes(LARGE)
    notes = {outcome.url: outcome.notes for outcome in run.outcomes}
    assert notes == {**dict.fromkeys(urls, ()), urls[-1]: (f"framing=h{version.name}",)}


@pytest.mark.parametrize("end", ["reset", "quiet", "early"])
@pytest.mark.parametrize("bare", ["", "1"], ids=["with a length", "without a length"])
def test_a_stream_that_breaks_leaves_no_file(version: Version, bench: Bench, end: str, bare: str) -> None:
    """``early`` ends as if that were all, which only a length reveals; libcurl takes ``quiet`` for that."""
    url = version.site.url(size=LARGE, sent=100_000, end=end, bare=bare)

    run = bench.fetch([url], replace(version.policy(), attempts=2))

    (outcome,) = run.outcomes
    if end == "early" and bare:
        assert (outcome.ending, outcome.bytes) == (Ending.OK, 100_000)
        return
    assert (outcome.ending, outcome.error, len(outcome.attempts)) == (Ending.FAILED, ErrorClass.TRUNCATED, 2)
    assert bench.files() == set()
    assert bench.temporary_files() == []


def test_a_broken_stream_costs_its_neighbours_nothing(version: Version, bench: Bench) -> None:
    """A body of the wrong length may end the whole connection: the others are fetched again."""
    good = [version.site.url(size=50_000 + number) for number in range(40)]
    bad = [version.site.url(size=LARGE, sent=1000, end=end, n=1) for end in ("reset", "early")]

    run = bench.fetch([*bad, *good], version.policy())

    stored = {outcome.url for outcome in run.outcomes if outcome.is_stored}
    assert stored == set(good)
    for number, url in enumerate(good):
        assert (bench.folder / output_name(url)).read_bytes() == body_bytes(50_000 + number)


def test_a_quiet_reset_costs_its_own_stream_only(version: Version, bench: Bench) -> None:
    """Guards ``hear``: of streams answered together on one connection, reset ones and whole ones are distinguished."""
    bench.fetch([version.site.url(first=1, bare=1)], version.policy())
    ends = ["whole", "quiet", "whole", "whole", "quiet", "quiet"] * 4
    urls = [
        version.site.url(gather=len(ends), size=20_000 + number, sent=(20_000 + number) // 2, end=end, bare=1)
        if end == "quiet"
        else version.site.url(gather=len(ends), size=20_000 + number, bare=1)
        for number, end in enumerate(ends)
    ]

    run = bench.fetch(urls, replace(version.policy(), attempts=1))

    outcomes = {outcome.url: outcome for outcome in run.outcomes}
    for number, (url, end) in enumerate(zip(urls, ends, strict=True)):
        assert outcomes[url].error == (ErrorClass.TRUNCATED if end == "quiet" else None), outcomes[url]
        if end == "whole":
            assert (bench.folder / output_name(url)).read_bytes() == body_bytes(20_000 + number)


@pytest.mark.parametrize("size", [0, 1000])
def test_a_quiet_reset_is_noticed_after_bodies_with_lengths(version: Version, bench: Bench, size: int) -> None:
    """Guards ``is_unseen``: no handle listened there, so the body is requested again, once, with one that listens."""
    url = version.site.url(size=2 * size, sent=size, end="quiet", bare=1)
    bench.fetch([version.site.url(n=number) for number in range(3)], version.policy())

    run = bench.fetch([url], replace(version.policy(), attempts=1))

    assert [outcome.error for outcome in run.outcomes] == [ErrorClass.TRUNCATED]
    assert len([asked for asked in version.site.asked if asked.target in url]) == 2
    assert bench.files() == {output_name(version.site.url(n=number)) for number in range(3)}


def test_a_length_outweighs_a_quiet_reset(version: Version, bench: Bench) -> None:
    """Every promised byte has come: how the stream ended does not matter."""
    url = version.site.url(size=1000, end="quiet")

    run = bench.fetch([url], replace(version.policy(), attempts=1))

    assert [(outcome.ending, outcome.notes) for outcome in run.outcomes] == [(Ending.OK, ())]
    assert (bench.folder / output_name(url)).read_bytes() == body_bytes(1000)


def test_bodies_without_a_length_are_requested_once(version: Version, bench: Bench) -> None:
    """Guards ``settle``, from an origin's first answer on; one that came in the turn of its request may be requested
    twice.
    """
    firsts = [version.site.url(host=f"h{number}.many.test", bare=1, size=number) for number in range(6)]
    bench.fetch(firsts, version.policy())
    asked = len(version.site.asked)

    run = bench.fetch(
        [version.site.url(host="h0.many.test", bare=1, n=number) for number in range(30)], version.policy()
    )

    assert {outcome.ending for outcome in run.outcomes} == {Ending.OK}
    assert {outcome.notes for outcome in run.outcomes} == {(f"framing=h{version.name}",)}
    assert asked <= len(firsts) + 1
    assert len(version.site.asked) == asked + 30


def test_if_libcurl_cannot_be_asked_a_body_without_a_length_is_noted(
    version: Version, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.adapters.http.streams._trace", lambda: False)

    run = bench.fetch([version.site.url(bare=1, n=number) for number in range(3)], version.policy())

    assert {outcome.ending for outcome in run.outcomes} == {Ending.OK}
    assert {outcome.notes for outcome in run.outcomes} == {(f"framing=h{version.name}",)}
    assert len(version.site.asked) == 3


def test_a_silent_stream_ends_at_the_floor(version: Version, bench: Bench) -> None:
    url = version.site.url(size=LARGE, sent=1000, end="stall")

    run = bench.fetch([url], replace(version.policy(), attempts=1, slowest=1000, slow_window=1.0))

    assert [outcome.error for outcome in run.outcomes] == [ErrorClass.TOO_SLOW]
    assert bench.temporary_files() == []
