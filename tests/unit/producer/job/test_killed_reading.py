"""Feeders killed between any two writes while reading a list: every URL is in one batch."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from contract.urls.naming import output_name
from producer.intake.selection import Selection
from producer.intake.sources import Lists
from producer.job.plan import restore_position
from producer.storage import journal as journal_module
from producer.storage import journal_file, seen, sorted_runs
from producer.storage.journal import Journal, KeptBatch
from tests.support.killed_lines import kill_until_done

LONG = "x" * 12_000  # of each URL, so that a chunk holds some twenty of them
FEW = 40  # names in memory
STORAGE = (journal_module, journal_file, seen, sorted_runs)


def read(listed: Path, journal: Journal) -> None:
    """Read the list on to its end."""
    lists = Lists([str(listed)])
    try:
        assert restore_position(lists, journal)
        selection = Selection(journal)
        while chunk := lists.read():
            number = int(journal.fact("next", 1))
            urls = [str(entry) for entry in selection.judge(chunk).entries]
            payload = b"".join(bytes.fromhex(output_name(url)) for url in urls)
            position = lists.position.to_record()
            journal.record_fed([KeptBatch(str(number), len(urls), payload)], None, next=number + 1, position=position)
    finally:
        lists.close()


def names_in_batches(folder: Path) -> list[bytes]:
    journal = Journal(folder)
    payloads = b"".join(batch.payload for batch in journal.uncollected(limit=10_000))
    journal.close()
    return [payloads[at : at + 16] for at in range(0, len(payloads), 16)]


@pytest.fixture
def listed(tmp_path: Path) -> tuple[Path, set[bytes]]:
    """A list with every fourth line twice, and the names of its URLs."""
    chance = random.Random(7)
    urls = [
        f"http://h/{number if chance.random() < 0.75 else chance.randrange(number + 1)}/{LONG}"
        for number in range(1500)
    ]
    (tmp_path / "urls.txt").write_text("\n".join(urls))
    return tmp_path / "urls.txt", {bytes.fromhex(output_name(url)) for url in urls}


@pytest.mark.parametrize("seed", range(6))
def test_a_reader_killed_between_any_two_steps_reads_every_url_once(
    tmp_path: Path, listed: tuple[Path, set[bytes]], seed: int
) -> None:
    """Guards the order: runs are noted with the position they belong to, and not before they are written."""
    path, names = listed
    journal = Journal(tmp_path / "0")
    journal.begin("job-1")
    journal.close()

    folder, lives = kill_until_done(
        tmp_path, STORAGE, random.Random(seed), 3_000, partial(Journal, names_in_memory=FEW), partial(read, path)
    )

    assert sorted(names_in_batches(folder)) == sorted(names)
    assert lives > 5, "it was killed now and then"


def test_names_in_an_earlier_versions_journal_count(tmp_path: Path, listed: tuple[Path, set[bytes]]) -> None:
    """Guards its upgrade: the rest of the list would be fetched again where it repeats earlier lines."""
    path, names = listed
    lists = Lists([str(path)])
    chunk = lists.read()
    lists.close()
    assert chunk is not None
    before = {bytes.fromhex(output_name(line)) for line in chunk.lines}
    write_as_31f4598(tmp_path / "state", before, chunk.position.to_record())

    with closing(Journal(tmp_path / "state", names_in_memory=FEW)) as journal:
        read(path, journal)

    assert sorted(names_in_batches(tmp_path / "state")) == sorted(names - before)
    with sqlite3.connect(tmp_path / "state" / "journal.sqlite") as database:
        versions = database.execute("SELECT value FROM facts WHERE key = 'version'").fetchall()
    database.close()
    assert versions == [("2",)], "that version would take every name for a new one"


def write_as_31f4598(folder: Path, names: set[bytes], position: dict[str, int]) -> None:
    """Leave what a command of that version left behind that was killed at ``position``."""
    journal = Journal(folder)
    journal.begin("job-1", position=position, version=1)
    journal.close()
    with sqlite3.connect(folder / "journal.sqlite") as database:
        database.execute("CREATE TABLE seen (name BLOB PRIMARY KEY) WITHOUT ROWID")
        database.executemany("INSERT INTO seen VALUES (?)", [(name,) for name in names])
    database.close()
