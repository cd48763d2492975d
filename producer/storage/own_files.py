"""Earlier jobs' files on this machine's disk: small ones are compared with their rows here, without a worker."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from contract.records.batches import Known, Listed
from contract.records.outcomes import Outcome
from contract.urls.naming import Layout, output_path
from producer.storage.earlier_files import EarlierFiles, known_of

_SMALL = 64 * 1024  # bytes of a file; larger ones are hashed by the worker's processes, side by side
_LONGEST_LOOK = 1.0  # seconds per call: if the disk is slow, the worker's threads wait for it instead

_PLACE = getattr(os, "O_PATH", os.O_RDONLY)  # Linux: names a folder without opening it
_FOLDER = _PLACE | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: a FIFO may be there
_UNNOTED = getattr(os, "O_NOATIME", 0)  # Linux: leaves the access time as it is; allowed to the file's owner


class OwnFiles:
    """Decides which files are kept, by the same comparison as a worker: regular, of that size and SHA-256."""

    def __init__(
        self, files: EarlierFiles, folder: Path, layout: Layout, *, by: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``folder`` is the output folder of the command's own worker; ``by`` is named in the rows as their worker."""
        self._files = files
        self._folder = folder
        self._layout = layout
        self._by = by
        self._clock = clock

    def known(self, listed: Mapping[bytes, Listed]) -> Mapping[bytes, Known | Outcome]:
        """Return the ``kept`` outcomes of complete files; of others that were stored, what a worker compares."""
        stored = self._files.outcomes(listed)
        if not stored:
            return {}
        found: dict[bytes, Known | Outcome] = {}
        until = self._clock() + _LONGEST_LOOK
        with _Below(self._folder) as below:
            for name, outcome in stored.items():
                entry, kept = listed[name], None
                if isinstance(entry, str) and self._clock() < until:
                    kept = self._kept(entry, outcome, below)
                found[name] = kept or known_of(outcome)
        return found

    def _kept(self, url: str, outcome: Outcome, below: _Below) -> Outcome | None:
        if outcome.name is None or not outcome.sha256 or not 0 <= (outcome.bytes or 0) <= _SMALL:
            return None
        path = output_path(outcome.name, self._layout)
        body = below.read(path, outcome.bytes or 0)
        if body is None or hashlib.sha256(body).hexdigest() != outcome.sha256:
            return None
        return outcome.kept(url, path, self._by)


class _Below:
    """Reads files below a folder; no symbolic link is followed there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, int] = {}  # the folder itself ("") and the first level of folders in it: 256 at most

    def __enter__(self) -> _Below:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def read(self, path: str, size: int) -> bytes | None:
        """Return a regular file's bytes if it has this size; None: there is no such file, or it cannot be read."""
        *folders, file = path.split("/")
        try:
            if len(folders) < 2:
                return _read(file, self._first(*folders), size)
            inner = os.open("/".join(folders[1:]), _FOLDER, dir_fd=self._first(folders[0]))
            try:
                return _read(file, inner, size)
            finally:
                os.close(inner)
        except OSError:
            return None

    def _first(self, name: str = "") -> int:
        fd = self._open.get(name)
        if fd is None:
            if name:
                fd = os.open(name, _FOLDER, dir_fd=self._first())
            else:
                # A link to the output folder itself is its owner's choice.
                fd = os.open(self._folder, _FOLDER & ~os.O_NOFOLLOW)
            self._open[name] = fd
        return fd


def _read(file: str, folder: int, size: int) -> bytes | None:
    try:
        fd = os.open(file, _FILE | _UNNOTED, dir_fd=folder)
    except PermissionError:
        fd = os.open(file, _FILE, dir_fd=folder)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            return None
        return os.read(fd, size + 1)
    finally:
        os.close(fd)
