"""Opens files named by the user only if they are regular files: no device, pipe or link is touched."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from contract.errors import FolderError

# Without these, a FIFO blocks until its other end is opened, and a terminal becomes our controlling terminal.
_HARMLESS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path, flags: int, *, subject: str) -> int:
    """Open a regular file and return its descriptor; ``O_CREAT`` creates a missing one.

    ``subject`` begins the sentence of an error: "The manifest m.jsonl".

    Raises:
        FileNotFoundError: there is no such file.
        FolderError: it is not a regular file.
        OSError: it cannot be opened.
    """
    try:
        _insist_on_regular(os.lstat(path), subject)  # before it is opened: opening a device may have an effect
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    file = os.open(path, flags | _HARMLESS, 0o666)
    try:
        _insist_on_regular(os.fstat(file), subject)
    except BaseException:
        os.close(file)
        raise
    return file


def is_at(file: int, path: Path) -> bool:
    """Does this path still lead to this open file, without following links?"""
    try:
        return os.path.samestat(os.fstat(file), os.lstat(path))
    except OSError:
        return False


def _insist_on_regular(found: os.stat_result, subject: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise FolderError(f"{subject} is {kind} and was left alone; name a regular file.")
