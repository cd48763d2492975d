"""The output folder: which files are there already, digests of bodies, and how much space is left."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.drafts import BODY, NAME, a_draft, put
from tests.support.faulty_calls import FaultyCalls
from worker.adapters.disk import OutputFolder, trouble_at
from worker.engine.ports import Store


def test_a_file_is_not_kept_if_its_digests_package_is_missing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the SettingError caught in holds: the batch would never end."""
    monkeypatch.setitem(sys.modules, "blake3", None)
    put(store)

    assert not store.holds(NAME, len(BODY), "blake3:00")


def test_a_link_to_the_right_bytes_is_not_our_file(store: Store, out: Path, tmp_path: Path) -> None:
    """Guards O_NOFOLLOW when a known file is compared."""
    (tmp_path / "same").write_bytes(BODY)
    (out / NAME).symlink_to(tmp_path / "same")

    assert not store.holds(NAME, len(BODY), "")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_something_other_than_a_file_is_not_held_and_not_waited_for(
    store: Store, out: Path, make: Callable[[Path], None]
) -> None:
    """Guards O_NONBLOCK and the check of the kind of file: opening a pipe waits for its other end."""
    make(out / NAME)

    assert not store.holds(NAME, 0, "")


@pytest.mark.parametrize(
    ("algorithm", "of_abc"),
    [
        ("blake3", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
        ("xxh3", "06b05ab6733a618578af5f94892f3950"),  # XXH3_128bits("abc"), xxHash's own test vector
    ],
)
def test_the_optional_digests_are_the_published_ones(store: Store, algorithm: str, of_abc: str) -> None:
    pytest.importorskip("blake3" if algorithm == "blake3" else "xxhash")
    draft = a_draft(store, NAME, b"abc")

    assert draft.digest([algorithm]) == {algorithm: of_abc}
    draft.discard()


def test_trouble_is_found_without_an_open_folder(tmp_path: Path, out: Path) -> None:
    """Guards trouble_at, by which an idle worker notices trouble; root may write anywhere."""
    out.mkdir()
    (tmp_path / "file").touch()

    assert trouble_at(out, 0) is None
    assert str(trouble_at(out, 1 << 60)).endswith("MiB to be kept free.")
    assert trouble_at(tmp_path / "gone", 0) == "The output folder is gone (ENOENT)."
    assert trouble_at(tmp_path / "file", 0) == "The output folder is a file now (ENOTDIR)."
    if os.geteuid():
        out.chmod(0o555)
        assert trouble_at(out, 0) == "The output folder may not be written to (EACCES)."


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"f_flag": os.ST_RDONLY}, "The output folder is read-only (EROFS)."),
        ({"f_files": 100, "f_favail": 0}, "The disk has no room for another file (inodes)."),
        ({"f_files": 0, "f_favail": 0}, None),  # btrfs has no number of inodes
        ({"f_bavail": 99}, "The disk has 0 MiB free, less than the 0 MiB to be kept free."),
        ({"f_bavail": 100}, None),
    ],
)
def test_every_kind_of_trouble_has_its_sentence(out: Path, found: dict[str, int], sentence: str | None) -> None:
    class Statvfs(FaultyCalls):
        """A disk that looks as scripted."""

        f_flag, f_files, f_favail, f_blocks, f_bavail, f_frsize = 0, 1000, 1000, 1000, 1000, 4096

        def _call(self, name, real, args, options):  # type: ignore[no-untyped-def]  # as the parent's
            return self if name == "fstatvfs" else super()._call(name, real, args, options)

    with Statvfs() as looks:
        vars(looks).update(found)
        folder = OutputFolder(out, min_free=100 * 4096)
        assert folder.trouble() == sentence
        folder.close()
