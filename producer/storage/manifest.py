"""The manifest: one JSON line per URL, appended a few batches at a time and safe on disk before it counts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from contract.errors import FolderError, MessageError
from contract.records import wire


class Manifest:
    """Appends rows to one file. ``offset`` is its length in bytes up to the last row that counts."""

    def __init__(self, path: Path, offset: int) -> None:
        """Open the manifest as it was at ``offset`` bytes; what a killed run wrote after it is cut off.

        Raises:
            FolderError: it cannot be written, or is shorter than it was.
        """
        self.path = path
        self.offset = offset
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            length = os.fstat(self._file).st_size
            if length < offset:
                os.close(self._file)
                raise FolderError(f"{path} is shorter than it was: rows are missing; start over with --fresh.")
            if length > offset:
                os.ftruncate(self._file, offset)
            os.lseek(self._file, offset, os.SEEK_SET)
        except OSError as error:
            raise FolderError(f"The manifest {path} cannot be written: {error.strerror}.") from None

    def append(self, rows: Iterable[str]) -> int:
        """Write rows (JSON without line breaks) so that they survive a power cut; return the new offset."""
        text = "".join([f"{row}\n" for row in rows])
        left = memoryview(text.encode("utf-8", "surrogatepass"))
        try:
            self.offset += len(left)
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError as error:
            raise FolderError(f"The manifest {self.path} cannot be written: {error.strerror}.") from None
        return self.offset

    def close(self) -> None:
        os.close(self._file)


def count_rows(path: Path) -> int:
    """Count the rows of a manifest."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1024 * 1024), b""))


def stored_files(path: Path) -> Iterator[tuple[bytes, int, str]]:
    """Yield md5 (16 bytes), size and digest of each file an earlier manifest vouches for.

    Lines that are no rows (a torn end, an edited file) vouch for nothing.
    """
    with path.open("rb") as file:
        for line in file:
            # Most of a row's cost is reading it as JSON; rows of other endings are not read at all.
            if b'"outcome":"ok"' not in line and b'"outcome":"kept"' not in line:
                continue
            try:
                row = wire.from_json(line)
                if row["outcome"] in ("ok", "kept"):
                    digest = f"sha256:{row['sha256']}" if row["sha256"] else str(row["digest"] or "")
                    yield bytes.fromhex(row["name"]), int(row["bytes"]), digest
            except (MessageError, KeyError, TypeError, ValueError):
                continue


def set_aside(path: Path, job: str) -> Path | None:
    """Rename a finished job's manifest to ``manifest-<job>.jsonl``; None where there is none."""
    kept = path.with_name(f"{path.stem}-{job}{path.suffix}")
    try:
        path.rename(kept)
    except FileNotFoundError:
        return kept if kept.exists() else None
    except OSError as error:
        raise FolderError(f"The manifest {path} cannot be renamed: {error.strerror}.") from None
    return kept
