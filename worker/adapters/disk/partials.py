"""Partial bodies, each with a record of what is known of it, for a later run to resume."""

from __future__ import annotations

import json
import os
import stat
import time
from dataclasses import dataclass
from typing import ClassVar

from contract.folders import ABANDONED_AFTER, PART, RECORD, boot_id
from worker.adapters.disk.descriptors import read_small


@dataclass(frozen=True, slots=True)
class Partial:
    """Where a partial body is: the folder's descriptor and the body's name there."""

    RECORD: ClassVar = RECORD

    folder: int
    name: str

    @classmethod
    def of(cls, path: str, folder: int) -> Partial:
        """Return the partial of the body with this path."""
        return cls(folder, path.rpartition("/")[2])

    @property
    def part(self) -> str:
        return self.name + PART

    @property
    def record(self) -> str:
        return self.name + self.RECORD

    @property
    def new_record(self) -> str:
        return f"{self.name}.new"


def new_record(known: str) -> bytes:
    """Encode the record to store beside a partial body."""
    return json.dumps({"boot": boot_id(), "host": os.uname().nodename, "known": known}).encode()


def known_of(partial: Partial, fd: int) -> str | None:
    """Return what the record of a partial body says; None, OSError or ValueError: the body cannot be trusted."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        return None
    record = json.loads(read_small(partial.record, partial.folder))
    # After a machine crash a file may be longer than what was synced of it.
    if not isinstance(record, dict) or not boot_id() or record.get("boot") != boot_id():
        return None
    known = record.get("known")
    return known if isinstance(known, str) else None


def is_of_another_machine(partial: Partial, fd: int) -> bool:
    """May a process of another machine be using it, whose lock cannot be seen here?"""
    try:
        record = json.loads(read_small(partial.record, partial.folder))
        origin = record["boot"], record["host"]
        is_recent = time.time() - os.fstat(fd).st_mtime < ABANDONED_AFTER
    except (OSError, ValueError, TypeError, KeyError):
        return False
    # Containers share their machine's boot id and locks; a rebooted machine keeps its name.
    return is_recent and origin[0] != boot_id() and origin[1] != os.uname().nodename
