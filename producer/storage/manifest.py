"""The manifest: one JSON line per URL, appended a few batches at a time and synced before it counts.

Its path is given by the user, so anything may be there. Only a regular file that is empty or begins with a row is ever
written or renamed; anything else is left alone, and an error says what it is.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Struct

from contract.errors import FolderError, MessageError
from contract.named_files import in_words
from contract.records import wire
from contract.records.outcomes import Ending, Outcome, read_row
from producer.storage.full_disk import FULL, FullDiskError, SpaceWait, waits_for_space
from producer.storage.regular import is_at, open_regular

_LONGEST_ROW = 1024 * 1024  # bytes: far more than a URL of 16 KB, its escapes and all its attempts take
_BLOCK = 1024 * 1024  # bytes
_BEGINNING = b'{"url":"'
_NAME = re.compile("[0-9a-f]{32}")
_STORED_ROW = re.compile(rb'","name":"([0-9a-f]{32})","path":(?:null|"[^"]*"),"outcome":"(?:ok|kept)"')
_C1 = re.compile(rb"\xc2([\x80-\x9f])")  # U+0080 to U+009F in UTF-8
_STORED = (Ending.OK, Ending.KEPT)


class _Row(Struct, gc=False):
    """The fields that say whether a row is that of a stored file."""

    name: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    outcome: Ending


_ROW = msgspec.json.Decoder(_Row)


class Manifest:
    """Appends rows to one file. ``offset`` is its length in bytes, up to the last row that counts."""

    def __init__(self, path: Path, offset: int, *, space: SpaceWait | None = None) -> None:
        """Open the manifest and truncate it to ``offset`` bytes: a killed run may have written more.

        ``space`` waits when the disk is full.

        Raises:
            FolderError: it cannot be written, is not a manifest, is in use by another run, or is shorter than that.
        """
        self.path = path
        self.offset = offset
        self._space = space
        try:
            self._file = open_regular(path, os.O_RDWR | os.O_CREAT, subject=f"The manifest {path}")
            try:
                self._cut()
            except BaseException:
                os.close(self._file)
                raise
        except OSError as error:
            raise _cannot_be("written", path, error) from None

    @waits_for_space
    def append(self, rows: Sequence[bytes]) -> int:
        """Write rows (JSON without line breaks) so that they survive a power cut; return the new offset."""
        left = memoryview(b"\n".join((*rows, b"")))
        offset = self.offset + len(left)
        try:
            os.lseek(self._file, self.offset, os.SEEK_SET)  # overwrites what a full disk accepted of them before
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError as error:
            raise _cannot_be("written", self.path, error) from None
        self.offset = offset
        return offset

    def rows(self, start: int) -> Iterator[bytes]:
        """Yield the rows from the one that begins at ``start`` (bytes)."""
        with os.fdopen(os.dup(self._file), "rb") as manifest:
            manifest.seek(start)
            yield from iter(lambda: manifest.readline(_LONGEST_ROW), b"")

    def close(self) -> None:
        os.close(self._file)

    def _cut(self) -> None:
        _insist_on_rows(self._file, self.path)
        _lock(self._file, self.path)
        length = os.fstat(self._file).st_size
        if length < self.offset:
            raise FolderError(f"{self.path} is shorter than before: rows are missing; start over with --fresh.")
        if length > self.offset:
            os.ftruncate(self._file, self.offset)
        os.lseek(self._file, self.offset, os.SEEK_SET)


def look_at(path: Path) -> None:
    """Make sure that a manifest may be written there: the path is free, or it is a manifest.

    Raises:
        FolderError: something else is there.
    """
    with _looked_at(path):
        pass


def count_rows(path: Path) -> int:
    """Count the rows of a manifest.

    Raises:
        FolderError: it is gone, or no longer a regular file.
    """
    try:
        file = open_regular(path, os.O_RDONLY, subject=f"The manifest {path}")
        with os.fdopen(file, "rb", buffering=0) as blocks:
            return sum(block.count(b"\n") for block in iter(lambda: blocks.read(_BLOCK), b""))
    except OSError as error:
        raise _cannot_be("read", path, error) from None


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a manifest that may still be written: the last may be incomplete.

    Raises:
        FolderError: it does not exist, is not a manifest, or cannot be read.
    """
    try:
        file = open_regular(path, os.O_RDONLY, subject=f"The manifest {path}")
        with os.fdopen(file, "rb") as manifest:
            _insist_on_rows(file, path)
            yield from iter(lambda: manifest.readline(_LONGEST_ROW), b"")
    except OSError as error:
        raise _cannot_be("read", path, error) from None


