"""The journal: what a killed producer finds again, and what it must not find twice."""

from pathlib import Path

import pytest

from contract.errors import FolderError
from contract.records.batches import Known
from producer.storage.journal import Journal, KeptBatch
from producer.storage.stored import StoredRows

NAMES = [bytes([number]) * 16 for number in range(1, 6)]


def test_what_was_fed_is_there_after_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin("job-1", fingerprint="f")
    journal.record_fed([KeptBatch("1", 2, b"payload")], b"rest", position={"offset": 7}, lines=3)
    journal.close()

    again = Journal(tmp_path)

    assert (again.job, again.fact("position"), again.fact("lines")) == ("job-1", {"offset": 7}, 3)
    assert again.undrained() == [KeptBatch("1", 2, b"payload")]
    assert again.remainder() == b"rest"
    again.close()


def test_a_drained_batch_is_never_open_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin("job-1")
    journal.record_fed([KeptBatch("1", 2, b"p"), KeptBatch("2", 1, b"q")], None)

    journal.record_drained(["1"], [KeptBatch("1.1", 1, b"child")], offset=10)
    journal.record_fed([KeptBatch("1", 2, b"p")], None)

    assert [batch.batch for batch in journal.undrained()] == ["1.1", "2"]
    assert journal.drained_among(["1", "1.1", "2", "9"]) == {"1"}
    assert journal.count_undrained() == 2
    journal.close()


def test_a_child_drained_before_its_parent_stays_drained(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin("job-1")

    journal.record_drained(["1.1"], [], offset=10)
    journal.record_drained(["1"], [KeptBatch("1.1", 1, b"child")], offset=20)

    assert journal.undrained() == []
    journal.close()


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin("job-1")

    with pytest.raises(TypeError):
        journal.record_fed([KeptBatch("1", 1, b"p")], None, position=object())

    assert (journal.undrained(), journal.fact("position")) == ([], None)
    journal.close()


def test_a_new_job_knows_the_files_of_the_last_and_nothing_else(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin("job-1")
    journal.take(NAMES)
    journal.record_fed([KeptBatch("1", 2, b"p")], b"rest", lines=5)
    journal.begin_manifest(tmp_path / "m.jsonl")
    text = b'{"url":"http://a/","name":"%s","outcome":"ok","bytes":12,"sha256":"bb"}\n' % NAMES[0].hex().encode()
    (tmp_path / "m.jsonl").write_bytes(b"x\n" + text)
    journal.remember(StoredRows([NAMES[0].hex(), NAMES[0].hex()], [0, 2]))

    journal.begin("job-2", manifest=tmp_path / "n.jsonl")

    assert journal.known(NAMES) == {NAMES[0]: Known(12, "sha256:bb")}
    assert (journal.undrained(), journal.remainder(), journal.fact("lines")) == ([], None, None)
    assert journal.take(NAMES) == set(NAMES)
    journal.close()


def test_two_runs_in_one_folder_get_one_clear_sentence(tmp_path: Path) -> None:
    journal = Journal(tmp_path)

    with pytest.raises(FolderError, match="Another trawl is working in"):
        Journal(tmp_path)

    journal.close()
    Journal(tmp_path).close()


@pytest.mark.parametrize("name", ["lock", "journal.sqlite"])
def test_a_planted_link_is_not_followed(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    folder = tmp_path / "out/.trawl"
    folder.mkdir(parents=True)
    (folder / name).symlink_to(victim)

    with pytest.raises(FolderError):
        Journal(folder)
    assert not victim.exists()


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"this is no database, whatever its name says" * 100)

    with pytest.raises(FolderError, match=r"journal\.sqlite"):
        Journal(tmp_path)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_folder_that_was_moved_is_noticed(tmp_path: Path, is_replaced: bool) -> None:
    """Guards the look at the path: rows would go on being written where nobody looks for them."""
    out = tmp_path / "out"
    journal = Journal(out / ".trawl")
    journal.expect_in_place()
    out.rename(tmp_path / "moved")
    if is_replaced:
        Journal(out / ".trawl").close()

    with pytest.raises(FolderError, match=r"out was moved or replaced .* move it back and run the same command"):
        journal.expect_in_place()
    journal.close()
