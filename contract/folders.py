"""What an output folder holds beside bodies, and whose each of its temporary folders is.

Locks reach no further than a machine on NFS (folders) and FUSE, and process ids repeat between machines. So the name of
a temporary folder says which process of which boot of which machine made it: only that machine knows of its death, and
for all others a day of silence counts.
"""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PRIVATE = ".trawl"  # our own folder within the output folder
PARTS = "parts"  # one folder per process within it, named after its owner and locked by it
PARTIALS = "partials"  # bodies that a later run may continue, each beside what is known of it
PART, RECORD = ".part", ".json"  # how the names of those end

ABANDONED_AFTER = 86400.0  # seconds without a change after which another machine's temporary folder is left behind

_STARTED = 19  # place of "starttime" among the fields of /proc/PID/stat that follow the program's name; proc(5)
_NAME = re.compile(r"(?P<machine>[^_]+_[^_]*_[0-9]+)_(?P<pid>[0-9]+)_(?P<started>[0-9]+)_[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Owner:
    """A process: of which machine (host name, boot and process namespace), its id, and when it started."""

    machine: str
    pid: int
    started: str  # clock ticks since the boot; "0" where nothing tells

    @classmethod
    def this(cls) -> Owner:
        pid = os.getpid()
        return cls(_machine(), pid, _started(pid) or "0")

    @classmethod
    def of(cls, folder: str) -> Owner | None:
        """Read a temporary folder's name; None: it is none of ours, or of an earlier version."""
        match = _NAME.fullmatch(folder)
        return cls(match["machine"], int(match["pid"]), match["started"]) if match else None

    def new_folder(self) -> str:
        """Return a name for a temporary folder of this owner that no other folder has."""
        return f"{self.machine}_{self.pid}_{self.started}_{secrets.token_hex(4)}"

    @property
    def is_here(self) -> bool:
        """Is it, or was it, a process that this one would see?"""
        return self.machine == _machine()

    @property
    def is_alive(self) -> bool:
        """Does it run? Only to be asked of one that ``is_here``."""
        started = _started(self.pid)
        if started is not None:
            return started == self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True  # another user's, and /proc may not show those
        return not Path("/proc/self/stat").exists()


def is_left_behind(folder: str, *, idle: float) -> bool:
    """Will the owner of a temporary folder never come back to it? ``idle``: seconds since anything changed in it.

    Of a folder of this very process it says yes: whoever asks knows which it uses, or asks for the lock.
    """
    owner = Owner.of(folder)
    if owner is None or not owner.is_here:
        return idle > ABANDONED_AFTER
    return owner.pid == os.getpid() or not owner.is_alive


@cache
def boot_id() -> str:
    """Return what identifies this run of the machine; empty where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


@cache
def _machine() -> str:
    host = re.sub(r"[^A-Za-z0-9.-]", "-", os.uname().nodename)[:64] or "-"
    try:
        processes = os.stat("/proc/self/ns/pid").st_ino  # a container counts its processes by itself
    except OSError:
        processes = 0
    return f"{host}_{boot_id()[:8]}_{processes}"


def _started(pid: int) -> str | None:
    """Return when a process started; None: it has ended, or nothing tells."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return None
    state, *fields = said.rpartition(")")[2].split()
    return None if state in ("Z", "X") else fields[_STARTED - 1]
