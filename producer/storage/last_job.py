"""What a folder's journal says about its job, for commands that have not locked the folder."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from contract.errors import FolderError
from contract.folders import PRIVATE


@dataclass(frozen=True, slots=True)
class LastJob:
    """The job that a folder's command works on, or worked on last."""

    id: str
    is_finished: bool


def last_job(output: Path) -> LastJob:
    """Read it without locking or changing the journal.

    Raises:
        FolderError: there is no job, or the folder cannot be read.
    """
    facts = read_facts(output / PRIVATE) or {}
    if "job" not in facts:
        raise FolderError(f"There is no job in {output}: name the folder of a `trawl run` with -o.")
    return LastJob(facts["job"], bool(facts.get("finished")))


def read_facts(folder: Path) -> dict[str, Any] | None:
    """Return what a folder's journal knows about its job, without locking or changing it; None: there is no journal.

    Raises:
        FolderError: it cannot be read.
    """
    path = folder / "journal.sqlite"
    try:
        if not path.exists():
            return None
        path.open("rb").close()
        url = f"file:{quote(os.fsencode(path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(url, uri=True, timeout=5.0)) as database:
            return {key: json.loads(value) for key, value in database.execute("SELECT key, value FROM facts")}
    except PermissionError:
        raise FolderError(
            f"The job in {folder.parent} belongs to another user, and only they can look at it."
        ) from None
    except (sqlite3.Error, OSError, ValueError) as error:
        raise FolderError(f"The journal {path} cannot be read ({error}).") from None
