"""Every call of the write path fails with every disk error, or is the process's last: files are whole or absent."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from contract.errors import FolderError
from contract.records.batches import BatchEntry, Known
from contract.records.outcomes import Ending, ErrorClass
from contract.records.policy import JobPolicy, Sync
from contract.urls.naming import Layout, output_name
from tests.support.bodies import body_bytes
from tests.support.drafts import expect_whole_or_absent
from tests.support.faulty_calls import FaultyCalls
from tests.support.fetching import OPEN, Bench
from tests.support.misbehaving import MisbehavingServer
from worker.engine.run import STALLED_WAIT, Run

ERRORS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EMFILE, errno.EIO]
WAYS = [  # the error codes that are left out take the ways of these
    *((code, Layout.FLAT, Sync.BATCH, False) for code in ERRORS),
    *((code, Layout.SHARDED, Sync.FILE, False) for code in (errno.EMFILE, errno.EIO)),
    *((code, Layout.SHARDED, Sync.BATCH, True) for code in (errno.ENOSPC, errno.EIO)),
    (errno.EROFS, Layout.FLAT, Sync.NONE, True),
]

# ------------------------------------------------------------------------------------------------ the whole engine

SIZES = (0, 700, 70_000, 300_000)  # one call of a write callback, several, and more than is hashed as it comes


def urls_of(origin: str) -> dict[str, bytes]:
    return {f"{origin}/good?seed={size}&size={size}": body_bytes(size, size) for size in SIZES}


class Fetched:
    """A batch fetched with one call failing, looked at after its worker process has ended."""

    def __init__(self, out: Path, urls: Sequence[str | BatchEntry], calls: FaultyCalls, policy: JobPolicy) -> None:
        self.run: Run | None = None
        with calls:
            try:
                bench = Bench(out)
            except FolderError:
                return
            try:
                self.run = bench.fetch(urls, policy)
                self.litter = bench.temporary_files()
            finally:
                bench.close()


@pytest.mark.parametrize(
    ("code", "layout", "sync", "lasting"),
    WAYS,
    ids=[f"{errno.errorcode[code]}-{'-'.join(map(str, way))}" for code, *way in WAYS],
)
def test_if_a_disk_call_fails_a_url_ends_ok_or_is_handed_back_unblamed(
    tmp_path: Path, server: MisbehavingServer, code: int, layout: Layout, sync: Sync, lasting: bool
) -> None:
    """Guards GoBack, stall and the discards of lane and run."""
    urls = urls_of(server.origin)
    policy = replace(OPEN, layout=layout, sync=sync)
    with_one = FaultyCalls()
    sound = Fetched(tmp_path / "sound", list(urls), with_one, policy)
    assert sound.run is not None
    assert sound.run.progress.ok == len(urls)

    for at in range(1, len(with_one.made) + 1):
        out = tmp_path / str(at)
        calls = FaultyCalls(at=at, code=code, lasting=lasting)
        fetched = Fetched(out, list(urls), calls, policy)
        if fetched.run is not None:
            _expect_unblamed(fetched.run, out, urls)
            if calls.failed is None or calls.failed.name != "unlink":
                assert fetched.litter == [], calls.failed
        expect_whole_or_absent(out, layout, {output_name(url): [body] for url, body in urls.items()})


def _expect_unblamed(run: Run, out: Path, urls: Mapping[str, bytes]) -> None:
    assert {outcome.ending for outcome in run.outcomes} <= {Ending.OK}
    assert sorted([each.url for each in run.outcomes] + [each.entry.url for each in run.leftovers]) == sorted(urls)
    for outcome in run.outcomes:
        assert outcome.path is not None
        assert (out / outcome.path).read_bytes() == urls[outcome.url]
    for leftover in run.leftovers:
        assert leftover.entry == BatchEntry(url=leftover.entry.url), "neither an attempt nor time was spent"
        assert 0 < leftover.after <= STALLED_WAIT
    assert bool(run.leftovers) == (run.stalled is not None)
    if run.stalled is not None:
        assert run.stalled.endswith(").")
        assert str(out) not in run.stalled


def test_after_a_failed_sync_the_bytes_are_fetched_again(tmp_path: Path, server: MisbehavingServer) -> None:
    """Guards the discard after a failed sync: the page is clean afterwards, and a second sync would succeed."""
    (url,) = list(urls_of(server.origin))[1:2]
    server.log.clear()
    bench = Bench(tmp_path)
    sizes = []
    for code in (errno.EIO, None):
        calls = _Syncs(code)
        with calls:
            run = bench.fetch([url])
        sizes.append(len(run.outcomes))
    bench.close()

    assert sizes == [0, 1]
    assert len(server.log.requests()) == 2
    assert bench.files() == {output_name(url)}


class _Syncs(FaultyCalls):
    """Every syncfs fails, or none."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code=code)

    def _count(self, call, *, is_needy):  # type: ignore[no-untyped-def]  # as the parent's
        super()._count(call, is_needy=is_needy)
        return call.name == "syncfs" and self._code is not None


