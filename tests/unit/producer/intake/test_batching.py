"""How lists are cut: every entry in one batch, in order, small batches first."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.records.batches import Listed
from contract.records.policy import JobPolicy
from producer.commands.preparation import RunOptions, WorkerOptions
from producer.commands.run import batcher_for
from producer.intake.batching import FIRST_SIZE, Batcher, spread
from producer.job.plan import JobSpec
from worker.settings import WorkerSettings


def entries(count: int) -> list[Listed]:
    return [f"http://h/{index}" for index in range(count)]


def test_a_short_list_is_spread_evenly_over_the_slots() -> None:
    assert spread(3, 500, 2) == [2, 1]
    assert spread(200, 500, 2) == [100, 100]
    assert spread(1, 500, 8) == [1]
    assert spread(0, 500, 8) == []
    assert spread(900, 500, 2) == [150] * 6


@given(st.lists(st.integers(0, 300), max_size=12), st.integers(1, 100), st.integers(1, 4), st.booleans())
def test_every_entry_is_in_exactly_one_batch(chunks: list[int], size: int, slots: int, is_resumed: bool) -> None:
    batcher = Batcher(size, slots, is_resumed=is_resumed)
    given_entries = entries(sum(chunks))
    batches: list[list[Listed]] = []
    start = 0
    for chunk in chunks:
        batches += batcher.add(given_entries[start : start + chunk])
        start += chunk
    batches += batcher.flush()

    assert [entry for batch in batches for entry in batch] == given_entries
    assert all(0 < len(batch) <= size for batch in batches)
    assert not batcher.held


def test_a_long_list_starts_small_and_ends_on_all_slots_at_once() -> None:
    batcher = Batcher(100, 2, first=8)

    first = batcher.add(entries(1000))
    last = batcher.flush()

    assert [len(batch) for batch in first] == [8, 8, 16, 16, 32, 32, 64, 64, 100, 100, 100, 100, 100]
    assert [len(batch) for batch in last] == [65, 65, 65, 65], "what was held back: two batches for each slot"


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 20))
def test_entries_held_by_an_earlier_run_are_in_the_next_batches(held: int, more: int, size: int) -> None:
    batcher = Batcher(size, 2, is_resumed=True)
    given_entries = entries(held + more)

    batcher.restore(given_entries[:held])
    batches = [*batcher.add(given_entries[held:]), *batcher.flush()]

    assert [entry for batch in batches for entry in batch] == given_entries


@pytest.mark.parametrize(
    ("has_own_worker", "transfers", "sizes"),
    [(True, "64", [64, 64, 128]), (True, "", [128, 128, 256]), (False, "64", [128] * 3)],
)
def test_a_runs_first_batches_fill_each_process(
    has_own_worker: bool, transfers: str, sizes: list[int], tmp_path: Path
) -> None:
    """A cluster's workers have settings of their own."""
    worker = WorkerOptions(processes=2, settings={"TRAWL_TRANSFERS": transfers} if transfers else {})
    spec = JobSpec(lists=(), policy=JobPolicy(), manifest=None)
    options = RunOptions(spec=spec, output=tmp_path, manifest=tmp_path / "manifest.jsonl", worker=worker)

    batches = batcher_for(options, has_own_worker=has_own_worker, is_resumed=False).add(entries(10_000))

    assert [len(batch) for batch in batches[:3]] == sizes
    assert WorkerSettings().transfers == FIRST_SIZE


def test_a_process_has_room_for_more_than_it_has_in_flight() -> None:
    """Guards ``room``: otherwise slots are empty while the next batch is claimed."""
    assert WorkerSettings(transfers=64).room == 96
    assert WorkerSettings(transfers=1).room == 1
