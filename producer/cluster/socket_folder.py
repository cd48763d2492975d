"""A private folder for the embedded server's socket, whose path must be short."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from contract.errors import ServiceError

SOCKET = "redis.sock"

# Before XDG_RUNTIME_DIR, which is removed when its user logs out, even if programs still use it.
_SYSTEM = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  # a private folder is made there


def make_socket_folder(environment: Mapping[str, str], otherwise: Path) -> str:
    """Make a folder of mode 0700 in the first place that supports a socket, and return its path.

    The places are TMPDIR (TEMP, TMP), the system's temporary folders, XDG_RUNTIME_DIR and ``otherwise``.

    Raises:
        ServiceError: no place will do.
    """
    # Users who may write to the output folder are trusted, so the last place is not checked.
    for place in [*filter(_is_safe, _temporary_places(environment)), str(otherwise.absolute())]:
        folder = _make_in(place)
        if folder is not None:
            return folder
    raise ServiceError(
        "There is no place for the embedded server's socket: set TMPDIR to a writable folder whose path has at most"
        " 70 characters."
    )


def _temporary_places(environment: Mapping[str, str]) -> Iterator[str]:
    for variable in ("TMPDIR", "TEMP", "TMP"):
        if named := environment.get(variable, ""):
            yield os.path.abspath(named)
    yield from _SYSTEM
    if runtime := environment.get("XDG_RUNTIME_DIR", ""):
        yield os.path.abspath(runtime)


def _is_safe(place: str) -> bool:
    """Is a folder made there safe from being replaced by other users?"""
    try:
        mode = os.stat(place).st_mode
    except (OSError, ValueError):
        return False
    return not mode & (stat.S_IWGRP | stat.S_IWOTH) or bool(mode & stat.S_ISVTX)


def _make_in(place: str) -> str | None:
    try:
        folder = tempfile.mkdtemp(prefix="trawl-", dir=place)  # mode 0700, and new
    except OSError:
        return None
    if _takes_socket(os.path.join(folder, SOCKET)):
        return folder
    os.rmdir(folder)
    return None


def _takes_socket(path: str) -> bool:
    """Try it: <sys/un.h> allows 104 or 108 bytes, and a file system may be full or lack sockets."""
    try:
        path.encode("utf-8")  # it becomes part of a URL
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.bind(path)
        os.unlink(path)
        Path(path).write_bytes(b"full?")
    except (OSError, UnicodeEncodeError):
        return False
    finally:
        Path(path).unlink(missing_ok=True)
    return True
