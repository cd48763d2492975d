"""The file of a journal: one process at a time, no link followed, and one clear sentence if it cannot be used."""

from pathlib import Path

import pytest

from contract.errors import FolderError
from producer.storage.journal_file import JournalFile


def test_two_runs_in_one_folder_get_one_clear_sentence(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path)

    with pytest.raises(FolderError, match="Another trawl is working in"):
        JournalFile(tmp_path)

    journal.close()
    JournalFile(tmp_path).close()


@pytest.mark.parametrize("name", ["lock", "journal.sqlite"])
def test_a_planted_link_is_not_followed(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    folder = tmp_path / "out/.trawl"
    folder.mkdir(parents=True)
    (folder / name).symlink_to(victim)

    with pytest.raises(FolderError):
        JournalFile(folder)
    assert not victim.exists()


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"this is no database, whatever its name says" * 100)

    with pytest.raises(FolderError, match=r"journal\.sqlite"):
        JournalFile(tmp_path)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_folder_that_was_moved_is_noticed(tmp_path: Path, is_replaced: bool) -> None:
    """Guards the check of the path: rows would be written where no one looks for them."""
    out = tmp_path / "out"
    journal = JournalFile(out / ".trawl")
    journal.expect_in_place()
    out.rename(tmp_path / "moved")
    if is_replaced:
        JournalFile(out / ".trawl").close()

    with pytest.raises(FolderError, match=r"out was moved or replaced .* move it back and run the same command"):
        journal.expect_in_place()
    journal.close()


def test_a_transaction_that_fails_leaves_the_facts_as_they_were(tmp_path: Path) -> None:
    file = JournalFile(tmp_path)
    file.note(a=1)

    with pytest.raises(TypeError):
        file.note(a=2, b=object())

    assert file.facts == {"version": 2, "a": 1}
    file.close()
