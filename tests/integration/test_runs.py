"""A batch from start to end: handed back, abandoned, kept, limited, settled."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from contract.records.batches import BatchEntry, Known
from contract.records.outcomes import Ending, ErrorClass
from contract.records.policy import Digest, Sync
from contract.urls.expected import Expected
from contract.urls.naming import Layout, output_name, output_path
from tests.support.bodies import body_bytes
from tests.support.fetching import OPEN, Bench
from tests.support.misbehaving import GOOD, MisbehavingSite
from tests.support.object_versions import CUT, SIZE
from tests.support.processes import await_condition

ENOUGH = 180.0  # seconds until a run that has not ended hangs
_SHA256 = hashlib.sha256(GOOD).hexdigest()


@pytest.fixture(scope="module")
def site() -> Iterator[MisbehavingSite]:
    with MisbehavingSite() as site:
        yield site


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as bench:
        yield bench


def _good(site: MisbehavingSite, count: int, what: str) -> list[str]:
    return [site.url("/good", key=f"{what}-{index}") for index in range(count)]


# ---------------------------------------------------------------------------------------------------- handing back


def test_a_batch_past_its_time_starts_no_more_transfers_and_loses_nothing(site: MisbehavingSite, bench: Bench) -> None:
    urls = [site.url("/silence", key=f"slow-{index}") for index in range(80)] + _good(site, 20, "late")
    policy = replace(OPEN, batch_seconds=0.3, timeout=1.0, attempts=1, per_host=4)

    run = bench.fetch(urls, policy)

    ended = {outcome.url for outcome in run.outcomes}
    back = {leftover.entry.url for leftover in run.leftovers}
    assert ended | back == set(urls)
    assert not ended & back
    assert back
    assert all(leftover.entry.attempts == () for leftover in run.leftovers)


def test_time_spent_in_earlier_batches_counts(site: MisbehavingSite, bench: Bench) -> None:
    """A URL that is handed off keeps its deadline: time used by earlier batches is gone, and its row says so."""
    entry = BatchEntry(url=site.url("/silence", key="spent"), spent=OPEN.timeout - 0.5)

    run = bench.fetch([entry])

    assert run.outcomes[0].error is ErrorClass.TIMEOUT
    deadline = f"{OPEN.timeout:g} s ({entry.spent:.1f} s of it in earlier batches)"
    assert run.outcomes[0].detail == f"Not finished within its deadline of {deadline}."


def test_a_stopped_run_hands_back_transfers_in_flight(site: MisbehavingSite, bench: Bench) -> None:
    urls = [site.url("/silence?after=half", key=f"stopped-{index}") for index in range(10)]
    site.log.clear()  # other tests asked for silence too
    run = bench.start(urls)
    site.log.wait_for_requests(10, path="/silence")

    run.stop(0.2)

    assert run.wait(ENOUGH)
    assert {leftover.entry.url for leftover in run.leftovers} == set(urls)
    assert bench.temporary_files() == []


def test_an_abandoned_run_publishes_nothing(site: MisbehavingSite, bench: Bench) -> None:
    """Guards ``_may_name``: the lease is checked right before files get their names."""
    urls = _good(site, 30, "abandoned")
    entries = [BatchEntry(url=url) for url in urls]

    run = bench.downloader.start(entries, OPEN, queued=time.time(), worker="test", may_publish=lambda: False)

    assert run.wait(ENOUGH)
    assert bench.files() == set()
    assert bench.temporary_files() == []
    assert {leftover.entry.url for leftover in run.leftovers} == set(urls)


def test_abandoning_ends_a_run_at_once(site: MisbehavingSite, bench: Bench) -> None:
    run = bench.start([site.url("/silence", key=f"gone-{index}") for index in range(5)])

    run.abandon()

    assert run.wait(ENOUGH)
    assert run.outcomes == []


def test_closing_the_downloader_hands_everything_back(site: MisbehavingSite, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    site.log.clear()  # other tests asked for silence too
    run = bench.start([site.url("/silence?after=half", key=f"closing-{index}") for index in range(5)])
    site.log.wait_for_requests(5, path="/silence")

    bench.close()

    assert run.wait(ENOUGH)
    assert len(run.leftovers) == 5
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# ---------------------------------------------------------------------------------------------------------- kept


def test_a_known_file_is_kept_and_not_fetched(site: MisbehavingSite, bench: Bench) -> None:
    url = site.url("/good", key="kept")
    bench.fetch([url])
    seen = len(site.log.requests(case="kept"))

    run = bench.fetch([BatchEntry(url=url, known=Known(len(GOOD), f"sha256:{_SHA256}"))])

    assert [outcome.ending for outcome in run.outcomes] == [Ending.KEPT]
    assert len(site.log.requests(case="kept")) == seen
    assert run.outcomes[0].sha256 == _SHA256


def test_a_file_that_differs_from_the_known_one_is_fetched(site: MisbehavingSite, bench: Bench) -> None:
    url = site.url("/good", key="another")
    (bench.folder / output_name(url)).write_bytes(b"x" + GOOD[1:])

    run = bench.fetch([BatchEntry(url=url, known=Known(len(GOOD), f"sha256:{_SHA256}"))])

    assert run.outcomes[0].ending is Ending.OK
    assert (bench.folder / output_name(url)).read_bytes() == GOOD


# ------------------------------------------------------------------------------------------------------- promises


@pytest.mark.parametrize(
    "expected",
    [
        Expected(sha256=_SHA256),
        Expected(md5=hashlib.md5(GOOD).hexdigest()),
        Expected(size=len(GOOD)),
        Expected(sha256=_SHA256, md5=hashlib.md5(GOOD).hexdigest(), size=len(GOOD)),
    ],
)
def test_a_body_that_matches_its_list_entry_is_stored(site: MisbehavingSite, bench: Bench, expected: Expected) -> None:
    run = bench.fetch([BatchEntry(url=site.url("/good", key="expected"), expected=expected)])

    assert run.outcomes[0].ending is Ending.OK


@pytest.mark.parametrize("expected", [Expected(sha256="0" * 64), Expected(md5="0" * 32), Expected(size=1)])
def test_a_body_that_does_not_match_its_list_entry_is_tried_twice_and_not_stored(
    site: MisbehavingSite, bench: Bench, expected: Expected
) -> None:
    """Guards the comparisons of ``_read_back``."""
    site.log.clear()
    url = site.url("/good", key="unexpected")

    run = bench.fetch([BatchEntry(url=url, expected=expected)])

    assert run.outcomes[0].error is ErrorClass.DIGEST
    assert [attempt.error for attempt in run.outcomes[0].attempts] == [ErrorClass.DIGEST] * 2
    assert len(site.log.requests(case="unexpected")) == 2
    assert bench.files() == set()
    assert bench.temporary_files() == []


@pytest.mark.parametrize("digest", list(Digest))
def test_every_digest_is_the_bodys(site: MisbehavingSite, bench: Bench, digest: Digest) -> None:
    if digest in (Digest.BLAKE3, Digest.XXH3):
        pytest.importorskip("blake3" if digest is Digest.BLAKE3 else "xxhash")
    small, large = site.url("/good", key=f"{digest}-small"), site.url("/good?size=300000", key=f"{digest}-large")

    run = bench.fetch([small, large], replace(OPEN, digest=digest))

    for outcome in run.outcomes:
        body = (bench.folder / output_name(outcome.url)).read_bytes()
        if digest is Digest.SHA256:
            assert (outcome.sha256, outcome.digest) == (hashlib.sha256(body).hexdigest(), None)
        elif digest is Digest.NONE:
            assert (outcome.sha256, outcome.digest) == (None, None)
        else:
            assert outcome.sha256 is None
            assert outcome.digest is not None
            assert outcome.digest.startswith(f"{digest}:")


# --------------------------------------------------------------------------------------------------------- limits


def test_lanes_of_finished_jobs_are_retired(site: MisbehavingSite, bench: Bench) -> None:
    """Guards ``_retire_lanes``: a process that served many kinds of jobs keeps few threads and connections."""
    for number in range(8):
        policy = replace(OPEN, deny_nets=(f"10.{number}.0.0/16",))
        assert bench.fetch([site.url("/good", key=f"kind-{number}")], policy).progress.ok == 1
        await_condition(partial(_are_idle, bench), within=10.0, what="idle lanes")

    assert len(bench.downloader._lanes) == 4


def _are_idle(bench: Bench) -> bool:
    return all(lane.is_idle for lanes in bench.downloader._lanes.values() for lane in lanes)


# --------------------------------------------------------------------------------------------------------- layout


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("sync", list(Sync))
def test_files_are_where_their_outcomes_say(site: MisbehavingSite, bench: Bench, layout: Layout, sync: Sync) -> None:
    urls = _good(site, 20, f"{layout}-{sync}") + [site.url("/good?size=0", key=f"{layout}-{sync}-empty")]

    run = bench.fetch(urls, replace(OPEN, layout=layout, sync=sync))

    assert bench.files() == {output_path(output_name(url), layout) for url in urls}
    for outcome in run.outcomes:
        assert outcome.path is not None
        assert (bench.folder / outcome.path).stat().st_size == outcome.bytes


def test_concurrent_runs_keep_their_outcomes_apart(site: MisbehavingSite, bench: Bench) -> None:
    lists = [_good(site, 40, f"side-{number}") for number in range(5)]

    runs = [bench.start(urls) for urls in lists]

    for urls, run in zip(lists, runs, strict=True):
        assert run.wait(ENOUGH)
        assert {outcome.url for outcome in run.outcomes} == set(urls)
        assert run.busy > 0


def test_an_empty_batch_is_finished_at_once(bench: Bench) -> None:
    assert bench.fetch([]).outcomes == []


# --------------------------------------------------------------------------------------------------- later runs


def test_a_later_run_resumes_a_partial_body(site: MisbehavingSite, tmp_path: Path) -> None:
    """Guards the partials: the body, its validator beside it, and the way back."""
    url = site.url(f"/object?cuts=1&cut={CUT}", key="later-run")
    policy = replace(OPEN, resume=True, attempts=1)
    first = Bench(tmp_path)
    assert first.fetch([url], policy).outcomes[0].error is ErrorClass.TRUNCATED
    first.close()
    second = Bench(tmp_path)

    run = second.fetch([url], policy)

    second.close()
    assert run.outcomes[0].notes == ("resumed",)
    assert (tmp_path / output_name(url)).read_bytes() == body_bytes(SIZE)
    assert [request.header("range") for request in site.log.requests(case="later-run")] == [None, f"bytes={CUT}-"]
    assert second.temporary_files() == []


def test_a_job_without_resume_leaves_no_partials(site: MisbehavingSite, bench: Bench) -> None:
    bench.fetch([site.url(f"/object?cuts=1&cut={CUT}", key="no-resume")], replace(OPEN, attempts=1))

    assert bench.temporary_files() == []


def test_a_stopped_run_leaves_its_large_body_to_the_next(site: MisbehavingSite, bench: Bench) -> None:
    url = site.url(f"/object?halt={CUT}", key="stopped-large")
    policy = replace(OPEN, resume=True)
    run = bench.start([url], policy)
    part = bench.folder / ".trawl" / "partials" / f"{output_name(url)}.part"
    await_condition(lambda: part.exists() and part.stat().st_size > SIZE // 4, within=30, what="a quarter of the body")
    run.stop(0.0)
    assert run.wait(ENOUGH)
    assert len(run.leftovers) == 1

    again = bench.fetch([leftover.entry for leftover in run.leftovers], policy)

    assert again.outcomes[0].notes == ("resumed",)
    assert (bench.folder / output_name(url)).read_bytes() == body_bytes(SIZE)
