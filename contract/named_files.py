"""Checks files named by settings before they are opened, because opening a pipe may block forever."""

from __future__ import annotations

import os
import stat

# What a shell passes for <(...) and pipes, whose writers end.
_FROM_A_SHELL = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")


def fault_of(path: str, *, may_be_pipe: bool = False) -> str:
    """Return why a file cannot be read, as the end of a sentence; empty: it can.

    ``may_be_pipe``: it is read only once, so it may be a pipe from a shell.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return reason(path, error)
    if stat.S_ISDIR(mode):
        return f"{path} is a folder"
    is_pipe = stat.S_ISFIFO(mode) and path.startswith(_FROM_A_SHELL)
    if not stat.S_ISREG(mode) and not (may_be_pipe and is_pipe):
        return f"{path} is not a regular file"
    return "" if os.access(path, os.R_OK) else f"this user may not read {path}"


def reason(path: str, error: OSError) -> str:
    """Return the end of a sentence for an error of the system about a file."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return f"there is no file {path}"
    return f"{path}: {in_words(error)}"


def in_words(error: OSError) -> str:
    """Return what the system says of an error, as the end of a sentence."""
    return (error.strerror or str(error) or "unknown").lower()
