"""Files that a setting names: looked at before they are opened, so that nothing waits for what never comes."""

from __future__ import annotations

import os
import stat

# What a shell makes of <(...), and a pipe: somebody writes to it and ends.
_FROM_A_SHELL = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")


def fault_of(path: str, *, may_be_pipe: bool = False) -> str:
    """Return why a file cannot be read, as the end of a sentence; empty where it can.

    ``may_be_pipe``: what a shell puts in a file's place is one, if it is read once.
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
    """Say in our words what the system said of a file."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return f"there is no file {path}"
    return f"{path}: {(error.strerror or 'unknown').lower()}"
