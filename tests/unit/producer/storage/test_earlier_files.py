"""Which files earlier jobs stored: by rows of their manifests, and by the table of an earlier version."""

import json
from pathlib import Path

from contract.records.batches import Known
from producer.storage.earlier_files import EarlierFiles
from producer.storage.journal_file import JournalFile
from producer.storage.stored import StoredRows

OLD, BOTH, NEW = (bytes([number]) * 16 for number in range(1, 4))


def test_an_earlier_versions_table_vouches_until_a_row_does(tmp_path: Path) -> None:
    file = JournalFile(tmp_path)
    file.database.execute("CREATE TABLE known (name BLOB PRIMARY KEY, size INTEGER, digest TEXT) WITHOUT ROWID")
    file.database.executemany("INSERT INTO known VALUES (?, 1, 'md5:aa')", [(OLD,), (BOTH,)])
    manifest = tmp_path / "m.jsonl"
    rows = [{"url": "http://a/", "name": name.hex(), "outcome": "ok", "bytes": 2} for name in (BOTH, NEW)]
    lines = [json.dumps(row) + "\n" for row in rows]
    manifest.write_text("".join(lines))
    files = EarlierFiles(file)

    files.begin(manifest)
    files.remember(StoredRows([BOTH.hex(), NEW.hex()], [0, len(lines[0])]))
    files.begin(tmp_path / "next.jsonl")

    assert files.known([OLD, BOTH, NEW, b"4" * 16]) == {OLD: Known(1, "md5:aa"), BOTH: Known(2, ""), NEW: Known(2, "")}
    assert files.manifests() == [manifest]
    files.close()
    file.close()
