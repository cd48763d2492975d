"""The journal: what a killed producer finds again, and what it must not find twice."""

from pathlib import Path

import pytest

from contract.records.batches import Known
from producer.storage.journal import Journal, KeptBatch
from producer.storage.stored import StoredRows

NAMES = [bytes([number]) * 16 for number in range(1, 6)]


@pytest.fixture
def journal(journal: Journal) -> Journal:
    journal.begin("job-1")
    return journal


def test_fed_batches_are_there_after_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin("job-1", fingerprint="f")
    journal.record_fed([KeptBatch("1", 2, b"payload")], b"rest", position={"offset": 7}, lines=3)
    journal.close()

    again = Journal(tmp_path)

    assert (again.job, again.fact("position"), again.fact("lines")) == ("job-1", {"offset": 7}, 3)
    assert again.uncollected() == [KeptBatch("1", 2, b"payload")]
    assert again.remainder() == b"rest"
    again.close()


def test_a_collected_batch_is_never_open_again(journal: Journal) -> None:
    journal.record_fed([KeptBatch("1", 2, b"p"), KeptBatch("2", 1, b"q")], None)

    journal.record_collected(["1"], [KeptBatch("1.1", 1, b"child")], offset=10)
    journal.record_fed([KeptBatch("1", 2, b"p")], None)

    assert [batch.batch for batch in journal.uncollected()] == ["1.1", "2"]
    assert journal.collected_among(["1", "1.1", "2", "9"]) == {"1"}
    assert journal.count_uncollected() == 2


def test_a_child_collected_before_its_parent_stays_collected(journal: Journal) -> None:
    journal.record_collected(["1.1"], [], offset=10)
    journal.record_collected(["1"], [KeptBatch("1.1", 1, b"child")], offset=20)

    assert journal.uncollected() == []


def test_a_failed_step_leaves_nothing_behind(journal: Journal) -> None:
    with pytest.raises(TypeError):
        journal.record_fed([KeptBatch("1", 1, b"p")], None, position=object())

    assert (journal.uncollected(), journal.fact("position")) == ([], None)


def test_a_new_job_knows_the_files_of_the_last_and_nothing_else(journal: Journal, tmp_path: Path) -> None:
    journal.mark_seen(NAMES)
    journal.record_fed([KeptBatch("1", 2, b"p")], b"rest", lines=5)
    journal.files.begin(tmp_path / "m.jsonl")
    text = b'{"url":"http://a/","name":"%s","outcome":"ok","bytes":12,"sha256":"bb"}\n' % NAMES[0].hex().encode()
    (tmp_path / "m.jsonl").write_bytes(b"x\n" + text)
    journal.files.remember(StoredRows([NAMES[0].hex(), NAMES[0].hex()], [0, 2]))

    journal.begin("job-2", manifest=tmp_path / "n.jsonl")

    assert journal.known(NAMES) == {NAMES[0]: Known(12, "sha256:bb")}
    assert (journal.uncollected(), journal.remainder(), journal.fact("lines")) == ([], None, None)
    assert journal.mark_seen(NAMES) == set(NAMES)