def stored_rows(path: Path, start: int = 0, end: int | None = None) -> Generator[tuple[str, int], None, None]:
    """Yield the name of each stored file in an earlier manifest, and the offset of its row in bytes.

    Only rows that begin at ``start`` or later, and before ``end``, are considered. Lines that are not rows (a torn end,
    an edited file) are skipped, and so is anything that is not a regular file.
    """
    try:
        file = open_regular(path, os.O_RDONLY, subject=f"The manifest {path}")
    except (FolderError, OSError):
        return
    with os.fdopen(file, "rb") as manifest:
        manifest.seek(start)
        for line in iter(lambda: manifest.readline(_LONGEST_ROW), b""):
            if end is not None and start >= end:
                return
            try:
                row = wire.read(_ROW, line, "A row")
            except MessageError:
                row = None
            if row is not None and row.outcome in _STORED and line.endswith(b"\n"):
                yield row.name, start
            start += len(line)


def stored_outcome(row: bytes, name: bytes) -> Outcome | None:
    """Read a row; None if it does not vouch for the stored file of this name."""
    try:
        outcome = read_row(row)
    except MessageError:
        return None
    return outcome if outcome.is_stored and outcome.name == name.hex() and outcome.bytes is not None else None


def stored_name(row: bytes) -> str | None:
    """Return the name of the stored file that a row vouches for; None: of none, or the row is another program's.

    In the rows of every version these keys come first, in this order; decoding a row takes more than twice as long.
    """
    found = _STORED_ROW.search(row)
    return found[1].decode() if found is not None else None


def digest_of(outcome: Outcome) -> str:
    """Return a stored file's digest as ``"<algorithm>:<hex>"``; empty if none was computed."""
    return f"sha256:{outcome.sha256}" if outcome.sha256 else outcome.digest or ""


def printable(row: bytes) -> bytes:
    """Return a row with its C1 control characters escaped: terminals obey them, and JSON readers see no difference.

    A server chooses the text of some fields. Other control characters are always escaped in JSON (RFC 8259, section 7).
    """
    return row if b"\xc2" not in row else _C1.sub(lambda found: b"\\u00%x" % ord(found[1]), row)


def set_aside(path: Path, job: str | None) -> Path | None:
    """Rename a finished job's manifest to ``manifest-<job>.jsonl``; None if there is none, or it is empty.

    If the job is not known, the time of the last row is used. If the name is taken, it becomes
    ``manifest-<job>-2.jsonl``: nothing is ever replaced.

    Raises:
        FolderError: it is not a manifest, is being written by another run, or cannot be renamed.
    """
    with _looked_at(path) as file:
        if file is None:
            kept = _named(path, job or "")
            return kept if job and os.path.lexists(kept) else None
        if not os.pread(file, 1, 0):
            return None
        _lock(file, path)
        try:
            kept = _reserve(_named(path, job or time.strftime("%y%m%d-%H%M%S", time.gmtime(os.fstat(file).st_mtime))))
            os.rename(path, kept)
            if not is_at(file, kept):  # replaced since it was checked: not ours to rename
                os.rename(kept, path)
                raise FolderError(f"The manifest {path} was replaced meanwhile; run the same command again.")
        except OSError as error:
            raise _cannot_be("renamed", path, error) from None
    return kept


# ---------------------------------------------------------------------- how


@contextmanager
def _looked_at(path: Path) -> Iterator[int | None]:
    """Open the file while it is checked; None if there is none.

    Raises:
        FolderError: it is neither empty nor a manifest.
    """
    try:
        file = open_regular(path, os.O_RDONLY, subject=f"The manifest {path}")
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    except OSError as error:
        raise _cannot_be("read", path, error) from None
    try:
        _insist_on_rows(file, path)
        yield file
    finally:
        os.close(file)


def _insist_on_rows(file: int, path: Path) -> None:
    if not _begins_with_row(os.pread(file, _LONGEST_ROW, 0)):
        raise FolderError(f"{path} is not a Trawlnet manifest and was left alone; name another file with --manifest.")


def _lock(file: int, path: Path) -> None:
    """Keep other runs from writing or renaming it meanwhile."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FolderError(f"Another trawl is writing the manifest {path}: wait for it, or name another.") from None
    except OSError:
        pass  # a file system without locks


def _begins_with_row(head: bytes) -> bool:
    """Is the first line a row, or as much of one as a power cut may leave: nothing, or its beginning?"""
    line, newline, _ = head.partition(b"\n")
    try:
        row = wire.from_json(line)
        return bool(Ending(row["outcome"]) and _NAME.fullmatch(row["name"]))
    except MessageError:
        is_torn = not newline and len(head) < _LONGEST_ROW
        return is_torn and (line.startswith(_BEGINNING) or _BEGINNING.startswith(line))
    except (KeyError, TypeError, ValueError):
        return False


def _named(path: Path, word: str | int) -> Path:
    return path.with_name(f"{path.stem}-{word}{path.suffix}")


def _reserve(path: Path) -> Path:
    """Create an empty file with this name, or the next free one, for another file to be renamed over it."""
    for name in (path, *(_named(path, number) for number in range(2, 1000))):
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            continue
        return name
    raise FolderError(f"{path} and the next names in line are taken; move them away.")


def _cannot_be(done: str, path: Path, error: OSError) -> FolderError:
    if error.errno in FULL:
        return FullDiskError(path.parent)
    return FolderError(f"The manifest {path} cannot be {done}: {in_words(error)}.")
