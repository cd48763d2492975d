"""Names that were seen: the answers of a set, whether in memory, in runs, or during a merge."""

import hashlib
import random
import resource
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from producer.storage import seen as seen_module
from producer.storage.seen import SeenNames
from producer.storage.sorted_runs import NAME, DamagedRunError, SortedRuns

FEW = 50  # names in memory: enough runs for two levels of merges


def name(number: int) -> bytes:
    return hashlib.md5(str(number).encode(), usedforsecurity=False).digest()


def added(seen: SeenNames, names: list[bytes]) -> set[bytes]:
    """Take names as the journal does, and write or merge what is due."""
    new = seen.add(names)
    if seen.is_due:
        seen.write()
        seen.tidy()
    elif seen.merge_some():
        seen.tidy()
    return new


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[SortedRuns]:
    """Runs of names."""
    made = SortedRuns(tmp_path, "seen", NAME)
    yield made
    made.close()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[SortedRuns]:
    """Runs of names with a byte of a value."""
    made = SortedRuns(tmp_path, "stored", NAME + 1)
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(4))
def test_names_are_new_exactly_once_as_in_a_set(tmp_path: Path, seed: int) -> None:
    chance, model = random.Random(seed), set[bytes]()
    seen = SeenNames(tmp_path, most=FEW)
    seen.open([])
    for _ in range(600):
        names = list({name(chance.randrange(9_000)) for _ in range(20)})

        assert added(seen, names) == set(names) - model

        model |= set(names)
        if chance.random() < 0.02:  # what is written is what the next one begins with
            seen.write()
            noted = seen.runs()
            seen.close()
            seen = SeenNames(tmp_path, most=FEW)
            seen.open(noted)
    assert max(level for _, level, _, _ in seen.runs()) == 2, "runs were merged, and merged runs too"
    assert added(seen, [name(number) for number in range(9_000)]) == {name(number) for number in range(9_000)} - model
    seen.close()


def test_few_new_names_are_searched_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the second place in the filter: with one, 7 % of the names would be searched for in every run."""
    searched = set[bytes]()

    def find(_runs: SortedRuns, name: bytes) -> None:
        searched.add(name)

    monkeypatch.setattr(seen_module, "_PLACE", 17)
    monkeypatch.setattr(seen_module, "_FILTER", 2**17)
    seen = SeenNames(tmp_path)
    seen.open([])
    seen.add(map(name, range(10_000)))
    seen.write()
    monkeypatch.setattr(SortedRuns, "find", find)

    seen.add(map(name, range(10_000, 20_000)))

    assert 0 < len(searched) < 400
    seen.close()


def test_names_that_share_half_their_bits_are_two(runs: SortedRuns) -> None:
    """Guards the search for all 128 bits, at a record's beginning and nowhere else."""
    one, other, across = b"\x01" * 16, b"\x01" * 8 + b"\x02" * 8, b"\x02" * 8 + b"\x03" * 8
    runs.add([other, b"\x03" * 16])

    assert [runs.find(each) for each in (one, other, across)] == [None, b"", None]


def test_the_greatest_record_of_a_name_counts_before_and_after_a_merge(records: SortedRuns) -> None:
    for value in range(1, 9):
        records.add([name(1) + bytes([value]), name(value + 10) + b"x"])

    before = records.find(name(1))
    while not records.merge_some():
        pass

    assert (before, records.find(name(1)), len(records)) == (b"\x08", b"\x08", 9)
    assert [records.find(name(value + 10)) for value in range(10)] == [None, *[b"x"] * 8, None]


def test_a_newer_run_counts_although_older_ones_were_merged_later(records: SortedRuns) -> None:
    """Guards the order of runs, also after they are opened again: a merged run is written last but is the oldest."""
    for value in range(1, 10):
        records.add([name(1) + bytes([value])])
    while not records.merge_some():
        pass

    merged = records.find(name(1))
    recorded = records.record()
    records.open(recorded[::-1])

    assert (merged, records.find(name(1))) == (b"\x09", b"\x09")


def test_a_merge_continues_whatever_is_tidied_meanwhile(runs: SortedRuns, tmp_path: Path) -> None:
    for first in range(0, 40_000, 5_000):
        runs.add([name(number) for number in range(first, first + 5_000)])

    assert not runs.merge_some(), "there is more than one part of it"
    runs.tidy()

    assert runs.merge_some()
    runs.tidy()
    assert ([count for _, _, count, _ in runs.record()], len(list(tmp_path.iterdir()))) == ([40_000], 1)
    assert list(runs.names()) == sorted(name(number) for number in range(40_000))


def test_unrecorded_runs_are_removed_and_missing_ones_reported(runs: SortedRuns, tmp_path: Path) -> None:
    runs.add([name(1)])
    noted = runs.record()
    runs.add([name(2)])
    runs.close()

    runs.open(noted)

    assert [path.name for path in tmp_path.iterdir()] == ["seen-1.run"]
    assert (runs.find(name(1)), runs.find(name(2))) == (b"", None)
    runs.close()
    with (tmp_path / "seen-1.run").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DamagedRunError, match="another length"):
        runs.open(noted)
    (tmp_path / "seen-1.run").unlink()
    with pytest.raises(DamagedRunError, match="No such file"):
        runs.open(noted)


def test_writing_a_run_takes_little_memory_besides_its_names(runs: SortedRuns) -> None:
    """Guards joining a few records at a time: joining all of them took 80 bytes for each."""
    names = [name(number) for number in range(50_000)]
    tracemalloc.start()
    try:
        runs.add(names)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 40 * len(names)


def test_a_run_that_cannot_be_written_leaves_nothing_and_can_be_written_later(runs: SortedRuns, tmp_path: Path) -> None:
    """Guards what add removes again: repeated attempts would fill a full disk."""
    names = [name(number) for number in range(1000)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            runs.add(names)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []

    runs.add(names)

    assert sorted(runs.names()) == sorted(names)
