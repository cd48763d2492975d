"""Followers killed between any two steps: each stored file's row is found later."""

from __future__ import annotations

import itertools
import random
from functools import partial
from pathlib import Path

import pytest

from contract.records.outcomes import Ending, Outcome
from contract.records.wire import to_json_bytes
from contract.urls.naming import output_name
from producer.job.plan import begin, remember_rest
from producer.storage import earlier_files, journal_file, sorted_runs, stored
from producer.storage import journal as journal_module
from producer.storage.journal import Journal
from producer.storage.manifest import Manifest
from producer.storage.stored import StoredRows
from tests.support.killed_lines import kill_until_done

BATCHES, SIZE = 80, 12
FEW = 50  # rows in memory
STORAGE = (journal_module, journal_file, earlier_files, stored, sorted_runs)


def batch(number: int) -> list[Outcome]:
    urls = [f"http://h/{number}/{'x' * 7 * place}" for place in range(SIZE)]
    endings = [Ending.FAILED if place % 5 == 4 else Ending.OK for place in range(SIZE)]
    return [
        Outcome(url=url, name=output_name(url), ending=ending, bytes=3 if ending is Ending.OK else None)
        for url, ending in zip(urls, endings, strict=True)
    ]


def opened(folder: Path) -> Journal:
    return Journal(folder / ".trawl", rows_in_memory=FEW)


def collect(chance: random.Random, journal: Journal) -> None:
    """Collect the batches that are left."""
    place = journal.folder.parent / "manifest.jsonl"
    journal.note(manifest=str(place))  # the copy of a folder is another folder
    remember_rest(journal)
    manifest = Manifest(place, int(journal.fact("offset", 0)))
    try:
        for number in range(int(journal.fact("next", 0)), BATCHES):
            outcomes = chance.sample(batch(number), SIZE)  # what is written again may come in another order
            rows = [to_json_bytes(outcome) for outcome in outcomes]
            starts = itertools.accumulate((len(row) + 1 for row in rows[:-1]), initial=manifest.offset)
            names = [outcome.name if outcome.is_stored else None for outcome in outcomes]
            offset = manifest.append(rows)
            journal.record_collected(
                [str(number)], [], stored=StoredRows(names, list(starts)), offset=offset, next=number + 1
            )
            behind = manifest.offset - journal.files.remembered_until
            assert behind <= (FEW + 2 * SIZE) * max(map(len, rows)), "the next start would have to read it all"
    finally:
        manifest.close()


@pytest.mark.parametrize("seed", range(4))
def test_a_follower_killed_between_any_two_steps_remembers_every_stored_file(tmp_path: Path, seed: int) -> None:
    """Guards where remembering resumes: after what was noted, and before what is cut off."""
    chance = random.Random(seed)
    folder = tmp_path / "0"
    journal = Journal(folder / ".trawl")
    begin(journal, "job-1", lambda _line: None, fingerprint="1", label="1", manifest=folder / "manifest.jsonl")
    journal.close()

    folder, lives = kill_until_done(tmp_path, STORAGE, chance, 800, opened, partial(collect, chance))
    assert lives > 3, "it was killed now and then"

    journal = Journal(folder / ".trawl")
    begin(journal, "job-2", lambda _line: None, fingerprint="2", label="2", manifest=folder / "manifest.jsonl")
    outcomes = list(itertools.chain.from_iterable(map(batch, range(BATCHES))))
    found = {outcome.url: journal.files.outcome(bytes.fromhex(outcome.name or "")) for outcome in outcomes}
    assert found == {outcome.url: outcome if outcome.is_stored else None for outcome in outcomes}
    journal.close()
