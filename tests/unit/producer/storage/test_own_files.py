"""Files on the producer's own disk: kept only if they match their rows; a worker compares all others."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from msgspec import structs

from contract.records.batches import BatchEntry, Known, Listed
from contract.records.outcomes import Attempt, Ending, Outcome, Timing
from contract.records.wire import to_json_bytes
from contract.urls.expected import Expected
from contract.urls.naming import Layout, output_name, output_path
from producer.storage.journal import Journal
from producer.storage.own_files import OwnFiles
from producer.storage.stored import StoredRows

URL = "http://h/a"
NAME = output_name(URL)
KEY = bytes.fromhex(NAME)
BODY = b"a body"
STORED = Outcome(
    url=URL, name=NAME, path=NAME, ending=Ending.OK, bytes=len(BODY), sha256=hashlib.sha256(BODY).hexdigest(),
    http_status=200, etag='"1"', started="2026-11-28T10:00:00Z", attempts=(Attempt(None, 200, 0.1),),
    timing=Timing(total=0.1), worker="w@h/1", notes=("resumed",),
)  # fmt: skip
TO_COMPARE = Known(len(BODY), f"sha256:{STORED.sha256}")


def known(
    journal: Journal,
    stored: Outcome = STORED,
    *,
    entry: Listed = URL,
    layout: Layout = Layout.FLAT,
    slow: float = 0.0,
    user: AbstractContextManager[None] = nullcontext(),  # noqa: B008  # it can be entered any number of times
) -> Known | Outcome | None:
    """Return what ``user`` knows of the URL after a job with this row; a look at the clock takes ``slow`` seconds."""
    manifest = journal.folder.parent / "earlier.jsonl"
    manifest.write_bytes(to_json_bytes(stored) + b"\n")
    journal.files.begin(manifest)
    journal.files.remember(StoredRows([stored.name], [0]))
    journal.begin("job-2")
    looks = iter(range(1000))
    files = OwnFiles(journal.files, journal.folder.parent, layout, by="producer@here", clock=lambda: next(looks) * slow)
    with user:
        return files.known({KEY: entry}).get(KEY)


@contextmanager
def another_user() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def store(journal: Journal, layout: Layout = Layout.FLAT, body: bytes = BODY) -> Path:
    path = journal.folder.parent / output_path(NAME, layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


@pytest.mark.parametrize("layout", list(Layout))
def test_a_complete_file_is_kept_with_the_fields_of_its_row(journal: Journal, layout: Layout) -> None:
    store(journal, layout)

    kept = known(journal, layout=layout)

    assert isinstance(kept, Outcome)
    assert kept == structs.replace(
        STORED, ending=Ending.KEPT, path=output_path(NAME, layout), attempts=(), worker="producer@here"
    )


def test_a_file_is_read_without_a_write_to_its_inode(journal: Journal) -> None:
    path = store(journal)
    os.utime(path, ns=(0, path.stat().st_mtime_ns))

    known(journal)

    assert path.stat().st_atime_ns == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_file_of_another_user_is_kept_too() -> None:
    """Guards the second attempt to open it: only the owner may leave its access time as it is."""
    with TemporaryDirectory() as folder, closing(Journal(Path(folder, "out", ".trawl"))) as journal:
        os.chmod(folder, 0o755)  # pytest's own folders are closed to other users
        store(journal)

        assert isinstance(known(journal, user=another_user()), Outcome)


def test_a_fifo_is_not_an_empty_file(journal: Journal) -> None:
    """Guards the check of the kind: nothing can be read from a FIFO."""
    os.mkfifo(journal.folder.parent / NAME)
    empty = hashlib.sha256(b"").hexdigest()

    found = known(journal, Outcome(url=URL, name=NAME, ending=Ending.OK, bytes=0, sha256=empty))

    assert found == Known(0, f"sha256:{empty}")


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "spoil",
    [Path.unlink, lambda path: path.write_bytes(BODY + b"."), lambda path: path.write_bytes(BODY[:-1] + b"."), _link],
    ids=["gone", "longer", "changed", "a link"],
)
def test_a_file_that_does_not_match_its_row_is_not_kept(journal: Journal, spoil: Callable[[Path], None]) -> None:
    spoil(store(journal))

    assert known(journal) == TO_COMPARE


@pytest.mark.parametrize("depth", [0, 1])
def test_no_link_to_a_folder_is_followed(journal: Journal, depth: int) -> None:
    store(journal, Layout.SHARDED)
    folder = journal.folder.parent / Path(*output_path(NAME, Layout.SHARDED).split("/")[: depth + 1])
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")

    assert known(journal, layout=Layout.SHARDED) == TO_COMPARE


def test_large_slow_or_otherwise_hashed_files_are_left_to_the_worker(journal: Journal) -> None:
    large = bytes(64 * 1024 + 1)
    store(journal)
    as_promised = BatchEntry(URL, expected=Expected(size=1))

    assert known(journal, entry=as_promised) == TO_COMPARE
    assert known(journal, slow=1.0) == TO_COMPARE
    other = Outcome(url=URL, name=NAME, ending=Ending.OK, bytes=len(BODY), digest="xxh3:00")
    assert known(journal, other) == Known(len(BODY), "xxh3:00")

    store(journal, body=large)
    size, sha256 = len(large), hashlib.sha256(large).hexdigest()
    of_large = Outcome(url=URL, name=NAME, ending=Ending.OK, bytes=size, sha256=sha256)
    assert known(journal, of_large) == Known(size, f"sha256:{sha256}")


def test_a_url_that_no_earlier_job_stored_is_unknown(journal: Journal) -> None:
    store(journal)

    assert OwnFiles(journal.files, journal.folder.parent, Layout.FLAT, by="").known({KEY: URL}) == {}