# ------------------------------------------------------------------------------------------------- what a run decides


def test_a_body_lost_to_our_disk_costs_its_url_no_time(tmp_path: Path, server: MisbehavingServer) -> None:
    """Guards the time of a leftover: after a few full disks it would end as the server's timeout."""
    entry = BatchEntry(url=server.url("/thinks?ms=300&size=700"), spent=1.5)
    calls = FaultyCalls()
    with calls:
        bench = Bench(tmp_path)
        calls._at, calls._code, calls._lasting = len(calls.made) + 1, errno.ENOSPC, True
        run = bench.fetch([entry])
        bench.close()

    (leftover,) = run.leftovers
    assert leftover.entry == entry


def test_an_obstacle_at_one_name_costs_that_url_only(tmp_path: Path, server: MisbehavingServer) -> None:
    """Guards the obstacle in group_commit: a job would stall for ever because of one odd folder."""
    blocked, *others = urls_of(server.origin)
    (tmp_path / output_name(blocked)).mkdir()
    with closing(Bench(tmp_path)) as bench:
        run = bench.fetch([blocked, *others])

    outcomes = {outcome.url: outcome for outcome in run.outcomes}
    assert (outcomes[blocked].ending, outcomes[blocked].error) == (Ending.FAILED, ErrorClass.LOCAL_DISK)
    assert {outcomes[url].ending for url in others} == {Ending.OK}
    assert run.stalled is None
    assert bench.temporary_files() == []


def test_no_transfer_starts_once_the_disk_is_below_the_floor(
    tmp_path: Path, server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the check in Run.tick: checked only between batches, one batch could fill the disk."""
    server.log.clear()
    with closing(Bench(tmp_path, transfers=1)) as bench:
        slow = [server.url(f"/thinks?ms=400&n={number}") for number in range(10)]
        run = bench.start(slow)
        server.log.wait_for_requests(1)
        monkeypatch.setattr(bench.downloader._folder, "trouble", lambda: "Less than is to be kept free.")
        assert run.wait(200.0)

    assert run.outcomes, "what is in flight may end"
    assert len(run.leftovers) >= 5
    assert str(run.stalled).endswith("to be kept free.")


def test_a_bug_while_comparing_a_known_file_costs_a_download_and_not_the_batch(
    tmp_path: Path, server: MisbehavingServer
) -> None:
    """Guards the except in Run._look: the thread would end, and the batch never."""
    url = server.url("/good?size=700")
    with closing(Bench(tmp_path)) as bench:
        bench.fetch([url])
        run = bench.fetch([BatchEntry(url=url, known=Known(size=700, digest="shake_128:00"))], within=10.0)

    assert [outcome.ending for outcome in run.outcomes] == [Ending.OK]
