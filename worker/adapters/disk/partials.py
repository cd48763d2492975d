"""The shelf: where bodies that broke off lie, each beside what is known of it, for a later run to continue."""

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
class Partials:
    """Where a body lies that a later run may continue: the folder, and the files of one name in it."""

    RECORD: ClassVar = RECORD

    folder: int
    name: str

    @classmethod
    def of(cls, path: str, folder: int) -> Partials:
        """Return those of the body that is to lie at this path."""
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
    """Return what is kept beside a body of which so much is known."""
    return json.dumps({"boot": boot_id(), "host": os.uname().nodename, "known": known}).encode()


def known_of(shelf: Partials, fd: int) -> str | None:
    """Return what is known of a shelved body; None, OSError or ValueError: it is not to be trusted."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        return None
    record = json.loads(read_small(shelf.record, shelf.folder))
    # After a crash of the machine a file may be longer than what of it reached the disk.
    if not isinstance(record, dict) or not boot_id() or record.get("boot") != boot_id():
        return None
    known = record.get("known")
    return known if isinstance(known, str) else None


def is_of_another_machine(shelf: Partials, fd: int) -> bool:
    """May a process of another machine be at work on it? Its lock may not be seen here."""
    try:
        record = json.loads(read_small(shelf.record, shelf.folder))
        places = record["boot"], record["host"]
        is_recent = time.time() - os.fstat(fd).st_mtime < ABANDONED_AFTER
    except (OSError, ValueError, TypeError, KeyError):
        return False
    # Containers of a machine share its boot and its locks; a machine that started again has its name still.
    return is_recent and places[0] != boot_id() and places[1] != os.uname().nodename
