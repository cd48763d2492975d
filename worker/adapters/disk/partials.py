"""The shelf: where bodies that broke off lie, each beside what is known of it, for a later run to continue."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from worker.adapters.disk.descriptors import read_small


@dataclass(frozen=True, slots=True)
class Partials:
    """Where a body lies that a later run may continue: the folder, and the files of one name in it."""

    RECORD: ClassVar = ".json"

    folder: int
    name: str

    @property
    def part(self) -> str:
        return f"{self.name}.part"

    @property
    def record(self) -> str:
        return self.name + self.RECORD

    @property
    def new_record(self) -> str:
        return f"{self.name}.new"


def known_of(shelf: Partials, fd: int) -> str | None:
    """Return what is known of a shelved body; None, OSError or ValueError: it is not to be trusted."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        return None
    record = json.loads(read_small(shelf.record, shelf.folder))
    # After a crash of the machine a file may be longer than what of it reached the disk.
    if not isinstance(record, dict) or not BOOT or record.get("boot") != BOOT:
        return None
    known = record.get("known")
    return known if isinstance(known, str) else None


def _boot() -> str:
    """Return what identifies this run of the machine; empty where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


BOOT = _boot()
