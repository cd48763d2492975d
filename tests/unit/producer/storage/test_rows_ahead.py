"""Rows read ahead: those of stored files, in a sequence, and in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.records.outcomes import Ending, Outcome
from contract.records.wire import to_json_bytes
from contract.urls.naming import output_digest, output_name
from producer.storage.rows_ahead import RowsAhead

NAMES = [output_digest(f"http://h/{number}".encode()) for number in range(20_000)]


def row(number: int, ending: Ending = Ending.OK) -> bytes:
    url = f"http://h/{number}"
    return to_json_bytes(Outcome(url=url, name=output_name(url), ending=ending))


class Rows:
    """A manifest: row ``number`` begins at ``starts[number]``."""

    def __init__(self, path: Path, rows: list[bytes]) -> None:
        path.write_bytes(b"".join(each + b"\n" for each in rows))
        self.starts = [0]
        for each in rows:
            self.starts.append(self.starts[-1] + len(each) + 1)
        self.file = os.open(path, os.O_RDONLY)


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[Rows]:
    rows = Rows(tmp_path / "m.jsonl", [row(number) for number in range(len(NAMES))])
    yield rows
    os.close(rows.file)


def ask(ahead: RowsAhead, manifest: Rows, numbers: list[int]) -> int:
    """Ask for rows in this order; return how many were not there and had to be found."""
    missed = 0
    for number in numbers:
        found = ahead.get(NAMES[number])
        if found is None:
            missed += 1
            ahead.found(manifest.file, manifest.starts[number])
        else:
            assert found == row(number)
    return missed


@pytest.mark.parametrize("step", [1, 7])
def test_rows_in_sequence_are_read_ahead_in_bounded_memory(manifest: Rows, step: int) -> None:
    asked = list(range(0, len(NAMES), step))
    ahead = RowsAhead()

    missed = ask(ahead, manifest, asked)

    assert missed < 50, "some hundred rows are read at a time"
    assert sum(ahead.get(name) is not None for name in NAMES) < 6_000


def test_rows_out_of_order_are_not_read_ahead(manifest: Rows) -> None:
    """Guards the distance: each lookup would read some hundred rows for one."""
    ahead = RowsAhead()

    ask(ahead, manifest, [0, 9_000, 1_000, 15_000, 4_000])

    assert not any(ahead.get(name) for name in NAMES)


def test_only_whole_rows_of_stored_files_are_read_ahead(tmp_path: Path) -> None:
    """A file that failed in the last job has its row in an earlier manifest."""
    lines = [row(0), row(1, Ending.FAILED), b"notes", row(2, Ending.KEPT), b'{,"outcome":"ok",', row(3)]
    manifest = Rows(tmp_path / "m.jsonl", lines)
    with (tmp_path / "m.jsonl").open("ab") as file:
        file.write(row(4))  # and no line break: it is torn
    ahead = RowsAhead()

    ahead.found(manifest.file, 0)
    ahead.found(manifest.file, 0)
    os.close(manifest.file)

    assert [ahead.get(name) for name in NAMES[:5]] == [row(0), None, row(2, Ending.KEPT), row(3), None]
