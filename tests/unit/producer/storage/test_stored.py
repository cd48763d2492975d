"""Rows of stored files, found by the file's name: the latest counts, wherever its manifest is now."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from producer.storage.stored import StoredFiles, StoredRows

FEW = 40  # rows in memory


def name(number: int) -> bytes:
    return hashlib.md5(str(number).encode(), usedforsecurity=False).digest()


def row(number: int, word: str) -> bytes:
    head = f'{{"url":"","name":"{name(number).hex()}","outcome":"ok","detail":"{word}'
    return f'{head}{"x" * (number % 7 * 700)}"}}\n'.encode()


def append(manifest: Path, stored: StoredFiles, numbers: list[int], word: str) -> None:
    """Write rows and remember them as the journal does."""
    start = manifest.stat().st_size if manifest.exists() else 0
    starts = []
    with manifest.open("ab") as file:
        for number in numbers:
            starts.append(start)
            start += file.write(row(number, word))
    stored.add(StoredRows([name(number).hex() for number in numbers], starts))
    if stored.is_due:
        stored.write()
        stored.tidy()
    elif stored.merge_some():
        stored.tidy()


def text_of(stored: StoredFiles, number: int) -> bytes | None:
    found = stored.row(name(number))
    return found and found + b"\n"


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[StoredFiles]:
    made = StoredFiles(tmp_path, most=FEW)
    made.open({})
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(3))
def test_the_latest_row_of_a_file_is_found_in_any_manifest(tmp_path: Path, seed: int) -> None:
    chance, model = random.Random(seed), dict[int, bytes]()
    stored = StoredFiles(tmp_path, most=FEW)
    stored.open({})
    for job in range(1, 6):
        manifest = tmp_path / "manifest.jsonl"
        stored.begin(manifest)
        numbers = chance.sample(range(1_000), 500)
        for start in range(0, 500, 25):
            append(manifest, stored, numbers[start : start + 25], f"job-{job}")
        model |= {number: row(number, f"job-{job}") for number in numbers}
        stored.write()
        manifest.rename(tmp_path / f"manifest-{job}.jsonl")
        assert stored.set_path(tmp_path / f"manifest-{job}.jsonl")
        noted = stored.record()
        stored.close()
        stored = StoredFiles(tmp_path, most=FEW)
        stored.open(noted)
    stored.begin(tmp_path / "next.jsonl")

    order = [*chance.sample(range(1_000), 1_000), *range(1_000)]  # the latter for rows that are read ahead
    assert [text_of(stored, number) for number in order] == [model.get(number) for number in order]
    stored.close()


def test_the_current_jobs_rows_are_not_earlier_ones_and_cost_no_search(tmp_path: Path, stored: StoredFiles) -> None:
    for job in ("first", "second"):
        stored.begin(tmp_path / f"{job}.jsonl")
        append(tmp_path / f"{job}.jsonl", stored, list(range(FEW)), job)

    during = [text_of(stored, number) for number in range(FEW)]  # some are read ahead
    stored.begin(tmp_path / "third.jsonl")
    after = [text_of(stored, number) for number in range(1, FEW)]

    assert during == [row(number, "first") for number in range(FEW)]
    assert after == [row(number, "second") for number in range(1, FEW)]


def test_a_manifest_is_needed_as_long_as_it_has_the_latest_row_of_a_file(tmp_path: Path, stored: StoredFiles) -> None:
    for number, files in enumerate((range(9), range(3), range(1, 9), range(4, 6)), start=1):
        stored.begin(tmp_path / f"{number}.jsonl")
        append(tmp_path / f"{number}.jsonl", stored, list(files), "x")
    stored.write()

    before = stored.needed()
    stored.begin(tmp_path / "5.jsonl")
    append(tmp_path / "5.jsonl", stored, [0], "x")
    stored.write()

    assert (before, stored.needed()) == ({2, 3, 4}, {3, 4, 5})
    assert list(stored.earlier()) == [1, 2, 3, 4], "the one that is written is not an earlier one"
    stored.forget([1, 2])
    assert list(stored.record()["manifests"]) == [3, 4, 5]


def test_a_missing_or_replaced_manifest_vouches_for_nothing(tmp_path: Path, stored: StoredFiles) -> None:
    stored.begin(tmp_path / "m.jsonl")
    append(tmp_path / "m.jsonl", stored, [1], "x")
    stored.write()
    (tmp_path / "m.jsonl").rename(tmp_path / "moved.jsonl")
    (tmp_path / "m.jsonl").symlink_to(tmp_path / "moved.jsonl")

    assert text_of(stored, 1) is None


@pytest.mark.parametrize("wrong", ["ab", "no hexadecimal digits at all, no", "ab" * 17])
def test_a_row_with_an_invalid_name_is_not_remembered(tmp_path: Path, stored: StoredFiles, wrong: str) -> None:
    """Guards the width of records: a single wrong one would make the whole run unreadable."""
    stored.begin(tmp_path / "m.jsonl")
    stored.add(StoredRows([wrong, None], [0, 5]))
    append(tmp_path / "m.jsonl", stored, [1], "x")
    stored.begin(tmp_path / "next.jsonl")

    assert text_of(stored, 1) == row(1, "x")
    assert stored.record()["runs"][0][2] == 1


def test_a_damaged_index_starts_over(tmp_path: Path, stored: StoredFiles) -> None:
    stored.begin(tmp_path / "m.jsonl")
    append(tmp_path / "m.jsonl", stored, [1, 2], "x")
    stored.write()
    noted = stored.record()
    stored.close()
    (tmp_path / "stored-1.run").write_bytes(b"cut")

    stored.open(noted)

    assert (stored.until, text_of(stored, 1)) == (0, None)
    assert noted["until"] == len(row(1, "x"))
