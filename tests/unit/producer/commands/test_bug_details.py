"""A bug leaves a sentence, an exit code and a file of details."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from producer import cli
from producer.cli.exits import BUG
from producer.commands import bug_details, housekeeping
from producer.commands.bug_details import keep_details
from producer.commands.housekeeping import remove_stale_cache
from producer.wiring import Producer


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def remove_jobs(*_: object, **__: object) -> list[str]:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(housekeeping, "remove_jobs", remove_jobs)


@pytest.mark.usefixtures("broken")
def test_a_bug_is_one_sentence_an_exit_code_and_a_file_of_details(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards the last `except` of `exit_code`: Python would exit with 1, which says that some URLs failed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    code = cli.exit_code(["gc"])

    (details,) = (tmp_path / "trawlnet").iterdir()
    said = capsys.readouterr().err
    assert code == BUG == 70
    assert said.count("\n") == 1
    assert f"The details are in {details}." in said
    assert "Traceback" in details.read_text()
    assert "ZeroDivisionError: a bug of ours" in details.read_text()
    assert stat.S_IMODE(details.stat().st_mode) == 0o600


@pytest.mark.usefixtures("broken")
def test_details_are_printed_if_no_file_can_be_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> Path:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(bug_details, "keep_details", full)

    assert cli.exit_code(["gc"]) == BUG

    said = capsys.readouterr().err
    assert "ZeroDivisionError: a bug of ours" in said
    assert said.endswith("The details are above.\n")


def test_details_of_old_bugs_are_removed_with_the_rest_of_the_cache(tmp_path: Path) -> None:
    producer = Producer({"XDG_CACHE_HOME": str(tmp_path)})
    details = keep_details(ValueError(), producer)
    assert remove_stale_cache(producer, 30.0) == []

    os.utime(details, (0, 0))

    assert remove_stale_cache(producer, 30.0) == [details]
    assert not details.exists()
