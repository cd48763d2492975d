"""The layout of ``.trawl/`` in an output folder, and the owners of its temporary folders.

On NFS (for folders) and FUSE, locks are not seen by other machines, and process ids repeat between machines. So the
name of a temporary folder holds the machine, boot and process that created it. Only that machine can tell whether the
process is alive; other machines wait for a day without changes.
"""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PRIVATE = ".trawl"  # our own folder within the output folder
PARTS = "parts"  # in it a folder per process, named after its owner and locked by it
PARTIALS = "partials"  # incomplete bodies that a later run may resume, each with a record
PART, RECORD = ".part", ".json"  # suffixes of their names

ABANDONED_AFTER = 86400.0  # seconds without a change until another machine's temporary folder counts as abandoned

_STARTED = 19  # index of "starttime" among the fields of /proc/PID/stat after the program's name; proc(5)
_NAME = re.compile(r"(?P<machine>[^_]+_[^_]*_[0-9]+)_(?P<pid>[0-9]+)_(?P<started>[0-9]+)_[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Owner:
    """A process: its machine (host name, boot and process namespace), id and start time."""

    machine: str
    pid: int
    started: str  # clock ticks since the boot; "0" if unknown

    @classmethod
    def this(cls) -> Owner:
        pid = os.getpid()
        return cls(_machine(), pid, _started(pid) or "0")

    @classmethod
    def of(cls, folder: str) -> Owner | None:
        """Parse a temporary folder's name; None: it is not ours, or of an earlier version."""
        match = _NAME.fullmatch(folder)
        return cls(match["machine"], int(match["pid"]), match["started"]) if match else None

    def new_folder(self) -> str:
        """Return a unique name for a temporary folder of this owner."""
        return f"{self.machine}_{self.pid}_{self.started}_{secrets.token_hex(4)}"

    @property
    def is_here(self) -> bool:
        """Is, or was, it a process that this process can see?"""
        return self.machine == _machine()

    @property
    def is_alive(self) -> bool:
        """Is it running? Valid only if ``is_here``."""
        started = _started(self.pid)
        if started is not None:
            return started == self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True  # another user's, which /proc may hide
        return not Path("/proc/self/stat").exists()


def is_left_behind(folder: str, *, idle: float) -> bool:
    """Is a temporary folder abandoned by its owner? ``idle``: seconds since the last change in it.

    True for folders of the calling process too: the caller knows which it uses, or tries the lock.
    """
    owner = Owner.of(folder)
    if owner is None or not owner.is_here:
        return idle > ABANDONED_AFTER
    return owner.pid == os.getpid() or not owner.is_alive


@cache
def boot_id() -> str:
    """Return the id of this boot of the machine; empty if there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


@cache
def _machine() -> str:
    host = re.sub(r"[^A-Za-z0-9.-]", "-", os.uname().nodename)[:64] or "-"
    try:
        processes = os.stat("/proc/self/ns/pid").st_ino  # a container has process ids of its own
    except OSError:
        processes = 0
    return f"{host}_{boot_id()[:8]}_{processes}"


def _started(pid: int) -> str | None:
    """Return when a process started (clock ticks since the boot); None: it has ended, or it is unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()
    return None if state in ("Z", "X") else fields[_STARTED - 1]
